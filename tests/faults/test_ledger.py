"""Mistakes around the ledger: kills, forks, rollbacks, other runs, full disks."""

import os
import shutil

import pytest

from diffusion import checkpoint, enforce, run, trainer
from diffusion import phases as phases_room
from diffusion.data import PrivateImages
from diffusion.watching import RunOptions
from privplan import (
    canonical,
    ledger,
    ledger_anchor,
    ledger_checks,
    ledger_mounts,
    ledger_session,
)
from privplan import plan as plans
from privplan.errors import (
    BudgetExceededError,
    IntegrityError,
    LedgerError,
    PolicyError,
    PrivplanError,
    StepFailedError,
)
from privplan.ledger import Ledger
from privplan.register import Register
from tests.diffusion.test_run import PRIVATE, StopAfter
from tests.faults.catching import fault
from tests.privplan import registers
from tests.privplan import test_ledger_crashes as crashes
from tests.privplan import test_ledger_faults as disks
from tests.privplan import test_ledger_tampering as tampering
from tests.privplan import test_register_crashes as crowd
from tests.privplan.test_ledger import BOUND, begin

pytestmark = pytest.mark.usefixtures("flown_once")


@pytest.fixture(scope="module")
def paused(small_plan, digits, tmp_path_factory):
    """A run that stopped after two steps; copied by whoever changes something."""
    folder = tmp_path_factory.mktemp("paused") / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(2))
    return folder


@pytest.fixture
def folder(paused, tmp_path):
    shutil.copytree(paused, tmp_path / "run")
    return tmp_path / "run"


@fault("L1")
@pytest.mark.slow
def test_a_kill_at_any_of_seven_points_never_makes_the_next_run_richer(
    caught, tmp_path
):
    """Counted is never below executed; the product's part is the order of its writes.

    The fault that is put in is the kill; what a wrong order would do shows in L17.
    """
    for point in crashes.POINTS:
        place = tmp_path / point.replace(" ", "-")
        place.mkdir()
        crashes.check_a_kill(
            crashes.begin(place / "run.sqlite", crashes.STEPS), 2, point, 2
        )
    assert len(crashes.POINTS) >= 7
    caught.without_effect("counted >= executed")


@fault("L2")
def test_a_second_process_is_refused_and_a_stale_one_fenced(caught, tmp_path):
    path = tmp_path / "run.sqlite"
    first = begin(path)
    caught.refusal(PolicyError, lambda: Ledger.resume(path, **BOUND))
    (path.parent / f"{path.name}.lock").unlink(missing_ok=True)
    for lock in path.parent.glob("*.lock"):
        lock.unlink()
    with Ledger.resume(path, **BOUND) as second:
        second.reserve("private", 1)
        caught.refusal(PolicyError, lambda: first.reserve("private", 1))
    assert ledger.read(path).counted("private") == 1


@fault("L3")
def test_a_forked_trainer_cannot_reserve(caught, tmp_path, monkeypatch):
    with begin(tmp_path / "run.sqlite") as book:
        book.reserve("private", 1)
        child = os.fork()
        if child == 0:
            try:
                book.reserve("private", 1)
            except PolicyError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        with monkeypatch.context() as patch:  # this process, as the child sees itself
            patch.setattr(os, "getpid", lambda: -1)
            caught.refusal(PolicyError, lambda: book.reserve("private", 1), "fork")
    assert ledger.read(tmp_path / "run.sqlite").counted("private") == 1


@fault("L4")
@pytest.mark.slow
def test_an_edited_plan_is_refused_at_resume(caught, small_plan, digits, folder):
    """More steps, sealed anew: the digest is no longer the ledger's."""
    kept = [
        p.model_copy(update={"steps": p.steps + 1}) if p.name == PRIVATE else p
        for p in small_plan.phases
    ]
    longer = plans.seal(small_plan.model_copy(update={"phases": tuple(kept)}))
    caught.refusal(
        PrivplanError, lambda: run.train(longer, digits, folder, resume=True)
    )
    text = (folder / "plan.json").read_bytes()
    (folder / "plan.json").write_bytes(text.replace(b'"steps": 6', b'"steps": 7'))
    caught.refusal(IntegrityError, lambda: plans.read(folder / "plan.json"))


