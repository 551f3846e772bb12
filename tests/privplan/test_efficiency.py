"""Efficiency and feasibility: against a published planning table, and their limits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, calibration, risk
from privplan.budget import PrivacyBudget
from privplan.efficiency import efficiency, feasibility, mu_left, step_noise
from privplan.errors import InfeasibleBudgetError, ParameterError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    LaplaceEvent,
    NoOpEvent,
    SelfComposedEvent,
)
from privplan.rough_noise import Training

RECORDS = 1347
NOTHING = NoOpEvent()
# (rate, steps, noise at epsilon 10, efficiency, noise at epsilon 1, efficiency)
TABLE = [
    (0.05, 200, 0.640, 0.47, 2.22, 0.91),
    (0.05, 800, 0.881, 0.69, 4.14, 0.98),
    (0.1, 400, 1.092, 0.79, 5.81, 0.98),
    (0.2, 200, 1.397, 0.87, 8.20, 0.98),
    (0.2, 800, 2.532, 0.96, 16.2, 0.995),
    (0.4, 100, 1.846, 0.93, 11.5, 0.99),
    (0.4, 200, 2.523, 0.96, 16.2, 0.995),
]


def budget(epsilon, delta=RECORDS**-1.1):
    return PrivacyBudget(target_epsilon=epsilon, target_delta=delta)


def noise(allowed, rate, steps, fixed=NOTHING):
    training = Training(sample_rate=rate, steps=steps)
    return calibration.noise_multiplier(training.beside(fixed), budget=allowed)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"q={row[0]} T={row[1]}")
@pytest.mark.parametrize("epsilon", [10.0, 1.0])
def test_the_published_planning_table_is_reproduced(row, epsilon):
    """The table was made with another accountant; 1 % covers its grid and rounding."""
    rate, steps, *figures = row
    published, reached = figures[:2] if epsilon == 10.0 else figures[2:]
    allowed = budget(epsilon)
    found = noise(allowed, rate, steps)
    eta = efficiency(
        sample_rate=rate,
        steps=steps,
        noise_multiplier=found,
        mu=mu_left(allowed, NOTHING).whole,
    )
    assert found == pytest.approx(published, rel=0.01)
    # The table gives whole percents.
    assert eta == pytest.approx(reached, abs=0.0101)


def test_a_query_takes_its_share_and_leaves_the_rest_to_training():
    """Published: noise 1.158 without, 1.193 with a query of 1.5; 8 % of mu^2."""
    allowed, query = budget(10.0), GaussianEvent(noise_multiplier=1.5)
    found = mu_left(allowed, query)
    assert noise(allowed, 0.2, 120) == pytest.approx(1.158, rel=0.005)
    assert noise(allowed, 0.2, 120, query) == pytest.approx(1.193, rel=0.005)
    assert found.left**2 == pytest.approx(found.whole**2 - 1 / 1.5**2, rel=1e-6)
    assert found.fixed_share == pytest.approx(0.08, abs=0.005)


def test_the_whole_data_set_in_every_step_reaches_everything():
    allowed = budget(3.0)
    eta = efficiency(
        sample_rate=1.0,
        steps=50,
        noise_multiplier=noise(allowed, 1.0, 50),
        mu=mu_left(allowed, NOTHING).whole,
    )
    # The calibrated noise is rounded up in its sixth digit.
    assert eta == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    epsilon=st.sampled_from([0.05, 0.5, 2.0, 10.0]),
    rate=st.floats(0.02, 1.0),
    steps=st.integers(20, 2000),
)
def test_no_plan_beats_the_floor(epsilon, rate, steps):
    """A plan that did would give its target away: eta is a ratio of two true costs."""
    allowed = budget(epsilon)
    mu = mu_left(allowed, NOTHING).whole
    raw = rate * math.sqrt(steps) / (noise(allowed, rate, steps) * mu)
    assert 0 < raw <= 1 + 1e-6


def test_at_equal_epochs_large_batches_reach_more():
    allowed = budget(10.0)
    mu = mu_left(allowed, NOTHING).whole
    reached = [
        efficiency(
            sample_rate=rate,
            steps=round(40 / rate),
            noise_multiplier=noise(allowed, rate, round(40 / rate)),
            mu=mu,
        )
        for rate in (0.05, 0.1, 0.2, 0.4, 1.0)
    ]
    assert reached == sorted(reached)


def test_an_event_that_is_no_gaussian_takes_what_its_epsilon_takes():
    allowed = budget(2.0)
    fixed = LaplaceEvent(noise_multiplier=2.0)
    cost = accounting.epsilon(fixed, delta=allowed.target_delta).upper
    found = mu_left(allowed, fixed)
    taken = risk.gdp_mu(cost, allowed.target_delta)
    assert found.left**2 + taken**2 == pytest.approx(found.whole**2, rel=1e-12)


def test_queries_that_exceed_the_budget_alone_are_refused_with_the_numbers():
    query = SelfComposedEvent(event=GaussianEvent(noise_multiplier=2.0), count=9)
    with pytest.raises(InfeasibleBudgetError, match="whole budget is epsilon 1") as e:
        mu_left(budget(1.0), ComposedEvent(events=(query,)))
    assert e.value.needed > e.value.target == 1.0


def test_feasibility_matches_the_published_examples():
    """58,600 parameters: digits 13 at epsilon 10 and 1.9 at 1; n = 60,000: 485, 64."""

    def index(records, epsilon, delta):
        mu = risk.gdp_mu(epsilon, delta)
        return feasibility(records=records, mu=mu, trained_parameters=58_600)

    delta = RECORDS**-1.1
    assert index(RECORDS, 10.0, delta) == pytest.approx(13, abs=0.5)
    assert index(RECORDS, 1.0, delta) == pytest.approx(1.9, abs=0.06)
    assert index(60_000, 10.0, 60_000**-1.1) == pytest.approx(485, rel=0.01)
    assert index(60_000, 1.0, 60_000**-1.1) == pytest.approx(64, rel=0.01)


def test_signal_over_noise_adds_up_over_the_steps_to_feasibility():
    """Two routes: noise per step, and mu times eta."""
    allowed = budget(3.0)
    mu = mu_left(allowed, NOTHING).whole
    z = noise(allowed, 0.1, 150)
    one = step_noise(
        records=RECORDS,
        sample_rate=0.1,
        steps=150,
        noise_multiplier=z,
        trained_parameters=9000,
    )
    eta = efficiency(sample_rate=0.1, steps=150, noise_multiplier=z, mu=mu)
    whole = feasibility(records=RECORDS, mu=mu, trained_parameters=9000, efficiency=eta)
    assert one.signal_to_noise * math.sqrt(150) == pytest.approx(whole, rel=1e-9)
    assert one.noise_std == pytest.approx(z / one.expected_batch_size)
    assert one.participations == pytest.approx(15)


@pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0, math.inf])
def test_numbers_outside_their_range_are_refused(bad):
    with pytest.raises(ParameterError):
        efficiency(sample_rate=0.1, steps=5, noise_multiplier=bad, mu=1.0)
    with pytest.raises(ParameterError):
        feasibility(records=5, mu=bad, trained_parameters=5)
