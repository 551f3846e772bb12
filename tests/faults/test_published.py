"""Mistakes of published systems that span steps, sessions or processes.

Those inside one step (every copy clipped alone: M16, M17) are in `test_mechanism.py`.
"""

import shutil

import pytest
import torch

from diffusion import enforce, latents, run, trainer
from diffusion.watching import RunOptions
from privplan import ledger
from privplan.errors import BudgetExceededError, IntegrityError
from tests.diffusion import test_latents
from tests.diffusion import test_noise_scale as scale
from tests.diffusion.several_cases import carried_out
from tests.diffusion.test_run import PRIVATE, StopAfter
from tests.faults import steps
from tests.faults.catching import fault

pytestmark = pytest.mark.usefixtures("flown_once")


def every_sum_is_of_one_batch(step, whole):
    """Cut into physical batches of two or not cut at all, a step is the same step.

    An odd batch, one of them all, none, and a full one follow each other, so that what
    is left over of one would be in the next. 1e-4 of C: sums of float32 in another
    order; a record that is missing or too many is C.
    """
    for images, rate in (
        (steps.records(0, 40, 80, 120, 160), 1.0),
        (steps.records(200), 1.0),
        (steps.records(0, 255), 1e-12),
        (steps.records(10, 250, 90, 30), 1.0),
    ):
        cut, uncut = (one.released(images, rate=rate, seed=5) for one in (step, whole))
        apart = steps.norm([x - y for x, y in zip(cut, uncut, strict=True)])
        assert apart <= 1e-4 * steps.C


@fault("S10")
@pytest.mark.slow
def test_physical_batches_that_drift_into_the_next_step_are_caught(
    caught, small_plan, monkeypatch
):
    """679 of 724 steps of DP-LDM mix two Poisson batches, by a flag one place late.

    A record can then be in a step twice, which nobody paid for.
    """
    step, whole = steps.Step(small_plan), steps.Step(small_plan)
    whole.options = RunOptions(physical_batch_size=100)
    whole.performance = steps.performance_of(whole.learner, whole.options)
    right, left_over = trainer.accumulate, []

    def late(chosen, model, row_loss, pieces, **named):
        if model is not step.learner.network:
            return right(chosen, model, row_loss, pieces, **named)
        now = [*left_over, *pieces]
        left_over[:] = now[-1:]
        return right(chosen, model, row_loss, now[:-1], **named)

    caught.check(
        lambda: every_sum_is_of_one_batch(step, whole),
        lambda: monkeypatch.setattr(trainer, "accumulate", late),
        "every sum is of one batch",
    )


@fault("M20")
@pytest.mark.slow
def test_noise_of_its_own_on_every_process_is_caught(caught, tmp_path):
    """N times the planned variance, or an Nth of it where each adds its share."""
    scale.written(tmp_path)
    cases = {"right": {"count": 3}} | {
        name: {"count": 3, "fault": name} for name in scale.FAULTS
    }
    found, _ = carried_out(
        {name: case | {"steps": 8} for name, case in cases.items()}, tmp_path
    )
    for wrong in scale.FAULTS:
        looked_at = ["right"]
        caught.check(
            lambda at=looked_at: scale.holds(at[0], found[at[0]]),
            lambda at=looked_at, wrong=wrong: at.__setitem__(0, wrong),
            "chi-square of the noise",
        )


def a_latent_knows_no_other_record(space):
    """Whatever the other records are, the latent of one is the same number."""
    beside = [steps.records(3, other, 200) for other in (10, 240)]
    first, second = (latents.encode_private(images, space) for images in beside)
    assert torch.equal(first.images[0], second.images[0])
    assert torch.equal(first.images[2], second.images[2])


@fault("M21")
@pytest.mark.slow
def test_a_latent_scale_measured_on_records_is_caught(caught, tmp_path, monkeypatch):
    """DP-LDM's latents are divided by the spread of the first private batch.

    Every record then sits in the latents of all others, and nobody paid for it.
    """
    space = latents.load(test_latents.trained(tmp_path / "kl", steps=1))
    right = latents._of_set

    def scaled(images, space):
        found = right(images, space)
        return found / found.std()

    caught.check(
        lambda: a_latent_knows_no_other_record(space),
        lambda: monkeypatch.setattr(latents, "_of_set", scaled),
        "a latent knows no other record",
    )


@fault("L18")
@pytest.mark.slow
def test_steps_of_earlier_sessions_are_counted_after_a_resume(
    caught, small_plan, digits, tmp_path, monkeypatch
):
    """DPDM, DPImageBench and DP-LDM go on with the weights and count from zero.

    In a folder without the ledger, the checkpoint is refused. Under code that forgets
    what was counted, the ledger itself gives out no step beyond the plan.
    """
    paused, without = tmp_path / "paused", tmp_path / "without"
    run.train(small_plan, digits, paused, watcher=StopAfter(2))
    shutil.copytree(paused, without)
    (without / "ledger.sqlite").unlink()
    caught.refusal(IntegrityError, lambda: run.train(small_plan, digits, without))

    fresh, batches = [0], []
    monkeypatch.setattr(
        enforce.Guard, "remaining", lambda _, phase: phase.steps - fresh[0]
    )
    draw = trainer.poisson_batch

    def counted(*given, **named):
        fresh[0] += 1
        batches.append(draw(*given, **named))
        return batches[-1]

    monkeypatch.setattr(trainer, "poisson_batch", counted)
    caught.refusal(
        BudgetExceededError,
        lambda: run.train(small_plan, digits, paused, resume=True),
    )
    (phase,) = small_plan.private_phases
    assert 2 + len(batches) == phase.steps
    assert ledger.read(paused / "ledger.sqlite").counted(PRIVATE) == phase.steps
