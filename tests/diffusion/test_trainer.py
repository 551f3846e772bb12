import gc
from dataclasses import replace

import pytest
import torch

from diffusion import trainer as trainer_room
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.denoisers import loss_of
from diffusion.engines.tape import Tape
from diffusion.parts import SHARED, new_learned
from diffusion.pools import SyntheticPool
from diffusion.randomness import RandomSource
from diffusion.trainer import private_step, public_step
from diffusion.watching import RunOptions
from privplan.errors import BudgetExceededError
from privplan.stages import Source


@pytest.fixture
def parts(small_plan):
    """A learner at the start of the private phase, and what a step needs."""
    options = RunOptions()
    learner = new_learned(small_plan, options).parts[SHARED]
    phase = small_plan.private_phases[0]
    learner.learning_rate = phase.learning_rate
    return learner, {
        "mechanism": mechanism_of(phase),
        "loss": loss_of(small_plan, small_plan.intervals(Source.PRIVATE)),
        "performance": performance_of(learner, options),
        "random": RandomSource(),
    }


def weights(learner):
    return torch.cat([p.detach().flatten() for p in learner.network.parameters()])


def test_a_step_that_may_not_spend_touches_nothing(parts, digits, monkeypatch):
    """If the ledger refuses, no record is drawn and no weight moves."""
    learner, rest = parts
    before = weights(learner)
    monkeypatch.setattr(trainer_room, "poisson_batch", None)

    def refuse():
        raise BudgetExceededError("no", stage="x", needed=1, target=0, hint="stop")

    with pytest.raises(BudgetExceededError):
        private_step(learner, digits, spend=refuse, **rest)
    assert torch.equal(weights(learner), before)


def test_spending_comes_before_sampling(parts, digits, monkeypatch):
    learner, rest = parts
    order = []
    draw = trainer_room.poisson_batch
    monkeypatch.setattr(
        trainer_room,
        "poisson_batch",
        lambda *a, **k: (order.append("sample"), draw(*a, **k))[1],
    )
    private_step(learner, digits, spend=lambda: order.append("spend"), **rest)
    assert order == ["spend", "sample"]


def test_the_gradient_is_the_noisy_sum_over_a_constant(parts, digits, monkeypatch):
    """Dividing by the true batch size would release it."""
    learner, rest = parts
    seen = {}
    monkeypatch.setattr(
        trainer_room,
        "noisy_sum",
        lambda total, **_: [torch.full_like(t, 7.0) for t in total],
    )
    learner.optimiser.step = lambda: seen.update(
        grads=[float(p.grad.mean()) for p in learner.network.parameters()]
    )
    private_step(learner, digits, spend=lambda: None, **rest)
    expected = 7.0 / rest["mechanism"].expected_batch_size
    assert seen["grads"] == pytest.approx([expected] * len(seen["grads"]), rel=1e-5)


@pytest.mark.parametrize("size", [1, 7])
def test_a_step_does_not_depend_on_the_physical_batch(small_plan, digits, size):
    """Draws that followed the split would make a performance option a parameter.

    1e-4 of the largest update: sums of some hundred float32 gradients round
    differently; other draws would move it by a tenth and more.
    """
    updates = []
    for records in (size, None):
        options = RunOptions(physical_batch_size=records)
        learner = new_learned(small_plan, options).parts[SHARED]
        phase = small_plan.private_phases[0]
        learner.optimiser.step = lambda: None
        learner.optimiser.zero_grad = lambda **_: None
        mechanism = replace(
            mechanism_of(phase), noise_multiplier=1e-3, sample_rate=0.015
        )
        private_step(
            learner,
            digits,
            mechanism=mechanism,
            loss=loss_of(small_plan, small_plan.intervals(Source.PRIVATE)),
            performance=performance_of(learner, options),
            random=RandomSource(unsafe_seed=11),
            spend=lambda: None,
        )
        updates.append(
            torch.cat([p.grad.flatten() for p in learner.network.parameters()])
        )
    one, other = updates
    assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def test_a_step_returns_and_keeps_nothing_of_the_records(parts, digits):
    learner, rest = parts
    assert private_step(learner, digits, spend=lambda: None, **rest) is None
    assert all(p.grad is None for p in learner.network.parameters())


def test_a_step_leaves_no_per_record_gradient_behind(parts, digits):
    """They are private, and a run would eat all memory: 180 MB a step, once."""
    learner, rest = parts
    for _ in range(2):
        private_step(learner, digits, spend=lambda: None, **rest)
    gc.collect()
    assert not [x for x in gc.get_objects() if type(x) is Tape]


def test_the_learning_rate_warms_up(parts):
    learner, _ = parts
    rates = []
    for _ in range(12):
        learner.optimiser.step = lambda: None
        learner.update()
        rates.append(learner.optimiser.param_groups[0]["lr"])
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(learner.learning_rate / 10)
    assert rates[-1] == learner.learning_rate


def test_synthetic_steps_learn_without_a_record(small_plan):
    """The loss on the synthetic pool falls; no data set is in sight."""
    learner = new_learned(small_plan, RunOptions()).parts[SHARED]
    training = small_plan.training
    loss = loss_of(small_plan, ((training.sigma_min, training.sigma_max),))
    phase = small_plan.phases[0].model_copy(update={"steps": 40, "batch_size": 64})
    pool = SyntheticPool(small_plan.data, phase)
    losses = []
    for step in range(40):
        pictures, labels = pool.batch(step)
        rows = trainer_room.draw_rows(
            pictures,
            labels,
            noise_multiplicity=1,
            law=loss.law,
            label_dropout=0.0,
            null_label=loss.null_label,
            generator=torch.Generator().manual_seed(step),
        )
        with torch.no_grad():
            losses.append(float(loss.row_loss(learner.network, rows).mean()))
        public_step(
            learner,
            pictures,
            labels,
            loss=loss,
            random=RandomSource(),
            device=torch.device("cpu"),
        )
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_pool_of_a_plan_is_the_same_every_time(small_plan):
    data, phase = small_plan.data, small_plan.phases[0]
    first, again = (SyntheticPool(data, phase) for _ in range(2))
    for one, other in zip(first.batch(1), again.batch(1), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first.batch(1)[0], first.batch(2)[0])
