"""Published plans, planned here: the noise they used, and the noise they needed.

If our calibration drifted, these figures, which others computed with other libraries,
would move.
"""

import math

import pytest

from privplan import calibration
from privplan.budget import PrivacyBudget
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)

# DPDM (Dockhorn et al. 2023): n, batch, epochs, delta, epsilon; the noise multiplier
# that RDP with Opacus' orders gives, and that of loss distributions.
DPDM = [
    (60_000, 15, 4_500, 1e-5, 0.2, 80.6, 73.0),
    (60_000, 15, 4_500, 1e-5, 1.0, 18.1, 16.7),
    (60_000, 15, 4_500, 1e-5, 10.0, 2.49, 2.36),
    (162_000, 80, 24_000, 1e-6, 1.0, 8.82, 8.23),
    (162_000, 80, 24_000, 1e-6, 10.0, 1.303, 1.252),
]
DIGITS = 1_347


def _noise(budget, rate, steps, *others):
    def make(noise):
        step = PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
        run = SelfComposedEvent(event=step, count=steps)
        return ComposedEvent(events=(*others, run))

    return calibration.noise_multiplier(make, budget=budget)


def _digits_budget(epsilon):
    return PrivacyBudget(target_epsilon=epsilon, target_delta=math.pow(DIGITS, -1.1))


@pytest.mark.parametrize(
    ("n", "batches", "steps", "delta", "epsilon", "rdp", "pld"), DPDM
)
def test_dpdms_plans_need_five_to_nine_percent_less_noise_than_rdp_gave_them(
    n, batches, steps, delta, epsilon, rdp, pld
):
    budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
    found = _noise(budget, 1 / batches, steps)
    assert found == pytest.approx(pld, rel=3e-3)  # they are given to three digits
    assert 0.90 < found / rdp < 0.97
    assert delta < 1 / n


@pytest.mark.parametrize(("epsilon", "published"), [(10.0, 1.397), (1.0, 8.20)])
def test_the_digits_plan_of_two_hundred_steps_has_the_noise_found_by_others(
    epsilon, published
):
    found = _noise(_digits_budget(epsilon), 0.2, 200)
    assert found == pytest.approx(published, rel=5e-3)


def test_a_query_in_the_plan_is_paid_for_by_noise_in_the_steps():
    budget = _digits_budget(10.0)
    alone = _noise(budget, 0.2, 120)
    beside = _noise(budget, 0.2, 120, GaussianEvent(noise_multiplier=1.5))
    assert alone == pytest.approx(1.158, rel=5e-3)
    assert beside == pytest.approx(1.193, rel=5e-3)
