"""Killed processes, full disks, two processes on one run: the count is never too low.

Each test starts real processes that train on nothing: a step writes one line to a file
at the moment a trainer would have drawn its noise. What the ledger counts is compared
with the lines in that file, which survive the process.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privplan.errors import BudgetExceededError, IntegrityError, LedgerError
from privplan.events import PoissonSampledGaussianEvent
from privplan.ledger import Allowance, Ledger, read

BOUND = {"plan_digest": "a" * 64, "data_digest": "b" * 64, "code_digest": "c" * 64}
ROOT = Path(__file__).parents[2]
STEPS = 30

TRAINER = '''
import os, signal, sys
from contextlib import suppress
from pathlib import Path
from privplan import ledger_session, ledger_store
from privplan.errors import BudgetExceededError, PolicyError
from privplan.ledger import Ledger

path, noise, block, point, nth = sys.argv[1:6]
block, nth = int(block), int(nth)
reached = 0

def here(name):
    """Die as by a power switch when this point is reached for the nth time."""
    global reached
    reached += name == point
    if reached == nth:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(owner, method, before=None, after=None):
    original = getattr(owner, method)
    def call(*args, **kwargs):
        if before: here(before)
        result = original(*args, **kwargs)
        if after: here(after)
        return result
    setattr(owner, method, call)

watched(ledger_session.Session, "_catch_up", before="transaction begun")
watched(ledger_store.Store, "append", after="entry written, not committed")
watched(ledger_store.Store, "checkpoint", "before a checkpoint", "after a checkpoint")
watched(ledger_session.Session, "append", "before an entry", "entry committed")

def main():
    bound = dict(plan_digest="a" * 64, data_digest="b" * 64, code_digest="c" * 64)
    out = os.open(noise, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    # done, fenced by a newer process, or another process has the run
    with suppress(BudgetExceededError, PolicyError), Ledger.resume(
        path, **bound
    ) as ledger:
        while True:
            ledger.reserve("private", block)
            for _ in range(block):
                here("before the noise")
                os.write(out, b"x\\n")
                here("after the noise")
            ledger.settle("private", block)
            ledger.record_release("checkpoint", "d" * 64)

path = Path(path)
main()
'''

NO_LOCKS = """
from privplan import ledger_lock
ledger_lock._lock = lambda descriptor: True
"""

POINTS = (
    "before an entry",
    "transaction begun",
    "entry written, not committed",
    "entry committed",
    "before the noise",
    "after the noise",
    "before a checkpoint",
    "after a checkpoint",
)


def begin(path: Path, steps: int) -> Path:
    step = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)
    allowances = [Allowance(phase="private", event=step, steps=steps)]
    Ledger.create(path, **BOUND, allowances=allowances).close()
    return path


@pytest.fixture
def path(tmp_path):
    return begin(tmp_path / "run.sqlite", STEPS)


def command(path: Path, block: int, point: str = "never", nth: int = 1) -> list[str]:
    noise = path.with_name("noise")
    return [
        *(sys.executable, "-c", TRAINER),
        *(str(path), str(noise), str(block), point, str(nth)),
    ]


def drawn(path: Path) -> int:
    noise = path.with_name("noise")
    return len(noise.read_text().split()) if noise.exists() else 0


def killed_at(path: Path, block: int, point: str, nth: int) -> None:
    process = subprocess.run(
        command(path, block, point, nth), cwd=ROOT, check=False, capture_output=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()


def finish(path: Path, block: int) -> None:
    subprocess.run(command(path, block), cwd=ROOT, check=True)


def check_a_kill(path: Path, block: int, point: str, nth: int) -> None:
    """Kill, look, resume to the end, look again."""
    killed_at(path, block, point, nth)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    content, executed = read(path), drawn(path)
    counted = content.counted("private")
    after = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert before == after
    assert executed <= counted <= executed + block

    with Ledger.resume(path, **BOUND) as ledger:
        assert ledger.counted("private") == counted
        while ledger.counted("private") + block <= STEPS:
            ledger.reserve("private", block)
            executed += block
        with pytest.raises(BudgetExceededError):
            ledger.reserve("private", block)
        assert ledger.sessions == content.sessions + 1
    assert executed <= read(path).counted("private") <= STEPS


@pytest.mark.parametrize("block", [1, 5])
@pytest.mark.parametrize("point", POINTS)
def test_a_step_that_drew_noise_is_counted_wherever_the_run_is_killed(
    path, point, block
):
    """A crash between noise and ledger would make the next run start too rich."""
    check_a_kill(path, block, point, nth=3)


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("block", [1, 3, 5])
@pytest.mark.parametrize("point", POINTS)
def test_a_step_that_drew_noise_is_counted_at_every_occurrence(path, point, block, nth):
    """The first step, and the step after a checkpoint, take other paths."""
    check_a_kill(path, block, point, nth)


@pytest.mark.slow
def test_kills_at_random_moments_never_lose_a_step(tmp_path):
    """The points above are those we thought of; time hits the others."""
    generator = random.Random(7)  # noqa: S311 - when to kill, no secret
    path = begin(tmp_path / "run.sqlite", steps=100_000)
    for _ in range(40):
        with subprocess.Popen(command(path, 1), cwd=ROOT) as process:
            time.sleep(generator.uniform(0.1, 0.4))
            process.kill()
        counted, executed = read(path).counted("private"), drawn(path)
        assert executed <= counted <= executed + read(path).sessions
    assert executed > 1000


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_fight_over_one_run_never_exceed_its_plan(path, locks):
    """Each believes to be the only one; the file knows which is the newest.

    Without locks, as on a system that has none, fencing alone must hold.
    """
    code = command(path, 1)
    if not locks:
        code[2] = NO_LOCKS + code[2]
    fighters = [subprocess.Popen(code, cwd=ROOT) for _ in range(4)]
    assert [fighter.wait() for fighter in fighters] == [0, 0, 0, 0]
    finish(path, 1)
    content = read(path)
    assert drawn(path) <= content.counted("private") == STEPS
    # A fenced process may lose the one step it had reserved when it was fenced.
    assert STEPS - drawn(path) <= content.sessions - 2


FILLER = """
import resource, sys
from pathlib import Path
from privplan.errors import LedgerError
from privplan.ledger import Ledger

