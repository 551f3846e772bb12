"""Ctrl-C in a real process: the step is finished, saved, and the way back is said."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from privplan import ledger
from privplan import plan as plans
from privplan.planner import PlanRequest, Wishes, make_plan

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_resume(tmp_path):
    """A step that began is counted; stopping in its middle would waste it."""
    plan = make_plan(
        PlanRequest(
            target_epsilon=8.0,
            stages="",
            wishes=Wishes(steps=400, sample_rate=0.1, synthetic_steps=2),
        )
    )
    plans.write(plan, tmp_path / "plan.json")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "cli", "train", str(tmp_path / "plan.json"),
               "--out", str(run)]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _wait_for_two_steps(process, run / "ledger.sqlite")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    content = ledger.read(run / "ledger.sqlite")
    assert process.returncode == 1
    assert "finishing this step" in said
    assert f"To resume: privplan train {run} --resume" in said
    assert "Traceback" not in said
    assert 2 <= content.counted("private") < 400
    assert content.unsettled == 0
    assert (run / "checkpoint" / "state.safetensors").exists()


def _wait_for_two_steps(process, path):
    waited = time.monotonic() + PATIENCE
    while time.monotonic() < waited and process.poll() is None:
        time.sleep(0.2)
        if path.exists() and ledger.read(path).counted("private") >= 2:
            return
