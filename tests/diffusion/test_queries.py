import json
import traceback

import pytest
import torch

from diffusion import checkpoint, queries, run, sampling
from diffusion.data import PrivateImages
from diffusion.queries import allocated, noisy_answer, sample_labels
from diffusion.randomness import RandomSource
from diffusion.watching import RunOptions, Silent
from privplan import canonical, ledger
from privplan import plan as plans
from privplan.errors import BudgetExceededError, DataError, StepFailedError
from privplan.events import GaussianEvent

pytestmark = pytest.mark.usefixtures("flown_once")


def asked(plan, phase, images, monkeypatch):
    """What a query sums, before its noise."""
    with monkeypatch.context() as patch:
        patch.setattr(queries, "noisy_sum", lambda total, **_: total)
        return noisy_answer(
            plan, phase, images, random=RandomSource(), spend=lambda: None
        )


def phases_that_ask(plan):
    return plan.phases_of(plans.GaussianPhase) + plan.phases_of(plans.QueryPhase)


def test_one_record_more_moves_no_query_by_more_than_one(kinds, digits, monkeypatch):
    """The noise is made for 1. Dark, bright and noisy records, each label.

    1e-9: float64 sums over at most 41 records.
    """
    plan, few = kinds["queries"], 40
    pixels = torch.stack(
        [
            torch.zeros(1, 8, 8, dtype=torch.uint8),
            torch.full((1, 8, 8), 255, dtype=torch.uint8),
            digits.images[500],
        ]
    )
    for phase in phases_that_ask(plan):
        before = PrivateImages(digits.images[:few], digits.labels[:few], 10)
        base = asked(plan, phase, before, monkeypatch)
        for extra in pixels:
            for label in (0, 9):
                after = PrivateImages(
                    torch.cat([digits.images[:few], extra[None]]),
                    torch.cat([digits.labels[:few], torch.tensor([label])]),
                    10,
                )
                moved = asked(plan, phase, after, monkeypatch) - base
                assert 0 < float(moved.norm()) <= 1 + 1e-9


def test_queries_count_what_is_there(kinds, digits, monkeypatch):
    plan = kinds["queries"]
    found = {p.name: asked(plan, p, digits, monkeypatch) for p in phases_that_ask(plan)}
    assert found["count"].tolist() == [1437]
    assert found["labels"].tolist() == [int((digits.labels == c).sum()) for c in
                                        range(10)]  # fmt: skip


def test_a_query_over_pieces_is_the_query_over_all(kinds, digits, monkeypatch):
    """1e-9: float64 sums in another order."""
    plan = kinds["untrained"]
    (phase,) = phases_that_ask(plan)
    whole = asked(plan, phase, digits, monkeypatch)
    monkeypatch.setattr(queries, "_RECORDS_AT_ONCE", 100)
    torch.testing.assert_close(
        asked(plan, phase, digits, monkeypatch), whole, rtol=0, atol=1e-9
    )


def test_a_record_whose_label_does_not_exist_counts_as_zero_and_raises_nothing(
    kinds, digits, monkeypatch
):
    """An exception that one record can trigger is a release nobody accounted for."""
    plan = kinds["queries"]
    (phase,) = (p for p in phases_that_ask(plan) if p.name == "labels")
    odd = PrivateImages(digits.images[:5], digits.labels[:5].clone(), 10)
    whole = asked(plan, phase, odd, monkeypatch)
    odd.labels[0], odd.labels[1] = -3, 10
    assert float(whole.sum()) == 5
    assert float(asked(plan, phase, odd, monkeypatch).sum()) == 3


def test_a_query_that_may_not_be_spent_touches_nothing(kinds, digits, monkeypatch):
    plan = kinds["queries"]
    for room in ("query", "noisy_sum", "_label_counts"):
        monkeypatch.setattr(queries, room, None)

    def refuse():
        raise BudgetExceededError("no", stage="x", needed=1, target=0, hint="stop")

    for phase in phases_that_ask(plan):
        with pytest.raises(BudgetExceededError):
            noisy_answer(plan, phase, digits, random=RandomSource(), spend=refuse)


def test_every_answer_carries_the_noise_of_its_phase(kinds, digits):
    """Sample standard deviation of 640 + 10 + 2080 values; 15 % is over 5 sigma."""
    plan = kinds["untrained"]
    (phase,) = phases_that_ask(plan)
    first, second = (
        noisy_answer(plan, phase, digits, random=RandomSource(), spend=lambda: None)
        for _ in range(2)
    )
    spread = float((first - second).std()) / 2**0.5
    assert spread == pytest.approx(phase.noise_multiplier, rel=0.15)