@fault("L5")
@pytest.mark.slow
def test_records_edited_added_or_reordered_are_refused(
    caught, small_plan, digits, folder
):
    images, labels = digits.images, digits.labels
    edited = images.clone()
    edited[0, 0, 0, 0] ^= 1
    for changed in (
        PrivateImages(edited, labels, digits.classes),
        PrivateImages(images.flip(0), labels.flip(0), digits.classes),
        PrivateImages(images[:-1], labels[:-1], digits.classes),
    ):
        caught.refusal(
            PolicyError,
            lambda changed=changed: run.train(small_plan, changed, folder, resume=True),
        )


@fault("L6")
@pytest.mark.slow
def test_a_ledger_that_is_gone_old_cut_or_rewritten_is_found_out(
    caught, small_plan, digits, folder, tmp_path
):
    path, old = folder / "ledger.sqlite", tmp_path / "old.sqlite"
    noted = tmp_path / "anchor.txt"
    ledger_anchor.write(ledger_anchor.of(ledger.read(path)), noted)
    shutil.copy(path, old)
    tampering.rewrite(old, keep=3)
    verdict = ledger_checks.check(old, anchor=noted)
    assert not verdict.passed
    path.write_bytes(old.read_bytes())
    caught.refusal(
        IntegrityError, lambda: run.train(small_plan, digits, folder, resume=True)
    )
    path.unlink()
    caught.refusal(
        PrivplanError, lambda: run.train(small_plan, digits, folder, resume=True)
    )


@fault("L7")
@pytest.mark.slow
def test_an_old_checkpoint_gives_no_steps_back(caught, small_plan, digits, folder):
    """Training on from it would release more steps than planned."""
    state = folder / checkpoint.STATE_NAME
    old = state.read_bytes()
    run.train(small_plan, digits, folder, resume=True)
    state.write_bytes(old)
    run.train(small_plan, digits, folder, resume=True)
    steps = small_plan.private_phases[0].steps
    assert ledger.read(folder / "ledger.sqlite").counted(PRIVATE) == steps
    with enforce.resume(small_plan, digits, folder) as guard:
        caught.refusal(
            BudgetExceededError, lambda: guard.spend(small_plan.private_phases[0])
        )


@fault("L8")
@pytest.mark.slow
def test_the_checkpoint_of_another_run_is_refused(
    caught, small_plan, digits, folder, tmp_path
):
    other = tmp_path / "other"
    run.train(small_plan, digits, other, watcher=StopAfter(1))
    shutil.copy(other / checkpoint.STATE_NAME, folder / checkpoint.STATE_NAME)
    caught.refusal(
        IntegrityError, lambda: run.train(small_plan, digits, folder, resume=True)
    )


