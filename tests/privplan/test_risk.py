"""Risk: the bound on attacks against attacks that are known exactly."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from privplan import accounting, risk
from privplan.errors import ParameterError
from privplan.events import (
    GaussianEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)


@settings(max_examples=20, deadline=None)
@given(noise=st.floats(0.3, 30.0), rate=st.floats(1e-6, 0.999))
def test_the_best_attack_on_a_gaussian_is_met_and_not_exceeded(noise, rate):
    """Neyman and Pearson give the true positive rate of the best attack exactly."""
    best = norm.cdf(norm.ppf(rate) + 1 / noise)
    query = GaussianEvent(noise_multiplier=noise)
    bound = risk.true_positive_rate(query, false_positive_rate=rate)
    assert bound >= best * (1 - 1e-12)
    # The search for the best epsilon stops at 1e-6 of the rate.
    assert bound <= best + 1e-6


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.6, 0.95])
def test_one_sampled_step_is_attacked_no_better_than_the_bound(rate):
    """The likelihood ratio of one step is monotone, so the best attacks are known."""
    q, noise = 0.2, 0.8
    step = PoissonSampledGaussianEvent(sample_rate=q, noise_multiplier=noise)
    threshold = norm.isf(rate)
    removed = (1 - q) * rate + q * norm.sf(threshold - 1 / noise)

    def mixed(y):
        return (1 - q) * norm.cdf(y) + q * norm.cdf(y - 1 / noise) - rate

    added = norm.cdf(brentq(mixed, -10.0, 10.0, xtol=1e-14))
    bound = risk.true_positive_rate(step, false_positive_rate=rate)
    assert bound >= max(removed, added) * (1 - 1e-12)
    # Between its two ends the bound is the common tangent of both directions.
    if rate in {1e-3, 0.95}:
        assert bound <= max(removed, added) + 1e-6


def test_a_sub_sampled_run_is_never_said_to_be_safer_than_guessing():
    """A library reports 6.1e-5 at a false positive rate of 1e-3: below guessing."""
    step = PoissonSampledGaussianEvent(sample_rate=1e-3, noise_multiplier=0.826)
    run = SelfComposedEvent(event=step, count=10**5)
    bound = risk.true_positive_rate(run, false_positive_rate=1e-3)
    # The certified figure of an independent prototype, to its four digits.
    assert bound == pytest.approx(6.099e-3, rel=1e-3)


def test_the_advantage_is_the_total_variation_distance():
    """2 Phi(mu / 2) - 1 for a Gaussian."""
    found = risk.advantage(GaussianEvent(noise_multiplier=0.8))
    truth = 2 * norm.cdf(1 / 1.6) - 1
    assert truth <= found <= truth * (1 + 1e-10)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
def test_mu_epsilon_and_delta_are_each_others_inverse(epsilon, delta):
    """Three functions of one curve."""
    mu = risk.gdp_mu(epsilon, delta)
    assert risk.gdp_delta(mu, epsilon) == pytest.approx(delta, rel=1e-9)
    assert risk.gdp_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9)
    query = GaussianEvent(noise_multiplier=1 / mu)
    assert accounting.epsilon(query, delta=delta).upper == pytest.approx(
        epsilon, rel=1e-9
    )


def test_nothing_read_leaves_guessing_and_reading_all_leaves_nothing():
    """The two ends of the scale."""
    nothing = risk.true_positive_rate(NoOpEvent(), false_positive_rate=0.2)
    assert nothing == pytest.approx(0.2)
    everything = risk.true_positive_rate(NonPrivateEvent(), false_positive_rate=0.2)
    assert everything == 1.0


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(bad):
    with pytest.raises(ParameterError):
        risk.true_positive_rate(NoOpEvent(), false_positive_rate=bad)
    with pytest.raises(ParameterError):
        risk.gdp_mu(1.0, bad)
    with pytest.raises(ParameterError):
        risk.gdp_delta(-abs(bad), 1.0)
