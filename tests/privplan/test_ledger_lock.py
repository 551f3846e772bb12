"""One process has a run; the others are refused at once, and no lock outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privplan import ledger_lock
from privplan.errors import LedgerError, PolicyError
from privplan.events import PoissonSampledGaussianEvent
from privplan.ledger import Allowance, Ledger, read

ROOT = Path(__file__).parents[2]
BOUND = {"plan_digest": "a" * 64, "data_digest": "b" * 64, "code_digest": "c" * 64}
STEP = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)
HOLDER = """
import sys
from pathlib import Path
from privplan.ledger import Ledger
bound = dict(plan_digest="a" * 64, data_digest="b" * 64, code_digest="c" * 64)
ledger = Ledger.resume(Path(sys.argv[1]), **bound)
ledger.reserve("private", 1)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.sqlite"
    allowances = [Allowance(phase="private", event=STEP, steps=20)]
    Ledger.create(path, **BOUND, allowances=allowances).close()
    return path


@pytest.fixture
def holder(path):
    """Another process that has the run."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_while_the_first_lives_and_no_longer(path, holder):
    """Fencing alone would end the run that was going well."""
    before = read(path)
    with pytest.raises(PolicyError, match="another process is writing") as refusal:
        Ledger.resume(path, **BOUND)
    assert refusal.value.exit_code == 5
    assert read(path).entries == before.entries
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with Ledger.resume(path, **BOUND) as ledger:
        ledger.reserve("private", 1)
    assert read(path).counted("private") == 2


def test_a_process_whose_lock_was_deleted_is_fenced(path, holder):
    """Deleting a file must not give two processes one budget."""
    ledger_lock.lock_path(path).unlink()
    with Ledger.resume(path, **BOUND) as ledger:
        assert ledger.sessions == 3
    holder.stdin.close()
    holder.wait()
    assert read(path).counted("private") == 1


def test_a_lock_file_left_behind_locks_nobody_out(path):
    """A crash leaves the file; what locks is the process."""
    ledger_lock.lock_path(path).write_bytes(b"")
    Ledger.resume(path, **BOUND).close()
    assert not ledger_lock.lock_path(path).exists()


def test_a_refused_resume_leaves_the_run_free(path):
    with pytest.raises(PolicyError, match="plan"):
        Ledger.resume(path, **(BOUND | {"plan_digest": "d" * 64}))
    Ledger.resume(path, **BOUND).close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_ledgers_of_one_process_are_two_holders(path):
    with (
        Ledger.resume(path, **BOUND),
        pytest.raises(PolicyError, match="another process"),
    ):
        Ledger.resume(path, **BOUND)


def test_closing_late_does_not_remove_the_lock_of_the_next_one(path):
    first = ledger_lock.take(path)
    ledger_lock.lock_path(path).unlink()
    second = ledger_lock.take(path)
    first.release()
    with pytest.raises(PolicyError):
        ledger_lock.take(path)
    second.release()
    second.release()
    ledger_lock.take(path).release()


def test_a_forked_copy_cannot_let_go_of_the_lock(path):
    """A data-loading worker that ends must not open the run to others."""
    lock = ledger_lock.take(path)
    lock._process += 1
    lock.release()
    with pytest.raises(PolicyError):
        ledger_lock.take(path)
    lock._process -= 1
    lock.release()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(LedgerError, match="cannot be locked"):
        ledger_lock.take(tmp_path / "none" / "run.sqlite")
