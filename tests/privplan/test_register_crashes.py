"""Killed processes, and many at once: what was granted is never passed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privplan import plan as plans
from privplan import register
from privplan.errors import BudgetExceededError, LedgerError
from privplan.register import Register
from privplan.register_run import Charge
from tests.privplan import registers as make

ROOT = Path(__file__).parents[2]

WORKER = '''
import os, signal, sys
from pathlib import Path
from privplan import ledger_store, register_file
from privplan import plan as plans
from privplan.errors import BudgetExceededError, PolicyError
from privplan.register_run import Charge
from tests.privplan import registers as make

folder, book, name, point = sys.argv[1:5]

def here(reached):
    """Die as by a power switch."""
    if reached == point:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(owner, method, before, after):
    original = getattr(owner, method)
    def call(*args, **kwargs):
        here(before)
        result = original(*args, **kwargs)
        here(after)
        return result
    setattr(owner, method, call)

watched(ledger_store.Store, "append", "before the entry", "entry not committed")
watched(register_file.Writer, "append", "before the transaction", "entry committed")

made = plans.read(Path(folder) / f"{name}.json")
charge = Charge(register=Path(book))
try:
    taken = charge.reserve(made, make.DATA)
except BudgetExceededError:
    sys.exit(3)
run = Path(folder) / name / "ledger.sqlite"
run.parent.mkdir(exist_ok=True)
with make.ledger_of(run, made) as ledger:
    charge.begin(taken, ledger, run)
'''

POINTS = (
    "before the transaction",
    "before the entry",
    "entry not committed",
    "entry committed",
)


CROWD = """
import os, sys
from pathlib import Path
from privplan.errors import BudgetExceededError
from privplan.register_run import Charge
from tests.privplan import registers as make

path, many = Path(sys.argv[1]), 8
made = make.plan(1.0)
gate, go = os.pipe()
children = []
for number in range(many):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(gate, 1)  # all start when the gate falls
        plan = make.variant(made, number)
        try:
            make.run_of(path.parent / str(number), plan, Charge(register=path))
        except BudgetExceededError:
            os._exit(3)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(9)
        os._exit(0)
    children.append(child)
os.close(go)
print(sorted(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children))
"""


def command(path: Path, name: str, point: str = "never") -> list[str]:
    return [sys.executable, "-c", WORKER, str(path.parent), str(path), name, point]


@pytest.fixture
def path(tmp_path):
    return make.begun(tmp_path, epsilon=3.2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_eight_processes_at_once_never_pass_what_was_granted(path):
    """Each sees room for itself; only the file knows who came first."""
    crowd = subprocess.run(
        [sys.executable, "-c", CROWD, str(path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert crowd.stdout.strip() == "[0, 0, 0, 3, 3, 3, 3, 3]", crowd.stderr
    data_set = register.read(path).tally.data_sets["digits"]
    assert [r.state for r in data_set.reservations.values()] == ["begun"] * 3
    assert 2.9 < data_set.taken[0] <= 3.2


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_while_it_reserves_leaves_a_whole_register(path, point):
    """Either the entry is there whole, and counts, or it never was."""
    made = make.plan()
    plans.write(made, path.parent / "run.json")
    done = subprocess.run(
        command(path, "run", point), cwd=ROOT, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = register.left(path, "digits")
    assert (left[0] == 3.2) == (point != "entry committed")
    assert not (path.parent / "run").exists()
    make.run_of(path.parent / "again", made, Charge(register=path))
    after = register.left(path, "digits")
    assert after[0] == pytest.approx(2.2, abs=1e-3)
    assert len(register.read(path).tally.data_sets["digits"].reservations) == 1


FILLER = """
import resource, sys
from pathlib import Path
from privplan.errors import LedgerError
from privplan.register import Register
from tests.privplan import registers as make

book = Register.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
refused, made = 0, make.plan(0.1)
for number in range(20):
    try:
        book.reserve(make.variant(made, number), make.DATA)
    except LedgerError as error:
        assert "register" in error.message, error.message
        refused += 1
        try:
            book.close()
        except LedgerError:
            pass
        book = Register.open(Path(sys.argv[1]))
print(refused)
"""


def test_a_full_disk_refuses_before_anything_is_promised(path):
    """A reservation that could not be written must not look like one that was."""
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path), "60000"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    kept = register.read(path).tally.data_sets["digits"].reservations
    assert 0 < int(done.stdout) < 20
    assert len(kept) == 20 - int(done.stdout)


def test_two_writers_in_one_process_see_each_other(path):
    """A writer that knows an older end must catch up before it adds."""
    with Register.open(path) as one, Register.open(path) as two:
        one.reserve(make.plan(1.0), make.DATA)
        two.reserve(make.plan(1.1), make.DATA)
        one.reserve(make.plan(0.9), make.DATA)
        with pytest.raises(BudgetExceededError):
            two.reserve(make.plan(0.5), make.DATA)
    assert len(register.read(path).entries) == 5


def test_a_register_that_was_rolled_back_under_a_writer_is_refused(path, tmp_path):
    with Register.open(path) as book:
        older = path.read_bytes()
        book.reserve(make.plan(1.0), make.DATA)
    with Register.open(path) as book:
        path.unlink()
        path.write_bytes(older)
        path.chmod(0o600)
        with pytest.raises(LedgerError, match="moved, deleted or replaced"):
            book.reserve(make.plan(0.5), make.DATA)
