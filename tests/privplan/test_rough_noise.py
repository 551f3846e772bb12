"""The quick estimate of the noise, against calibration."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import calibration
from privplan.budget import PrivacyBudget
from privplan.efficiency import mu_left
from privplan.events import GaussianEvent, NoOpEvent
from privplan.rough_noise import Training, rough_noise_multiplier


def both(epsilon, delta, rate, steps, fixed):
    budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
    training = Training(sample_rate=rate, steps=steps)
    rough = rough_noise_multiplier(
        training, fixed=fixed, mu=mu_left(budget, fixed).left, budget=budget
    )
    exact = calibration.noise_multiplier(training.beside(fixed), budget=budget)
    return rough, exact


@settings(max_examples=25, deadline=None)
@given(
    epsilon=st.sampled_from([0.05, 0.5, 3.0, 10.0]),
    delta=st.sampled_from([1e-3, 1e-6]),
    rate=st.floats(0.01, 1.0),
    participations=st.floats(10.0, 200.0),
    query=st.sampled_from([None, 2.0]),
)
def test_the_estimate_is_good_to_a_fraction_of_a_percent(
    epsilon, delta, rate, participations, query
):
    """A search that ranks plans by wrong noise chooses a worse plan, silently."""
    fixed = NoOpEvent()
    if query is not None:
        # a query that takes about a twentieth of the budget, whatever the budget is
        budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
        mu = mu_left(budget, fixed).whole
        fixed = GaussianEvent(noise_multiplier=query * 2 / mu)
    steps = round(participations / rate) + 1
    rough, exact = both(epsilon, delta, rate, steps, fixed)
    # The search stops at 2 % of log delta, which is 0.2 % of the noise at most.
    assert rough == pytest.approx(exact, rel=3e-3)


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(10.0, 5e-4, 300)])
def test_where_the_fast_accountant_declines_the_estimate_is_a_tenth_off_at_most(
    epsilon, rate, steps
):
    """The Gaussian that resembles such a run has a third less noise: far too good."""
    rough, exact = both(epsilon, 5e-6, rate, steps, NoOpEvent())
    assert exact * 0.99 <= rough <= 1.1 * exact
