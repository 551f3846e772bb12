import json

import pytest

from privplan import accounting, canonical, events
from privplan import plan as plans
from privplan.errors import DocumentError, IntegrityError, ParameterError, PrivplanError
from privplan.stages import Source


def edited(plan, path, value, *, reseal=False):
    """Change one field of a plan's JSON, and its digest too if asked."""
    document = json.loads(plans.to_text(plan))
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    if reseal:
        del document["digest"]
        document["digest"] = canonical.digest(document)
    return json.dumps(document).encode()


def test_a_plan_read_back_is_the_plan_that_was_written(staged_plan, tmp_path):
    plans.write(staged_plan, tmp_path / "plan.json")
    assert plans.read(tmp_path / "plan.json") == staged_plan


def test_the_digest_covers_every_field(staged_plan):
    """A field outside the digest could be changed without anyone noticing."""
    document = json.loads(plans.to_text(staged_plan))

    def leaves(value, path):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from leaves(inner, [*path, key])
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from leaves(inner, [*path, index])
        else:
            yield path, value

    changed = {
        str: lambda v: v + "1",
        int: lambda v: v + 1,
        bool: lambda v: not v,
        type(None): lambda _: "x",
    }
    for path, value in leaves(document, []):
        if path == ["digest"]:
            continue
        with pytest.raises(PrivplanError):
            plans.from_text(edited(staged_plan, path, changed[type(value)](value)))


def test_a_plan_edited_by_hand_is_refused_with_both_digests(staged_plan):
    text = edited(staged_plan, ["phases", 1, "steps"], 100_000)
    with pytest.raises(IntegrityError, match="changed after it was written") as caught:
        plans.from_text(text)
    assert caught.value.exit_code == 4


def test_a_number_given_as_a_json_number_is_refused(staged_plan):
    """Readers disagree about floats; the digest would depend on who wrote it."""
    with pytest.raises(DocumentError, match="decimal text"):
        plans.from_text(
            edited(staged_plan, ["budget", "target_epsilon"], 1.0, reseal=True)
        )


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["budget", "target_epsilon"], "NaN", "not a decimal number"),
        (["budget", "target_epsilon"], "1e999", "not a decimal number"),
        (["budget", "extra"], "x", "budget.extra"),
        (["phases", 1, "steps"], "120", "phases.1.private.steps"),
        (["phases", 1, "steps"], 0, "phases.1.private.steps"),
        (["phases", 1, "kind"], "secret", "phases.1"),
        (["stages", 0, "source"], "borrowed", "stages.0.source"),
        (["format"], "privplan-plan/2", "format"),
        (["phases", 1, "event"], {"type": "os.system"}, "not a privacy event"),
    ],
)
def test_a_malformed_plan_is_refused_with_the_path_of_the_field(
    staged_plan, path, value, says
):
    with pytest.raises((DocumentError, ParameterError)) as caught:
        plans.from_text(edited(staged_plan, path, value, reseal=True))
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["phases", 1, "expected_batch_size"], "7.0", "sample_rate times n"),
        (["phases", 1, "event"], {"type": "no-op"}, "its event is 'no-op'"),
        (["phases", 0, "event"], {"type": "non-private"}, "reads nothing but"),
        (["phases", 0, "name"], "private", "one name"),
        (["stages", 1, "source"], "synthetic", "a stage is private|a phase is private"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_even_with_a_new_digest(
    staged_plan, path, value, says
):
    with pytest.raises(DocumentError, match=says):
        plans.from_text(edited(staged_plan, path, value, reseal=True))


def test_a_missing_or_unreadable_plan_is_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DocumentError, match="cannot be read"):
            plans.read(path)


def test_the_event_of_a_plan_is_all_phases_together(staged_plan):
    """A phase left out of the tree would train for free."""
    (phase,) = events.phases(staged_plan.event)
    assert phase.count == staged_plan.private_phases[0].steps
    assert phase.event == staged_plan.private_phases[0].event


def test_a_synthetic_phase_changes_no_digit_of_epsilon(staged_plan):
    delta = staged_plan.budget.target_delta
    private = plans.whole_event(staged_plan.private_phases)
    assert accounting.epsilon(private, delta=delta) == accounting.epsilon(
        staged_plan.event, delta=delta
    )


def test_the_intervals_of_a_plan_are_those_of_its_stages(staged_plan):
    assert staged_plan.intervals(Source.PRIVATE) == ((0.2, 4.0),)
    assert staged_plan.intervals(Source.SYNTHETIC) == ((4.0, 10.0), (0.02, 0.2))
