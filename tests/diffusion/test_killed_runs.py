"""SIGKILL at any point of any kind of run, then resume.

One helper process imports everything once and forks for each case; the child dies by
its own hand at a named call. What must hold: everything that touched the records was
counted before, and a resumed run ends inside its plan.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion import checkpoint, run
from diffusion.queries import ANSWERS_NAME
from privplan import ledger
from privplan import plan as plans
from privplan.errors import BudgetExceededError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("flown_once")]

ROOT = Path(__file__).parents[2]

HELPER = """
import importlib, json, os, signal, sys
sys.path.insert(0, {root!r})
import torch
from pathlib import Path
torch.set_num_threads(1)
import sklearn.cluster
from diffusion import run
from diffusion.data import load_private
from diffusion.watching import RunOptions
from privplan import plan as plans

digits = load_private("digits")

def die(case):
    room, name = case["point"].split(":")
    room, seen = importlib.import_module(room), [0]
    owner, name = (getattr(room, "Guard"), name) if name == "settle" else (room, name)
    real = getattr(owner, name)
    def dying(*arguments, **named):
        seen[0] += 1
        if seen[0] == case["at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(owner, name, dying)
    run.train(plans.read(Path(case["plan"])), digits,
              Path(case["folder"]), options=RunOptions(checkpoint_seconds=0.0))

found, cases = dict(), json.loads(Path({cases!r}).read_text())
flown = dict()  # tried before anybody dies: no step of a preflight is one of the run
for path in set(case["plan"] for case in cases):
    plan = plans.read(Path(path))
    flown[plan.digest] = run.preflight(plan, RunOptions())
run.preflight = lambda plan, options: flown[plan.digest]
for case in cases:
    child = os.fork()
    if child == 0:
        try:
            die(case)
        finally:
            os._exit(3)
    found[case["name"]] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""

CASES = {
    # name: kind of plan, where, at which call, steps begun then: query, private
    "in synthetic": ("gated", "diffusion.phases:public_step", 2, 1, 0),
    "between phases": ("gated", "diffusion.run:start_phase", 2, 1, 0),
    "copied, not saved": ("gated", "diffusion.checkpoint:save_state", 7, 1, 1),
    "in private, gated": ("gated", "diffusion.trainer:accumulate", 3, 1, 3),
    "in private, experts": ("experts", "diffusion.trainer:noisy_sum", 2, 1, 2),
    "before private, experts": ("experts", "diffusion.phases:private_step", 1, 1, 0),
    "in private, mixture": ("mixture", "diffusion.trainer:poisson_batch", 4, None, 4),
    "answered and saved": ("sequential", "diffusion.enforce:settle", 1, 1, 0),
    "second of two queries": ("queries", "diffusion.queries:_label_counts", 2, 0, 0),
    "while releasing": ("queries", "diffusion.checkpoint:save_model", 1, 1, 4),
}
LOST = {
    "asked, no answer": ("sequential", "diffusion.queries:query", 1, 1, 0),
    "answered, no noise": ("sequential", "diffusion.queries:noisy_sum", 1, 1, 0),
    "noised, not saved": ("sequential", "diffusion.checkpoint:save_state", 1, 1, 0),
}


@pytest.fixture(scope="module")
def killed(kinds, tmp_path_factory):
    """Every case killed; gives the folder of each by name."""
    folder = tmp_path_factory.mktemp("killed")
    cases = []
    for number, (name, case) in enumerate((CASES | LOST).items()):
        kind, point, at, *_ = case
        path = folder / f"{kind}.json"
        plans.write(kinds[kind], path)
        cases.append({
            "name": name, "plan": str(path), "folder": str(folder / str(number)),
            "point": point, "at": at,
        })  # fmt: skip
    (folder / "cases.json").write_text(json.dumps(cases))
    code = HELPER.format(root=str(ROOT), cases=str(folder / "cases.json"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert set(json.loads(done.stdout).values()) == {-signal.SIGKILL}, done
    return {case["name"]: Path(case["folder"]) for case in cases}


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_goes_on_and_ends_inside_its_plan(name, killed, kinds, digits):
    kind, _, _, asked, private = CASES[name]
    plan, folder = kinds[kind], killed[name]
    before = ledger.read(folder / "ledger.sqlite")
    assert before.counted("private") == private
    if asked is not None:
        assert before.counted("gaussian") == asked
    assert run.train(plan, digits, folder, resume=True).finished
    after = ledger.read(folder / "ledger.sqlite")
    for phase in plan.phases:
        assert after.counted(phase.name) == phase.steps
    answers = checkpoint._read(folder / checkpoint.MODEL_NAME)[0]
    for phase in plan.phases_of(plans.GaussianPhase):
        assert len(answers[f"answer.{phase.name}"]) == 1
    assert (folder / ANSWERS_NAME).exists() == bool(plan.phases_of(plans.QueryPhase))


def test_a_lost_answer_of_several_leaves_the_others(killed, kinds, digits):
    """Asked twice, the first answer kept: the mean is over what is there."""
    folder = killed["second of two queries"]
    run.train(kinds["queries"], digits, folder, resume=True)
    answers = checkpoint._read(folder / checkpoint.MODEL_NAME)[0]
    assert len(answers["answer.labels"]) == 1
    assert ledger.read(folder / "ledger.sqlite").counted("labels") == 2


@pytest.mark.parametrize("name", LOST)
def test_a_query_killed_before_its_answer_was_kept_ends_the_run(
    name, killed, kinds, digits
):
    """Nobody knows whether the answer got out, so it counts, and is not repeated."""
    kind, *_ = LOST[name]
    folder = killed[name]
    with pytest.raises(BudgetExceededError, match="its answer is lost"):
        run.train(kinds[kind], digits, folder, resume=True)
    assert ledger.read(folder / "ledger.sqlite").counted("gaussian") == 1
