"""Blocks of private steps as a run uses them: chosen without records, never wasted."""

import time

import pytest
import torch

from diffusion import blueprint, checkpoint, denoisers, pacing, parts, phases, run
from diffusion.watching import RunOptions, Silent
from privplan import ledger
from privplan.ledger_blocks import block_size

PRIVATE = "private"


class StopAfter(Silent):
    """Stops after some steps of the private phase, and notes what it is told."""

    def __init__(self, steps):
        self.left = steps
        self.told = []

    def advance(self, phase, *, done):
        if phase.name == PRIVATE:
            self.left -= 1
            self.told.append(done)

    def should_stop(self):
        return self.left <= 0


def test_a_run_that_is_stopped_carries_out_its_block_first(
    small_plan, digits, tmp_path, monkeypatch
):
    """A rest given back rests on nobody else holding it; a rest dropped is wasted."""
    monkeypatch.setattr(pacing, "block", lambda *_, **__: 4)
    folder, watcher = tmp_path / "run", StopAfter(2)
    assert not run.train(small_plan, digits, folder, watcher=watcher).finished
    content = ledger.read(folder / "ledger.sqlite")
    assert (content.counted(PRIVATE), content.unsettled) == (4, 0)
    assert watcher.told == [1, 2, 3, 4]
    assert run.train(small_plan, digits, folder, resume=True).finished
    content = ledger.read(folder / "ledger.sqlite")
    assert content.counted(PRIVATE) == small_plan.private_phases[0].steps
    assert content.unsettled == 0


def test_a_block_that_a_failing_step_cut_short_stays_spent(
    small_plan, digits, tmp_path, monkeypatch
):
    """Whether the rest was begun is known to nobody who reads the ledger."""
    monkeypatch.setattr(pacing, "block", lambda *_, **__: 4)
    real, calls = phases.private_step, []

    def failing(*arguments, **named):
        calls.append(1)
        real(*arguments, **named)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(phases, "private_step", failing)
    with pytest.raises(KeyboardInterrupt):
        run.train(small_plan, digits, tmp_path / "run")
    content = ledger.read(tmp_path / "run" / "ledger.sqlite")
    assert content.counted(PRIVATE) == 4
    assert content.settled[PRIVATE] == 1


@pytest.fixture
def timing(small_plan):
    """What `pacing.block` needs, for the private phase of a plan."""
    phase = small_plan.private_phases[0]
    learned = parts.new_learned(small_plan, RunOptions())
    parts.start_phase(learned, small_plan, phase)
    learner = learned.learner
    return learner, {
        "mechanism": blueprint.mechanism_of(phase, None),
        "loss": denoisers.loss_of(
            small_plan, parts.trained_at(small_plan, phase), None
        ),
        "performance": blueprint.performance_of(learner, RunOptions()),
    }


def test_timing_a_step_changes_no_weight_and_leaves_no_file(
    small_plan, timing, tmp_path
):
    """A rehearsal that learned would be a step that no plan holds."""
    learner, settings = timing
    before = {n: w.clone() for n, w in learner.network.state_dict().items()}
    size = pacing.block(tmp_path, 100_000, learner, small_plan.data, **settings)
    assert 1 <= size <= 1000
    assert list(tmp_path.iterdir()) == []
    assert learner.steps_done == 0
    for name, weight in learner.network.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_short_phase_is_not_timed_at_all(small_plan, timing, tmp_path, monkeypatch):
    learner, settings = timing
    monkeypatch.setattr(pacing, "commit_seconds", None)
    monkeypatch.setattr(pacing, "accumulate", None)
    assert pacing.block(tmp_path, 199, learner, small_plan.data, **settings) == 1


@pytest.mark.parametrize(("disk", "expected"), [(0.0, 1), (0.02, 8), (50.0, 100)])
def test_a_slow_disk_makes_larger_blocks_up_to_the_bound(
    small_plan, timing, tmp_path, monkeypatch, disk, expected
):
    """A step of half a second: 20 ms need eight steps to be half a percent."""
    learner, settings = timing
    monkeypatch.setattr(pacing, "commit_seconds", lambda _: disk)
    monkeypatch.setattr(pacing, "_rehearse", lambda *_, **__: 0.5)
    found = pacing.block(tmp_path, 10_000, learner, small_plan.data, **settings)
    assert found == expected
    assert found == block_size(steps=10_000, step_seconds=0.5, commit_seconds=disk)


def test_a_rehearsal_is_as_long_as_the_expected_batch_and_sees_no_record(
    small_plan, timing, monkeypatch
):
    """Two physical batches take twice as long as one; the pictures are all grey."""
    learner, settings = timing
    seen = []

    def accumulate(engine, network, row_loss, pieces, **_):
        for rows, records in pieces:
            seen.append((rows[0].abs().sum().item(), records))
            time.sleep(0.05)

    monkeypatch.setattr(pacing, "accumulate", accumulate)
    expected = settings["mechanism"].expected_batch_size
    half = blueprint.performance_of(
        learner,
        RunOptions(physical_batch_size=int(expected / 2) + 1),
    )
    one = pacing._rehearse(learner, small_plan.data, **settings)
    two = pacing._rehearse(
        learner, small_plan.data, **(settings | {"performance": half})
    )
    assert {grey for grey, _ in seen} == {0.0}
    assert 0.1 <= two < 4 * one


def test_the_state_saved_inside_a_block_knows_its_place(
    small_plan, digits, tmp_path, monkeypatch
):
    """The checkpoint says what was learned, the ledger what was spent."""
    monkeypatch.setattr(pacing, "block", lambda *_, **__: 4)
    folder = tmp_path / "run"
    real, seen = checkpoint.save_state, []

    def saved(*arguments):
        real(*arguments)
        content = ledger.read(folder / "ledger.sqlite")
        seen.append((arguments[2].phase_steps, content.counted(PRIVATE)))

    monkeypatch.setattr(checkpoint, "save_state", saved)
    options = RunOptions(checkpoint_seconds=0.0)
    run.train(small_plan, digits, folder, options=options)
    inside = [pair for pair in seen if pair[1] == 4]
    assert [steps for steps, _ in inside] == [1, 2, 3, 4]
