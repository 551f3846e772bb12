"""One run carried out by several processes: the same claim, the same weights.

`several.py` starts real processes that meet over the loopback; see there.
"""

from pathlib import Path

import pytest
import torch

from privplan import ledger
from privplan import plan as plans
from privplan.planner import PlanRequest, Wishes, make_plan
from tests.diffusion.several_cases import (
    STEPS,
    carried_out,
    counts,
    noted,
    shrunk,
    weights,
)

LONGEST = 45.0  # seconds until the last process of a broken run ends, on a busy machine


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder for the cases, with the plan of all of them inside."""
    folder = tmp_path_factory.mktemp("several")
    for name, stages, free in (
        ("plan", "coarse=private,context=private,cleaning=private", None),
        ("drawn", "coarse=gaussian,context=private,cleaning=synthetic", 2),
    ):
        wishes = Wishes(
            steps=STEPS, sample_rate=0.02, noise_multiplicity=2, synthetic_steps=free
        )
        plan = make_plan(PlanRequest(target_epsilon=3.0, stages=stages, wishes=wishes))
        plans.write(shrunk(plan), folder / f"{name}.json")
    return folder


ONE_STEP_MISSING = {"resume": True, "in": "stopped"}
CASES = {
    "alone": {"count": 1, "seed": 5, "of": "drawn.json"},
    "two": {"count": 2, "seed": 5, "of": "drawn.json"},
    "three": {"count": 3, "seed": 5, "of": "drawn.json"},
    "noise of 2": {"count": 2, "steps": 2},
    "noise of 4": {"count": 4, "steps": 2},
    "noise per rank": {"count": 2, "steps": 2, "fault": "noise per rank"},
    "draws on its own": {"count": 2, "rank": 1, "fault": "draws on its own"},
    "one record": {"count": 2, "chosen": [7]},
    "stopped": {"count": 2, "stop": {"1": 1}},
    "resumed alone": {"count": 1, "stop": {"0": 1}, **ONE_STEP_MISSING},
    "resumed by three": {"count": 3, **ONE_STEP_MISSING},
    "other data": {"count": 2, "other_data": [1]},
    "fails": {"count": 2, "rank": 1, "point": "gradient", "act": "fail", "loud": True},
    "frozen": {"count": 2, "rank": 1, "point": "sum", "act": "freeze", "patience": 5},
}
KILLED = {
    f"{point}, process {rank}, step {at}": {
        "count": 2, "rank": rank, "point": point, "at": at, "act": "kill"
    }
    for point, rank, at in (
        ("asking", 0, 3), ("gradient", 1, 2), ("noise", 0, 3),
    )
}  # fmt: skip
MATRIX = {
    f"{point}, process {rank} of {count}, step {at}": {
        "count": count, "rank": rank, "point": point, "at": at, "act": "kill"
    }
    for count, ranks in ((2, (0, 1)), (3, (0, 1, 2)))
    for rank in ranks
    for point, times in (
        ("asking", (1, 3)), ("batch", (1, 3)), ("gradient", (1, 3)), ("sum", (2, 5)),
        ("publishing", (2, 5)), ("noise", (1, 3)), ("update", (1, 5)), ("save", (2, 4)),
        ("synthetic", (2,)),
    )
    for at in times
    if rank == 0 or point not in {"asking", "noise", "save"}
}  # fmt: skip


@pytest.fixture(scope="module")
def found(written):
    return carried_out(CASES | KILLED, written)


@pytest.fixture
def case(found):
    """What became of a case, by its name."""
    return lambda name: found[0][name]


@pytest.mark.parametrize("name", ["two", "three"])
def test_several_processes_train_what_one_trains(name, case):
    """The number of processes is performance; it must not reach claim or weights.

    1e-4: sums of float32 gradients are added in another order, and Adam divides by a
    root of them; a batch or noise of its own would move weights by 1e-2.
    """
    one, several = case("alone"), case(name)
    assert several["codes"] == [0] * several["count"]
    assert counts(several) == counts(one)
    first, second = weights(one), weights(several)
    for part, value in first.items():
        torch.testing.assert_close(second[part], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["two", "three"])
def test_the_ledgers_of_one_and_of_several_processes_hold_the_same_events(name, case):
    one, several = (
        ledger.read(Path(case(who)["folder"]) / "run" / "ledger.sqlite")
        for who in ("alone", name)
    )
    assert one.spent_event() == several.spent_event()
    assert one.plan_digest == several.plan_digest
    assert [e.kind for e in one.entries] == [e.kind for e in several.entries]
    assert (one.processes, several.processes) == (1, case(name)["count"])


@pytest.mark.parametrize("name", ["two", "three"])
def test_all_processes_hold_the_same_weights_after_every_step(name, case):
    """To the last bit: else each would clip gradients of another model."""
    first, *others = noted(case(name), "weights")
    assert len(first) == len(set(first)) == STEPS + 2
    assert all(other == first for other in others)


def noise_is_planned(case):
    """Whether the noise has the planned scale, to five standard errors."""
    ((std,), *others) = noted(case, "std")
    ((values,), *_) = noted(case, "values")
    assert case["codes"] == [0] * case["count"]
    assert all(other == [std] for other in others)
    return abs(float(std) - 1) < 5 / (2 * int(values)) ** 0.5


@pytest.mark.parametrize("count", [2, 4])
def test_the_noise_has_the_planned_scale_whatever_the_number_of_processes(count, case):
    """Noise of every process would add up; noise shared out could lose a part."""
    assert noise_is_planned(case(f"noise of {count}"))


def test_noise_added_by_every_process_is_caught(case):
    """The fault of DPImageBench, put in by hand."""
    assert not noise_is_planned(case("noise per rank"))


def test_a_process_that_samples_on_its_own_stops_the_run(case):
    """A record could then be in two shares, and move the sum by 2 C."""
    broken = case("draws on its own")
    assert broken["codes"] == [3, 3]
    first, second = noted(broken, "error")
    assert first[0].startswith("IntegrityError: the processes of this run did not draw")
    assert second[0].startswith("PeerLostError")
    assert counts(broken)["private"] == 1
    assert noted(broken, "weights") == [[], []]


def test_a_process_without_a_record_takes_the_step_with_the_others(case):
    assert case("one record")["codes"] == [0, 0]
    assert counts(case("one record"))["private"] == STEPS


def test_a_run_goes_on_with_another_number_of_processes(case):
    """2, then 1, then 3: the plan bounds all of them together."""
    stopped = [case(n) for n in ("stopped", "resumed alone", "resumed by three")]
    assert [c["codes"] for c in stopped] == [[0, 0], [0], [0, 0, 0]]
    last = stopped[-1]
    assert noted(last, "finished")[2][-1] == "True"
    content = ledger.read(Path(last["folder"]) / "run" / "ledger.sqlite")
    assert (content.sessions, content.processes) == (3, 3)
    assert content.counted("private") == STEPS
    assert content.unsettled == 0
    assert sum(len(x) for x in noted(stopped[-1], "touched")[:1]) == STEPS


def test_a_wish_to_stop_on_any_process_stops_all(case):
    """A machine that is taken away tells the process that runs there."""
    assert noted(case("stopped"), "finished")[1][0] == "False"


def test_only_the_first_process_writes_into_a_folder(case):
    assert not (Path(case("two")["folder"]) / "nothing").exists()


def test_processes_with_other_data_do_not_begin(case):
    broken = case("other data")
    assert broken["codes"] == [3, 3]
    for said in noted(broken, "error"):
        assert said == [
            "PolicyError: the processes of this run do not have the same data"
        ]
    assert not (Path(broken["folder"]) / "run").exists()


def test_a_process_that_fails_tells_nothing_of_its_records(found, case):
    """Out of memory names a size, on whichever process it strikes."""
    broken = case("fails")
    first, second = noted(broken, "error")
    assert second[0].startswith("StepFailedError")
    assert first[0].startswith("PeerLostError")
    assert "StepFailedError" in found[1]
    assert "173" not in found[1]
    assert counts(broken)["private"] == 1


def test_a_frozen_process_is_not_waited_for_for_ever(case):
    frozen = case("frozen")
    assert frozen["codes"] == [3, -9]
    assert noted(frozen, "error")[0][0].startswith("PeerLostError")
    assert frozen["seconds_until_end"][0] < LONGEST


def nothing_is_uncounted(broken):
    rank, count = broken["rank"], broken["count"]
    assert broken["codes"][rank] == -9
    assert all(broken["codes"][other] == 3 for other in range(count) if other != rank)
    assert max(broken["seconds_until_end"]) < LONGEST
    touched = [len(one) for one in noted(broken, "touched")]
    assert max(touched) <= counts(broken)["private"] <= max(touched) + 1


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_process_ends_the_others_with_nothing_uncounted(name, case):
    nothing_is_uncounted(case(name))


@pytest.mark.slow
def test_nothing_is_uncounted_whichever_process_is_killed_wherever(written, tmp_path):
    (tmp_path / "plan.json").write_bytes((written / "drawn.json").read_bytes())
    found, _ = carried_out(MATRIX, tmp_path)
    assert len(found) > 50
    for broken in found.values():
        nothing_is_uncounted(broken)


@pytest.mark.slow
def test_every_kind_of_plan_is_the_same_for_two_processes(kinds, tmp_path):
    """Queries, experts, gates, mixtures: whatever is drawn is drawn by the first."""
    cases = {}
    for name, plan in kinds.items():
        plans.write(shrunk(plan), tmp_path / f"{name}.json")
        for count in (1, 2):
            cases[f"{name} {count}"] = {
                "count": count, "seed": 3, "of": f"{name}.json"
            }  # fmt: skip
    found, said = carried_out(cases, tmp_path)
    for name in kinds:
        one, two = found[f"{name} 1"], found[f"{name} 2"]
        assert two["codes"] == [0, 0], said
        assert counts(one) == counts(two)
        first, second = weights(one), weights(two)
        for part, value in first.items():
            torch.testing.assert_close(second[part], value, rtol=1e-4, atol=2e-4)