path, noise, limit = Path(sys.argv[1]), open(sys.argv[2], "a"), int(sys.argv[3])
bound = dict(plan_digest="a" * 64, data_digest="b" * 64, code_digest="c" * 64)
ledger = Ledger.resume(path, **bound)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
refused = 0
for _ in range(20):
    try:
        ledger.reserve("private", 1)
    except LedgerError as error:
        assert "disk" in error.message, error.message
        refused += 1
    else:
        print("x", file=noise, flush=True)
print(refused)
"""


def test_a_full_disk_stops_the_run_before_the_noise(path):
    """A reservation that could not be written must not look like one that was."""
    noise = path.with_name("noise")
    # 60 kB: room for the journal of a few reservations and not of twenty.
    arguments = [str(path), str(noise), "60000"]
    process = subprocess.run(
        [sys.executable, "-c", FILLER, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert process.stdout, process.stderr
    refused = int(process.stdout)
    assert 0 < refused < 20
    assert drawn(path) == read(path).counted("private") == 20 - refused
    with Ledger.resume(path, **BOUND) as ledger:
        ledger.reserve("private", 1)
    assert read(path).counted("private") == drawn(path) + 1


FORKER = """
import os, sys
from pathlib import Path
from privplan.errors import PolicyError
from privplan.ledger import Ledger

bound = dict(plan_digest="a" * 64, data_digest="b" * 64, code_digest="c" * 64)
with Ledger.resume(Path(sys.argv[1]), **bound) as ledger:
    ledger.reserve("private", 1)
    child = os.fork()
    if child == 0:
        try:
            ledger.reserve("private", 1)
        except PolicyError as error:
            ledger.close()
            os._exit(7 if "forked" in error.message else 8)
        os._exit(9)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ledger.reserve("private", 1)
sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_copy_of_the_trainer_cannot_reserve(path):
    """Both copies would believe that the next step is theirs."""
    arguments = [sys.executable, "-c", FORKER, str(path)]
    process = subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True)
    assert process.returncode == 7, process.stderr.decode()
    assert read(path).counted("private") == 2


def test_a_run_can_be_read_while_it_writes(path):
    """An officer who looks must see a state that was true, and must not disturb."""
    process = subprocess.Popen(command(path, 1), cwd=ROOT)
    seen = [0]
    while process.poll() is None:
        try:
            seen.append(read(path).counted("private"))
        except LedgerError as error:
            assert "faster than" in error.message  # noqa: PT017
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert read(path).counted("private") == drawn(path) == STEPS


@pytest.mark.parametrize("flips", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_a_damaged_journal_is_refused_or_read_up_to_the_damage(path, flips):
    """SQLite ends a journal at the first bad frame: that looks like a cut end.

    So it can be seen only against a head kept elsewhere; but no entry may change.
    """
    killed_at(path, 1, "before a checkpoint", nth=1)
    journal = path.with_name(path.name + "-wal")
    truth, content = read(path), journal.read_bytes()
    generator = random.Random(3)  # noqa: S311 - which bits to flip, no secret
    whole = 0
    for _ in range(flips):
        bit = generator.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        journal.write_bytes(damaged)
        try:
            found = read(path)
        except (LedgerError, IntegrityError):
            continue
        assert found.entries == truth.entries[: len(found.entries)]
        known = found.hash_at(truth.head.sequence) == truth.head.hash
        assert known == (found.head == truth.head)
        whole += known
    assert whole < flips
