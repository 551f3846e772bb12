"""C follows the gradients, and gradient and count together cost one plain step."""

import math
from dataclasses import replace

import pytest
import torch

from diffusion import checkpoint
from diffusion import trainer as trainer_room
from diffusion.adaptive_clipping import AdaptiveClipping
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.denoisers import loss_of
from diffusion.parts import SHARED, new_learned, start_phase
from diffusion.randomness import RandomSource
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan.errors import ParameterError
from privplan.stages import Source

RULE = AdaptiveClipping(initial=1.0, count_noise=4.0)


@pytest.mark.parametrize("z", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("count_noise", [2.5, 10.0])
def test_gradient_and_count_together_are_one_gaussian_with_the_planned_noise(
    z, count_noise
):
    """The pair, each scaled by its noise, moves by 1/z: the sensitivity of one query.

    1e-12: a handful of float64 roundings.
    """
    rule = AdaptiveClipping(initial=3.0, count_noise=count_noise)
    gradient = 1 / rule.gradient_noise_multiplier(z)
    count = 0.5 / count_noise
    assert math.hypot(gradient, count) == pytest.approx(1 / z, rel=1e-12)


@pytest.mark.parametrize(("z", "count_noise"), [(2.0, 1.0), (2.0, 0.1), (1.0, 1e-200)])
def test_a_count_that_costs_the_whole_step_is_refused(z, count_noise):
    """A negative rest would turn into a complex or NaN noise, or none at all."""
    rule = AdaptiveClipping(initial=1.0, count_noise=count_noise)
    with pytest.raises(ParameterError, match="votes with noise"):
        rule.gradient_noise_multiplier(z)


@pytest.mark.parametrize(("field", "value"), [("quantile", 1.0), ("initial", math.nan)])
def test_a_rule_that_makes_no_sense_is_refused(field, value):
    with pytest.raises(ParameterError, match=field):
        replace(RULE, **{field: value})


def test_the_bound_settles_at_the_quantile_it_was_given():
    """On exact answers: a sign the wrong way would send C to one of its ends.

    2 %: near the end a step of C is 0.2 of the error in the fraction.
    """
    norms = torch.linspace(1.0, 9.0, 1001, dtype=torch.float64)
    for quantile in (0.2, 0.5, 0.9):
        rule, bound = replace(RULE, quantile=quantile), 1.0
        for _ in range(400):
            balance = float(((norms <= bound).double() - 0.5).sum())
            bound = rule.following(
                bound, noisy_balance=balance, expected_batch_size=1001.0
            )
        assert bound == pytest.approx(1 + 8 * quantile, rel=0.02)


def test_no_noise_can_carry_the_bound_to_zero_or_infinity():
    bound = 1.0
    for answer in (1e300, -1e300):
        for _ in range(2000):
            bound = RULE.following(bound, noisy_balance=answer, expected_batch_size=1.0)
        assert 0 < bound < math.inf


@pytest.fixture
def learned(small_plan):
    made = new_learned(small_plan, RunOptions())
    start_phase(made, small_plan, small_plan.private_phases[0])
    return made


def test_a_step_noises_gradient_and_count_and_moves_the_bound(
    small_plan, digits, learned, monkeypatch
):
    """The count must not leave without noise, nor with the gradient's."""
    asked = []
    honest = trainer_room.noisy_sum

    def watched(total, **rest):
        asked.append((len(total), rest["noise_multiplier"], rest["max_grad_norm"]))
        return honest(total, **rest)

    monkeypatch.setattr(trainer_room, "noisy_sum", watched)
    learner = learned.parts[SHARED]
    phase = small_plan.private_phases[0]
    rule = AdaptiveClipping(initial=0.3, count_noise=50.0)
    mechanism = replace(mechanism_of(phase), adaptive=rule)
    z = mechanism.noise_multiplier
    private_step(
        learner,
        digits,
        mechanism=mechanism,
        loss=loss_of(small_plan, small_plan.intervals(Source.PRIVATE)),
        performance=performance_of(learner, RunOptions()),
        random=RandomSource(),
        spend=lambda: None,
    )
    tensors = len(list(learner.network.parameters()))
    assert asked == [
        (tensors, rule.gradient_noise_multiplier(z), 0.3),
        (1, 100.0, 0.5),
    ]
    assert learner.max_grad_norm not in (None, 0.3)


def test_the_bound_is_in_the_checkpoint(small_plan, learned, tmp_path):
    """A resumed run that began at the first C again would waste what was paid."""
    (tmp_path / "checkpoint").mkdir()
    learned.parts[SHARED].max_grad_norm = 0.123456789
    place = checkpoint.Place(
        plan_digest="d", phase="private", phase_steps=0, head=_head()
    )
    checkpoint.save_state(tmp_path, learned, place)
    again = new_learned(small_plan, RunOptions())
    checkpoint.load_state(tmp_path, again, plan_digest="d")
    assert again.parts[SHARED].max_grad_norm == 0.123456789


def _head():
    return checkpoint.LedgerHead(sequence=1, hash="0" * 64)
