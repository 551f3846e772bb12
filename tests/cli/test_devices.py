"""`privplan train --devices`: one command, several processes, one voice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import launcher, processes
from cli.live import Interrupt, QuietView
from privplan import ledger
from privplan import plan as plans
from privplan.errors import ParameterError
from privplan.planner import PlanRequest, Wishes, make_plan

ROOT = Path(__file__).parents[2]
PLAN = ROOT / "tests" / "golden" / "old-plan.json"
PATIENCE = 300.0
LONG = [sys.executable, "-c", "import time; time.sleep(600)"]
FAILING = [sys.executable, "-c", "raise SystemExit(5)"]


@pytest.fixture
def started(monkeypatch):
    """As if a launcher had started this process as one of three."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")


@pytest.fixture
def not_started(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_processes_are_started_once_and_not_by_each_other(monkeypatch, not_started):
    """A child that starts children of its own would never end."""
    assert processes.to_start(3)
    assert not processes.to_start(1)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert not processes.to_start(3)
    assert not processes.to_start(1)


def test_another_number_than_the_launcher_started_is_refused(started):
    with pytest.raises(ParameterError, match="another number of processes"):
        processes.to_start(2)


def test_no_device_at_all_is_refused_by_the_name_of_the_option(refused, not_started):
    code, message = refused("train", "--devices", "0")
    assert code == 2
    assert message.startswith("error --devices is 0")


@pytest.mark.parametrize("command", ["pretrain", "autoencoder", "preflight", "train"])
def test_a_gpu_that_is_not_there_is_refused_by_every_command(
    refused, monkeypatch, tmp_path, command
):
    """Torch would answer with a traceback."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = {
        "pretrain": ["--generator", "strokes", "--out", tmp_path / "out"],
        "autoencoder": ["--generator", "strokes", "--out", tmp_path / "out"],
        "preflight": [PLAN],
        "train": [PLAN, "--out", tmp_path / "out"],
    }
    code, message = refused(command, *given[command], "--device", "cuda")
    assert code == 2
    assert "no GPU" in message
    assert not (tmp_path / "out").exists()


def test_a_process_without_a_gpu_of_its_own_is_refused(started, monkeypatch):
    """Two processes on one GPU would halve each other's memory unasked."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParameterError, match="fewer than processes"):
        processes.device_here("cuda")
    assert processes.device_here("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert processes.device_here("cuda") == "cuda:1"


def test_one_process_alone_meets_nobody(not_started):
    with processes.together(600.0) as ranks:
        assert (ranks.rank, ranks.count, ranks.first) == (0, 1, True)


def test_a_process_that_does_not_end_after_another_failed_is_killed(monkeypatch):
    """Frozen, it would keep the user waiting; the step it began is counted."""
    monkeypatch.setattr(launcher, "_PATIENCE_AFTER_FAILURE", 0.2)
    running = [subprocess.Popen(LONG), subprocess.Popen(FAILING)]
    launcher._wait(running)
    assert [process.returncode for process in running] == [-signal.SIGKILL, 5]


def test_ctrl_c_goes_to_the_first_process_and_the_third_one_to_all():
    running = [subprocess.Popen(LONG), subprocess.Popen(LONG)]
    seen = []
    real = running[0].send_signal
    running[0].send_signal = lambda number: (
        real(number) if number == signal.SIGKILL else seen.append(number)
    )
    with launcher._signals_to(running):
        for times in (1, 2):
            signal.raise_signal(signal.SIGINT)
            assert seen == [signal.SIGINT] * times
            assert running[1].poll() is None
        signal.raise_signal(signal.SIGINT)
    assert [process.returncode for process in running] == [-signal.SIGKILL] * 2


def test_a_process_whose_launcher_is_gone_wishes_to_stop(capsys):
    """Nobody could stop it from a terminal any more."""
    assert not QuietView(Interrupt(launcher=os.getppid())).should_stop()
    assert QuietView(Interrupt(launcher=os.getppid() + 1)).should_stop()
    quiet = Interrupt(quiet=True)
    with quiet.watched():
        signal.raise_signal(signal.SIGTERM)
    assert quiet.wished
    assert capsys.readouterr().err == ""


@pytest.fixture
def small(tmp_path):
    """Writes a plan of many short steps."""
    wishes = Wishes(steps=400, sample_rate=0.02, noise_multiplicity=1)
    stages = "coarse=private,context=private,cleaning=private"
    plan = make_plan(PlanRequest(target_epsilon=8.0, stages=stages, wishes=wishes))
    network = plan.training.network.model_copy(
        update={"base_width": 8, "width_multipliers": (1,), "blocks": 1}
    )
    training = plan.training.model_copy(update={"network": network})
    plan = plans.seal(plan.model_copy(update={"training": training}))
    plans.write(plan, tmp_path / "plan.json")
    return tmp_path


def begun(folder, *options, command=("-m", "cli", "train")):
    return subprocess.Popen(
        [sys.executable, *command, str(folder / "plan.json"), "--out",
         str(folder / "run"), *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def two_steps(process, folder):
    path, until = folder / "run" / "ledger.sqlite", time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.5)
        if path.exists() and ledger.read(path).counted("private") >= 2:
            return
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
def test_ctrl_c_stops_two_processes_and_the_run_goes_on_under_torchrun(small):
    """Saved, resumed by three under torchrun, stopped again; one voice throughout."""
    process = begun(small, "--devices", "2", "--json")
    two_steps(process, small)
    process.send_signal(signal.SIGINT)
    said, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert json.loads(said)["finished"] is False
    assert talk.count("finishing this step") == 1
    assert "error" not in talk
    first = ledger.read(small / "run" / "ledger.sqlite")
    assert (first.unsettled, first.processes) == (0, 2)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "3", "-m", "cli",
                "train")  # fmt: skip
    again = begun(small, "--resume", command=torchrun)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and again.poll() is None:
        time.sleep(0.5)
        now = ledger.read(small / "run" / "ledger.sqlite")
        if now.counted("private") > first.counted("private") + 1:
            break
    again.send_signal(signal.SIGTERM)
    talk = again.communicate(timeout=PATIENCE)[1]
    last = ledger.read(small / "run" / "ledger.sqlite")
    assert (last.sessions, last.processes, last.unsettled) == (2, 3, 0)
    assert talk.count("Stopped and saved") == 1


@pytest.mark.slow
def test_a_refusal_is_said_once_with_its_own_exit_code(small):
    (small / "run").mkdir()
    (small / "run" / "ledger.sqlite").write_text("")
    process = begun(small, "--devices", "2")
    said, talk = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (5, "")
    assert talk.count("error ") == 1
    assert "already holds a run" in talk
    assert "Traceback" not in talk


@pytest.mark.slow
def test_a_process_killed_from_outside_ends_the_run_with_one_error(small):
    process = begun(small, "--devices", "2")
    two_steps(process, small)
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    os.kill(max(int(pid) for pid in found), signal.SIGKILL)
    _, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert talk.count("error ") == 1
    assert "another process of this run failed, ended or fell silent" in talk
    assert ledger.read(small / "run" / "ledger.sqlite").counted("private") >= 2