@fault("L9")
def test_a_full_or_read_only_disk_stops_before_the_noise(caught, tmp_path, monkeypatch):
    path = disks.begin(tmp_path / "run.sqlite")
    done, drawn = disks.train(path, limit=70_000)
    assert done.returncode == 7, done.stderr  # it ended with a LedgerError
    assert drawn == ledger.read(path).counted("private")
    with begin(tmp_path / "other.sqlite") as book:

        def broken(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(book._session._store, "append", broken)
        caught.refusal(LedgerError, lambda: book.reserve("private", 1))


@fault("L10")
def test_a_clock_that_jumps_changes_no_count(caught, tmp_path, monkeypatch):
    path = disks.begin(tmp_path / "run.sqlite")
    for year in ("1969", "2100", "2025"):
        time = f"{year}-01-01T00:00:00+00:00"
        monkeypatch.setattr(ledger_session, "now", lambda time=time: time)
        with Ledger.resume(path, **disks.BOUND) as book:
            book.reserve("private", 2)
    content = ledger.read(path)
    assert content.counted("private") == 6
    assert all("time" not in e.body for e in content.entries if e.kind == "intent")
    caught.without_effect("times decide nothing")


@fault("L11")
@pytest.mark.slow
def test_the_step_after_the_last_is_refused(caught, small_plan, digits, folder):
    phase = small_plan.private_phases[0]
    with enforce.resume(small_plan, digits, folder) as guard:
        guard.spend(phase, phase.steps - 2)
        error = caught.refusal(BudgetExceededError, lambda: guard.spend(phase))
    assert error.exit_code == 3


@fault("L12")
def test_a_lowered_grant_stops_the_next_run(caught, tmp_path):
    """A run that has paid goes on: its cost was reserved whole, and is spent."""
    path, made = registers.begun(tmp_path), registers.plan(steps=4)
    key = registers.signer(tmp_path)
    with Register.open(path) as book:
        book.reserve(made, registers.DATA)
        book.grant(registers.request(epsilon=0.5, amend=True), key)
        caught.refusal(
            BudgetExceededError,
            lambda: book.reserve(registers.variant(made, 2), registers.DATA),
        )


@fault("L13")
@pytest.mark.slow
def test_eight_reservations_at_once_never_pass_the_grant(caught, tmp_path):
    """Exactly three fit; the other five end with exit code 3."""
    path = registers.begun(tmp_path, epsilon=3.2)
    crowd.test_eight_processes_at_once_never_pass_what_was_granted(path)
    caught._note("refused, BudgetExceededError")


@fault("L14")
@pytest.mark.slow
def test_a_step_that_runs_out_of_memory_stays_counted_and_says_nothing(
    caught, small_plan, digits, tmp_path, monkeypatch
):
    run.preflight(small_plan, RunOptions())  # its steps are right; the run's are not

    def fail(*_, **__):
        raise MemoryError("could not allocate rows for 173 records")

    monkeypatch.setattr(trainer, "accumulate", fail)
    error = caught.refusal(
        StepFailedError, lambda: run.train(small_plan, digits, tmp_path / "run")
    )
    assert "173" not in str(error)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "accumulate", stop)
    with pytest.raises(KeyboardInterrupt):
        run.train(small_plan, digits, tmp_path / "run", resume=True)
    assert ledger.read(tmp_path / "run" / "ledger.sqlite").counted(PRIVATE) == 2


@fault("L15")
@pytest.mark.slow
def test_changed_code_is_refused_at_resume(
    caught, small_plan, digits, folder, monkeypatch
):
    monkeypatch.setattr(enforce, "source_digest", lambda: canonical.digest("other"))
    caught.refusal(
        PolicyError, lambda: run.train(small_plan, digits, folder, resume=True), "code"
    )


@fault("L16")
def test_a_network_disk_is_refused(caught, tmp_path, monkeypatch):
    """Locks and shared memory do not hold between two machines."""
    table = tmp_path / "mounts"
    table.write_text(f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(ledger_mounts, "_MOUNTS", table)
    caught.refusal(PolicyError, lambda: begin(tmp_path / "run.sqlite"), "nfs4")


@fault("L17")
@pytest.mark.slow
def test_spending_after_sampling_is_caught(
    caught, small_plan, digits, tmp_path, monkeypatch
):
    """A crash between the two would leave a step that nobody wrote down."""
    run.preflight(small_plan, RunOptions())  # samples too, and spends nothing
    seen, draw, right = [], trainer.poisson_batch, phases_room.private_step

    def watched(*given, **named):
        seen.append(ledger.read(place[-1] / "ledger.sqlite").counted(PRIVATE))
        return draw(*given, **named)

    place = []

    def every_step_was_written_first():
        seen.clear()
        place.append(tmp_path / f"run-{len(place)}")
        run.train(small_plan, digits, place[-1], watcher=StopAfter(2))
        assert seen == [1, 2]

    def late(learner, images, *, spend, **named):
        right(learner, images, spend=lambda: None, **named)
        spend()

    monkeypatch.setattr(trainer, "poisson_batch", watched)
    caught.check(
        every_step_was_written_first,
        lambda: monkeypatch.setattr(phases_room, "private_step", late),
        "steps are written first",
    )