def test_a_failing_query_tells_nothing_of_the_records(
    kinds, digits, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise MemoryError("could not allocate 1437 records")

    run.preflight(kinds["untrained"], RunOptions())  # tried before anything fails
    monkeypatch.setattr(queries, "query", fail)
    with pytest.raises(StepFailedError) as caught:
        run.train(kinds["untrained"], digits, tmp_path / "run")
    assert "1437" not in "".join(traceback.format_exception(caught.value))
    content = ledger.read(tmp_path / "run" / "ledger.sqlite")
    assert content.counted("gaussian") == 1


def test_a_query_whose_answer_was_lost_is_never_asked_again(
    kinds, digits, tmp_path, monkeypatch
):
    """Asking twice would release two noisy answers where the plan paid for one."""
    plan, folder = kinds["sequential"], tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_state", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.train(plan, digits, folder)
    touched = []
    monkeypatch.setattr(queries, "query", lambda *a: touched.append(a))
    for _ in range(2):
        with pytest.raises(BudgetExceededError, match="cannot go on"):
            run.train(plan, digits, folder, resume=True)
    content = ledger.read(folder / "ledger.sqlite")
    assert (content.counted("gaussian"), content.counted("private")) == (1, 0)
    assert touched == []


class StopAt(Silent):
    """Stops as soon as a phase has advanced."""

    def __init__(self, name):
        self.name, self.stop = name, False

    def advance(self, phase, *, done):
        self.stop = self.stop or phase.name == self.name

    def should_stop(self):
        return self.stop


def test_an_answer_survives_an_interruption_unchanged(kinds, digits, tmp_path):
    plan, folder = kinds["queries"], tmp_path / "run"
    assert not run.train(plan, digits, folder, watcher=StopAt("gaussian")).finished
    kept = checkpoint._read(folder / checkpoint.STATE_NAME)[0]
    assert run.train(plan, digits, folder, resume=True).finished
    released = checkpoint._read(folder / checkpoint.MODEL_NAME)[0]
    for name in ("answer.labels", "answer.count", "answer.gaussian"):
        assert torch.equal(kept[name], released[name])


def test_answers_are_written_for_people_and_noted_as_released(kinds, digits, tmp_path):
    plan, folder = kinds["queries"], tmp_path / "run"
    run.train(plan, digits, folder)
    path = folder / queries.ANSWERS_NAME
    written = json.loads(path.read_bytes())
    answers = checkpoint._read(folder / checkpoint.MODEL_NAME)[0]
    shown = {a["name"]: [float(v) for v in a["answer"]] for a in written["answers"]}
    assert shown["labels"] == answers["answer.labels"].mean(dim=0).tolist()
    assert len(answers["answer.labels"]) == 2
    assert set(shown) == {"labels", "count"}
    released = [
        entry.body
        for entry in ledger.read(folder / "ledger.sqlite").entries
        if entry.kind == "release"
    ]
    digests = {body["name"]: body["digest"] for body in released}
    assert digests[queries.ANSWERS_NAME] == canonical.file_digest(path)


def test_labels_of_samples_follow_the_noisy_counts(small, kinds, digits, tmp_path):
    """With a noise of 0.5 in 1437 records, shares are those of the records.

    12 of 1000: rounding, and noise of some records in 1437.
    """
    plan = kinds["queries"]
    skewed = PrivateImages(digits.images, (digits.labels > 0).long(), 10)
    phase = plans.QueryPhase(
        **plan.phases_of(plans.QueryPhase)[0].model_dump()
        | {"event": GaussianEvent(noise_multiplier=0.5), "steps": 1}
    )
    answer = noisy_answer(
        plan, phase, skewed, random=RandomSource(), spend=lambda: None
    )
    drawn = sample_labels(plan, {"labels": answer[None]}, 1000)
    zeros = 1000 * int((digits.labels == 0).sum()) / 1437
    assert int((drawn == 0).sum()) == pytest.approx(zeros, abs=12)
    assert int((drawn > 1).sum()) <= 12
    with pytest.raises(DataError, match="missing"):
        sample_labels(plan, {}, 1000)
    even = sample_labels(kinds["sequential"], {}, 20)
    assert even.tolist() == [*range(10), *range(10)]


@pytest.mark.parametrize(
    ("weights", "count", "labels"),
    [
        ([1, 1, 1], 7, [0, 1, 2, 0, 1, 2, 0]),
        ([0, 0], 3, [0, 1, 0]),
        ([0, 3, 1], 4, [1, 2, 1, 1]),
        ([0.5, 0.3, 0.2], 1, [0]),
        ([1e-300, 1e-300], 2, [0, 1]),
    ],
)
def test_labels_are_shared_out_by_largest_remainders(weights, count, labels):
    found = allocated(torch.tensor(weights, dtype=torch.float64), count)
    assert found.tolist() == labels


def test_a_plan_without_training_runs_and_samples(kinds, digits, tmp_path):
    """The baseline: everything from one noisy query, in closed form."""
    plan = kinds["untrained"]
    run.train(plan, digits, tmp_path / "run")
    request = sampling.SampleRequest(count=30, seed=1)
    first, again = (sampling.draw(plan, tmp_path / "run", request) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert first.images.float().std() > 20
