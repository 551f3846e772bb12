import dataclasses
import json
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from diffusion import checkpoint, enforce, run
from diffusion import trainer as trainer_room
from diffusion.data import PrivateImages, load_private
from diffusion.watching import RunOptions, Silent
from privplan import ledger
from privplan import plan as plans
from privplan.errors import (
    BudgetExceededError,
    DataError,
    IntegrityError,
    LedgerError,
    PolicyError,
    StepFailedError,
)

pytestmark = pytest.mark.usefixtures("flown_once")

PRIVATE = "private"


def weights(folder):
    with safe_open(folder / checkpoint.MODEL_NAME, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


class StopAfter(Silent):
    """Stops after some steps of the private phase."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, phase, *, done):
        self.left -= phase.name == PRIVATE

    def should_stop(self):
        return self.left <= 0


def test_a_run_takes_every_step_of_its_plan_and_no_more(small_plan, digits, tmp_path):
    result = run.train(small_plan, digits, tmp_path / "run")
    content = ledger.read(tmp_path / "run" / "ledger.sqlite")
    assert result.finished
    assert content.counted(PRIVATE) == small_plan.private_phases[0].steps
    assert content.unsettled == 0
    assert content.plan_digest == small_plan.digest
    assert plans.read(tmp_path / "run" / "plan.json") == small_plan


def test_the_ledger_is_written_before_a_record_is_touched(
    small_plan, digits, tmp_path, monkeypatch
):
    """The other order would spend privacy that a crash erases."""
    seen = []
    draw = trainer_room.poisson_batch

    def watched(*arguments, **named):
        content = ledger.read(tmp_path / "run" / "ledger.sqlite")
        seen.append(content.counted(PRIVATE))
        return draw(*arguments, **named)

    monkeypatch.setattr(trainer_room, "poisson_batch", watched)
    run.train(small_plan, digits, tmp_path / "run")
    assert seen == list(range(1, small_plan.private_phases[0].steps + 1))


def test_an_interrupted_run_goes_on_and_ends_inside_its_plan(
    small_plan, digits, tmp_path
):
    folder = tmp_path / "run"
    first = run.train(small_plan, digits, folder, watcher=StopAfter(2))
    assert not first.finished
    assert ledger.read(folder / "ledger.sqlite").counted(PRIVATE) == 2
    second = run.train(small_plan, digits, folder, resume=True)
    content = ledger.read(folder / "ledger.sqlite")
    assert second.finished
    assert content.counted(PRIVATE) == small_plan.private_phases[0].steps
    assert content.sessions == 2


def test_a_resumed_run_learns_on_from_where_it_was(small_plan, digits, tmp_path):
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(2))
    with safe_open(folder / checkpoint.STATE_NAME, framework="pt") as file:
        assert file.metadata()["learner_steps"] == "2"
    run.train(small_plan, digits, folder, resume=True)
    with safe_open(folder / checkpoint.STATE_NAME, framework="pt") as file:
        assert file.metadata()["phase"] == run.DONE


def test_an_old_checkpoint_put_back_gives_no_steps_back(small_plan, digits, tmp_path):
    """Rolling back and training on would release more steps than were planned."""
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(2))
    old = (folder / checkpoint.STATE_NAME).read_bytes()
    run.train(small_plan, digits, folder, resume=True)
    (folder / checkpoint.STATE_NAME).write_bytes(old)
    run.train(small_plan, digits, folder, resume=True)
    content = ledger.read(folder / "ledger.sqlite")
    assert content.counted(PRIVATE) == small_plan.private_phases[0].steps


def test_an_old_ledger_put_back_is_noticed(small_plan, digits, tmp_path):
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(2))
    old = (folder / "ledger.sqlite").read_bytes()
    run.train(small_plan, digits, folder, resume=True)
    (folder / "ledger.sqlite").write_bytes(old)
    with pytest.raises(IntegrityError, match="rolled back"):
        run.train(small_plan, digits, folder, resume=True)


def test_a_step_beyond_the_plan_is_refused(small_plan, digits, tmp_path):
    (tmp_path / "run").mkdir()
    phase = small_plan.private_phases[0]
    with enforce.begin(small_plan, digits, tmp_path / "run") as guard:
        guard.spend(phase, phase.steps)
        with pytest.raises(BudgetExceededError) as caught:
            guard.spend(phase)
    assert caught.value.exit_code == 3


def test_a_plan_that_costs_more_than_its_budget_does_not_start(
    small_plan, digits, tmp_path
):
    cheap = small_plan.budget.model_copy(update={"target_epsilon": 0.5})
    forged = plans.seal(small_plan.model_copy(update={"budget": cheap}))
    with pytest.raises(BudgetExceededError, match=r"its budget is epsilon 0\.5"):
        run.train(forged, digits, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plan_that_claims_less_than_it_costs_does_not_start(
    small_plan, digits, tmp_path
):
    low = small_plan.accounting.model_copy(
        update={"epsilon_lower": 0.1, "epsilon_upper": 0.2}
    )
    forged = plans.seal(small_plan.model_copy(update={"accounting": low}))
    with pytest.raises(IntegrityError, match="cost at least"):
        run.train(forged, digits, tmp_path / "run")


def test_other_data_than_declared_is_refused_without_a_word_about_them(
    small_plan, digits, tmp_path
):
    """The true number of records is private; a refusal must not print it."""
    fewer = PrivateImages(digits.images[:1000], digits.labels[:1000], 10)
    with pytest.raises(PolicyError, match="number of records") as caught:
        run.train(small_plan, fewer, tmp_path / "run")
    assert "1000" not in str(caught.value)
    assert "1,000" not in str(caught.value)
    wide = PrivateImages(digits.images.repeat(1, 1, 2, 2), digits.labels, 10)
    with pytest.raises(PolicyError, match="shape the plan declares"):
        run.train(small_plan, wide, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_cannot_go_on_with_other_data(small_plan, digits, tmp_path):
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(1))
    swapped = PrivateImages(digits.images.flip(0), digits.labels.flip(0), 10)
    with pytest.raises(PolicyError, match="data"):
        run.train(small_plan, swapped, folder, resume=True)


def test_a_folder_holds_one_run_of_one_plan(small_plan, digits, tmp_path):
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(1))
    with pytest.raises(PolicyError, match="already holds a run"):
        run.train(small_plan, digits, folder)
    other = plans.seal(small_plan.model_copy(update={"privplan_version": "other"}))
    with pytest.raises(PolicyError, match="another plan"):
        run.train(other, digits, folder, resume=True)
    with pytest.raises(DataError, match="no run to resume"):
        run.train(small_plan, digits, tmp_path / "empty", resume=True)


def test_a_ledger_that_is_a_text_file_stops_the_run_and_stays(
    small_plan, digits, tmp_path
):
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(1))
    (folder / "ledger.sqlite").write_text("nothing was spent\n")
    with pytest.raises(LedgerError):
        run.train(small_plan, digits, folder, resume=True)
    assert (folder / "ledger.sqlite").read_text() == "nothing was spent\n"


def test_a_damaged_checkpoint_stops_the_run(small_plan, digits, tmp_path):
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(1))
    state = folder / checkpoint.STATE_NAME
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(DataError, match="damaged"):
        run.train(small_plan, digits, folder, resume=True)


def test_the_engine_does_not_change_what_a_run_releases(small_plan, digits, tmp_path):
    """The engine is performance, not privacy.

    5e-4: an eighth of what one Adam step can move a weight; the sums are float32, and
    Adam divides a gradient near zero by its own size.
    """
    found = []
    for name in ("folded", "vmap"):
        options = RunOptions(engine=name, physical_batch_size=50, unsafe_seed=5)
        run.train(small_plan, digits, tmp_path / name, options=options)
        found.append(weights(tmp_path / name))
    for name, one in found[0].items():
        torch.testing.assert_close(one, found[1][name], rtol=1e-3, atol=5e-4)


def test_two_runs_of_one_plan_draw_other_noise(small_plan, digits, tmp_path):
    for name in ("a", "b"):
        run.train(small_plan, digits, tmp_path / name)
    a, b = (weights(tmp_path / name) for name in ("a", "b"))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_an_unsafe_seed_is_written_into_the_ledger(small_plan, digits, tmp_path):
    run.train(small_plan, digits, tmp_path / "a", options=RunOptions(unsafe_seed=1))
    run.train(small_plan, digits, tmp_path / "b")
    assert ledger.read(tmp_path / "a" / "ledger.sqlite").unsafe
    assert not ledger.read(tmp_path / "b" / "ledger.sqlite").unsafe


def test_an_empty_batch_is_a_step_like_any_other(small_plan, digits, tmp_path):
    """Skipping it would tell that nobody was drawn, and desynchronise the count."""
    phase = small_plan.private_phases[0]
    rate = 1e-9
    event = dataclasses.replace(phase.mechanism, sample_rate=rate)
    rare = phase.model_copy(
        update={"event": event, "expected_batch_size": rate * digits.shape.records}
    )
    phases = (small_plan.phases[0], rare)
    plan = plans.seal(small_plan.model_copy(update={"phases": phases}))
    run.train(plan, digits, tmp_path / "run")
    assert ledger.read(tmp_path / "run" / "ledger.sqlite").counted(PRIVATE) == 6
    assert all(w.isfinite().all() for w in weights(tmp_path / "run").values())


def test_a_plan_without_private_phases_reads_no_record(digits, tmp_path, monkeypatch):
    from privplan.planner import PlanRequest, Wishes, make_plan

    drawn = "coarse=synthetic,context=synthetic,cleaning=synthetic"
    plan = make_plan(
        PlanRequest(target_epsilon=1.0, stages=drawn, wishes=Wishes(synthetic_steps=2))
    )
    monkeypatch.setattr(trainer_room, "poisson_batch", None)
    assert run.train(plan, digits, tmp_path / "run").finished


def test_a_step_that_fails_tells_nothing_of_its_records_and_stays_counted(
    small_plan, digits, tmp_path, monkeypatch
):
    """Out of memory names a size, and the size of a batch is private."""

    def fail(*_, **__):
        raise MemoryError("could not allocate rows for 173 records")

    monkeypatch.setattr(trainer_room, "accumulate", fail)
    with pytest.raises(StepFailedError) as caught:
        run.train(small_plan, digits, tmp_path / "run")
    told = "".join(traceback.format_exception(caught.value))
    assert "MemoryError" in caught.value.message
    assert "173" not in told
    assert ledger.read(tmp_path / "run" / "ledger.sqlite").counted(PRIVATE) == 1


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from diffusion import run, trainer
from diffusion.data import load_private
from diffusion.watching import RunOptions
from privplan import plan as plans

point, at, seen = {point!r}, {at}, [0]
plan = plans.read(Path({plan!r}))
flown = run.preflight(plan, RunOptions())
run.preflight = lambda plan, options: flown  # not a step of the run
real = getattr(trainer, point)
def dying(*arguments, **named):
    seen[0] += 1
    if seen[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*arguments, **named)
    Path({marks!r}).open("a").write("x")
    return done
setattr(trainer, point, dying)
folder = Path({folder!r})
run.train(plan, load_private("digits"), folder,
          resume=(folder / "ledger.sqlite").exists())
"""


@pytest.mark.parametrize("point", ["poisson_batch", "accumulate", "noisy_sum"])
def test_a_killed_run_counts_every_step_it_began(point, small_plan, tmp_path):
    """SIGKILL at three points of the third step, then resume: recorded >= executed."""
    plans.write(small_plan, tmp_path / "plan.json")
    folder, marks = tmp_path / "run", tmp_path / "marks"
    code = KILLED.format(
        root=str(Path(__file__).parents[2]),
        point=point,
        at=3,
        marks=str(marks),
        folder=str(folder),
        plan=str(tmp_path / "plan.json"),
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    counted = ledger.read(folder / "ledger.sqlite").counted(PRIVATE)
    assert counted == 3 > len(marks.read_text())
    run.train(small_plan, load_private("digits"), folder, resume=True)
    content = ledger.read(folder / "ledger.sqlite")
    assert content.counted(PRIVATE) == small_plan.private_phases[0].steps
    assert content.unsettled == 3  # begun by the session that was killed


def test_nothing_in_a_run_folder_names_a_place_on_this_machine_or_a_loss(
    small_plan, digits, tmp_path
):
    run.train(small_plan, digits, tmp_path / "run")
    places = [str(tmp_path).encode(), str(Path.cwd()).encode()]
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [place for place in places if place in content]
            assert b"loss" not in content
            assert b"grad_norm" not in content.replace(b"max_grad_norm", b"")


def test_the_plan_kept_with_the_run_is_json_a_person_can_read(
    small_plan, digits, tmp_path
):
    run.train(small_plan, digits, tmp_path / "run", watcher=StopAfter(1))
    text = (tmp_path / "run" / "plan.json").read_text()
    assert json.loads(text)["digest"] == small_plan.digest
    assert len(text.splitlines()) > 40
