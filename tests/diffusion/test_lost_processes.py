"""One process of several is killed at each point of a step; then others go on.

Two processes and three, the one that writes and one that does not, before and after
everything that a step consists of. Whatever happens to be lost: all processes end in
bounded time, the ledger holds, it counts at least what was carried out, another number
of processes finishes the run inside its plan, and the report of that run verifies.
"""

from functools import cache
from pathlib import Path

import pytest

from privplan import ledger, opinions, run_report, verify
from privplan import plan as plans
from privplan.keys import Role, load_key, load_public, new_key
from privplan.planner import PlanRequest, Wishes, make_plan
from tests.diffusion.several_cases import STEPS, carried_out, counts, noted, shrunk

pytestmark = pytest.mark.slow

LONGEST = 45.0  # seconds until the last process of a broken run ends, on a busy machine
WRITER_ONLY = {"noise", "save", "model"}
FREE_STEPS = 2  # synthetic steps come first, and also sum, publish and save
POINTS = {
    # what: point, after it returned, at which call
    "before the intent": ("spending", False, 3),
    "after the intent, before the forward pass": ("batch", False, 2),
    "during the backward pass": ("backward", False, 50),
    "before the sum": ("sum", False, FREE_STEPS + 2),
    "after the sum": ("sum", True, FREE_STEPS + 2),
    "after the noise": ("noise", True, 2),
    "after the noisy sum was given out": ("publishing", True, FREE_STEPS + 2),
    "before the checkpoint": ("saving together", False, FREE_STEPS + 3),
    "after it was written": ("save", True, FREE_STEPS + 3),
    "after the checkpoint": ("saving together", True, FREE_STEPS + 3),
    "model written, not noted": ("model", True, 1),
    "at the end": ("going", True, 1),
}
BLOCK = {2: 1, 3: 3}  # steps reserved at once
GO_ON = {(2, 0): 3, (2, 1): 1, (3, 0): 2, (3, 2): 1}
KILLED = {
    f"{what}, process {rank} of {count}": {
        "count": count, "rank": rank, "point": point, "after": after, "at": at,
        "act": "kill", "block": BLOCK[count],
    }
    for count, rank in GO_ON
    for what, (point, after, at) in POINTS.items()
    if rank == 0 or point not in WRITER_ONLY
}  # fmt: skip


LATE = {
    f"late, process {rank}": KILLED[f"after the sum, process {rank} of 2"]
    | {"fault": "counts afterwards"}
    for rank in (0, 1)
}


def resumed(name):
    return f"resumed: {name}"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What became of every killed run, of the same run resumed, and its reports."""
    folder = tmp_path_factory.mktemp("lost")
    wishes = Wishes(
        steps=STEPS, sample_rate=0.02, noise_multiplicity=2, synthetic_steps=FREE_STEPS
    )
    stages = "coarse=gaussian,context=private,cleaning=synthetic"
    plan = make_plan(PlanRequest(target_epsilon=3.0, stages=stages, wishes=wishes))
    plans.write(shrunk(plan), folder / "plan.json")
    new_key(folder / "trainer.key", role=Role.TRAINER, passphrase=None)
    cases = {}
    for name, case in KILLED.items():
        count = GO_ON[case["count"], case["rank"]]
        cases[name] = case
        cases[resumed(name)] = {"count": count, "resume": True, "in": name}
    with pytest.MonkeyPatch.context() as patch:  # of one plan they say the same
        patch.setattr(opinions, "second_opinions", cache(opinions.second_opinions))
        yield carried_out(cases | LATE, folder)[0]


def executed(case, *, before=None):
    """The private steps that one session touched records in, on any process."""
    steps = [len(one) for one in noted(case, "touched")]
    earlier = [len(one) for one in noted(before, "touched")] if before else []
    earlier += [0] * len(steps)
    return max(now - then for now, then in zip(steps, earlier, strict=False))


@pytest.mark.parametrize("name", KILLED)
def test_a_lost_process_ends_the_others_and_nothing_is_uncounted(name, found):
    """Counting is the first's work, computing is everybody's: they can come apart."""
    broken = found[name]
    others = [code for r, code in enumerate(broken["codes"]) if r != broken["rank"]]
    assert broken["codes"][broken["rank"]] == -9
    ended_well = {0, 3} if broken["point"] == "going" else {3}
    assert set(others) <= ended_well
    assert max(broken["seconds_until_end"]) < LONGEST
    assert broken["recorded"] >= executed(broken)
    assert broken["recorded"] <= executed(broken) + broken["block"]


@pytest.mark.parametrize("name", LATE)
def test_a_ledger_written_after_the_step_would_be_caught(name, found):
    """The mistake that this matrix is there for, put in by hand."""
    assert found[name]["codes"][found[name]["rank"]] == -9
    assert found[name]["recorded"] < executed(found[name])


@pytest.mark.parametrize("name", KILLED)
def test_another_number_of_processes_ends_the_run_inside_its_plan(name, found):
    """What was lost stays spent; the steps of both sessions together fit the plan."""
    broken, after = found[name], found[resumed(name)]
    assert after["codes"] == [0] * after["count"]
    assert [said[-1] for said in noted(after, "finished")[: after["count"]]] == [
        "True"
    ] * after["count"]
    assert counts(after)["private"] == STEPS
    both = executed(broken) + executed(after, before=broken)
    assert executed(broken) <= broken["recorded"] <= STEPS
    assert both <= STEPS


@pytest.mark.parametrize("name", KILLED)
def test_the_report_of_a_run_that_lost_a_process_verifies(name, found, tmp_path):
    run = Path(found[resumed(name)]["folder"]) / "run"
    key = run.parents[1] / "trainer.key"
    plan = plans.read(run / "plan.json")
    said = run_report.write_report(plan, run, load_key(key))
    verdict = verify.verify(
        (run / run_report.REPORT_NAME).read_bytes(),
        folder=run,
        trusted=[load_public(key.with_suffix(".pub"))],
    )
    assert verdict.passed, verdict.findings
    assert (said.verdict, said.realised.finished) == ("dp-claim", True)
    assert ledger.read(run / "ledger.sqlite").sessions == 2
