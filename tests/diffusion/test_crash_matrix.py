"""SIGKILL at named points of a private step, at several steps, in blocks of two sizes.

One helper process imports everything once and forks twice for each case: the first
child dies by its own hand, the second goes on to the end. What each draws is written
down the moment it is drawn, by means that survive the process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privplan import plan as plans
from privplan.planner import PlanRequest, Wishes, make_plan

ROOT = Path(__file__).parents[2]
STEPS = 6

HELPER = """
import hashlib, json, os, signal, sys
sys.path.insert(0, {root!r})
import torch
from pathlib import Path
torch.set_num_threads(1)
import sklearn.cluster
from diffusion import checkpoint, pacing, phases, run, trainer
from diffusion.data import load_private
from diffusion.watching import RunOptions
from privplan import files, ledger, ledger_session, ledger_store
from privplan import plan as plans

digits, plan = load_private("digits"), plans.read(Path({plan!r}))
run.train(plan, digits, Path({base!r}) / "warm")  # imports what is imported late
flown = run.preflight(plan, RunOptions())
run.preflight = lambda *_: flown  # its noise is not that of the run
steps = [0]  # private steps entered by this process

def child(case, folder, resume):
    def note(name, text):
        out = os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(out, text.encode() + b"\\n")
        os.close(out)

    def here(point):
        if not resume and point == case["point"] and steps[0] == case["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(owner, method, before=None, after=None, noted=None):
        real = getattr(owner, method)
        def call(*arguments, **named):
            here(before)
            done = real(*arguments, **named)
            if noted:
                noted(arguments, done)
            here(after)
            return done
        setattr(owner, method, call)

    real_step = phases.private_step
    def counted_step(*arguments, **named):
        steps[0] += 1
        real_step(*arguments, **named)
    phases.private_step = counted_step
    pacing.block = lambda *_, **__: case["block"]

    def noise(arguments, done):
        parts = [(new - old).detach() for new, old in zip(done, arguments[0])]
        raw = b"".join(part.numpy().tobytes() for part in parts)
        note("noise", hashlib.sha256(raw).hexdigest())

    # what a gradient is does not matter here, and takes half of the time
    trainer.accumulate = lambda engine, network, *_, **__: [
        torch.zeros_like(weight, dtype=torch.float64) for weight in network.parameters()
    ]
    watched(ledger.Ledger, "reserve", "before the reservation", "reserved")
    watched(ledger_session.Session, "_catch_up", "transaction begun")
    watched(ledger_store.Store, "append", after="entry written, not committed")
    watched(trainer, "poisson_batch", "before the batch", "batch drawn",
            noted=lambda *_: note("touched", "x"))
    watched(trainer, "accumulate", after="gradients summed")
    watched(trainer, "noisy_sum", after="noise added", noted=noise)
    watched(trainer.Learner, "update", after="weights changed")
    watched(files, "write_bytes", "before the checkpoint")
    watched(checkpoint, "save_state", after="checkpoint written")
    run.train(plan, digits, folder, resume=resume,
              options=RunOptions(checkpoint_seconds=0.0))

def forked(case, folder, resume):
    pid = os.fork()
    if pid == 0:
        try:
            child(case, folder, resume)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def lines(path):
    return path.read_text().split() if path.exists() else []

for number, case in enumerate(json.loads(sys.stdin.read())):
    folder = Path({base!r}) / str(number) / "run"
    folder.parent.mkdir()
    case["killed"] = forked(case, folder, False)
    book = folder / "ledger.sqlite"
    case["recorded"] = ledger.read(book).counted("private")
    case["touched"] = len(lines(folder.parent / "touched"))
    case["drawn"] = len(lines(folder.parent / "noise"))
    case["resumed"] = forked(case, folder, True)
    case["total"] = ledger.read(book).counted("private")
    case["touched_in_all"] = len(lines(folder.parent / "touched"))
    case["noise"] = lines(folder.parent / "noise")
    print(json.dumps(case))
"""

RESERVING = (
    "before the reservation",
    "transaction begun",
    "entry written, not committed",
    "reserved",
)
STEPPING = (
    "before the batch",
    "batch drawn",
    "gradients summed",
    "noise added",
    "weights changed",
    "before the checkpoint",
    "checkpoint written",
)
FAST = [
    {"point": point, "step": step, "block": block}
    for point, step, block in (
        ("entry written, not committed", 1, 3),
        ("reserved", 4, 3),
        ("before the batch", 4, 1),
        ("batch drawn", 5, 3),
        ("noise added", 3, 1),
        ("weights changed", 4, 3),
        ("before the checkpoint", 5, 3),
    )
]
# A block of three is reserved at steps 1 and 4 only.
FULL = [
    {"point": point, "step": step, "block": block}
    for block in (1, 3)
    for points, steps in ((RESERVING, (1, 4)), (STEPPING, (1, 3, 4, 6)))
    for point in points
    for step in steps
]


def killed(cases, base):
    """Run every case in one helper process; gives what each left behind."""
    wishes = Wishes(
        steps=STEPS, sample_rate=0.02, noise_multiplicity=1, synthetic_steps=1
    )
    plan = make_plan(PlanRequest(target_epsilon=3.0, stages="", wishes=wishes))
    network = plan.training.network.model_copy(
        update={"base_width": 8, "width_multipliers": (1,), "blocks": 1}
    )
    training = plan.training.model_copy(update={"network": network})
    plan = plans.seal(plan.model_copy(update={"training": training}))
    plans.write(plan, base / "plan.json")
    code = HELPER.format(root=str(ROOT), plan=str(base / "plan.json"), base=str(base))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(cases),
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases), done.stderr
    return found, done.stderr


def check(cases, base):
    found, said = killed(cases, base)
    for case in found:
        name = f"{case['point']}, step {case['step']}, block {case['block']}"
        assert (case["killed"], case["resumed"]) == (-9, 0), f"{name}: {said}"
        assert case["drawn"] <= case["touched"] <= case["recorded"], name
        assert case["recorded"] <= case["touched"] + case["block"], name
        assert case["touched_in_all"] <= case["total"] == STEPS, name
        assert len(set(case["noise"])) == len(case["noise"]) > 0, name


def test_nothing_is_drawn_uncounted_or_twice_wherever_a_run_is_killed(tmp_path):
    """Noise that comes back after a crash cancels out: two releases, one difference."""
    check(FAST, tmp_path)


@pytest.mark.slow
def test_nothing_is_drawn_uncounted_or_twice_in_the_whole_matrix(tmp_path):
    assert len(FULL) == 72
    check(FULL, tmp_path)
