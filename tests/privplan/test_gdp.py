"""Mu: two numbers of one name, and what each of them promises."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privplan import accounting, gdp
from privplan.batches import dp_sgd
from privplan.errors import ParameterError
from privplan.events import (
    GaussianEvent,
    NonPrivateEvent,
    NoOpEvent,
    RandomizedResponseEvent,
)

RARE = dp_sgd(sample_rate=1e-4, noise_multiplier=0.455713, steps=10**5)
USUAL = dp_sgd(sample_rate=4096 / 60000, noise_multiplier=2.380248, steps=4394)


def gaussian_delta(mu, epsilon):
    """Corollary 2.13 of Dong, Roth, Su, as printed."""
    return norm.cdf(-epsilon / mu + mu / 2) - np.exp(epsilon) * norm.cdf(
        -epsilon / mu - mu / 2
    )


@settings(max_examples=6, deadline=None)
@given(mu=st.floats(0.3, 4.0))
def test_a_gaussian_is_matched_and_bounded_by_its_own_mu(mu):
    query = GaussianEvent(noise_multiplier=1 / mu)
    matched = gdp.matching_mu(query, delta=1e-6)
    assert matched.lower <= mu * (1 + 1e-11)
    assert matched.upper >= mu * (1 - 1e-11)
    assert matched.upper == pytest.approx(mu, rel=1e-9)
    bounded = gdp.bounding_mu(query, most_epsilon=3 * mu)
    assert bounded.lower <= mu * (1 + 1e-9)
    assert bounded.upper >= mu * (1 - 1e-9)
    # chords of 300 cells at most; where curves are equal all of them bind
    assert bounded.upper == pytest.approx(mu, rel=1e-3)


@pytest.mark.parametrize("event", [RARE, USUAL], ids=["rare", "usual"])
def test_a_bounding_mu_holds_between_its_points_too(event):
    """It is a promise over the whole range, so any epsilon may be asked about."""
    found = gdp.bounding_mu(event, least_epsilon=0.5, most_epsilon=6.0)
    for epsilon in np.random.default_rng(1).uniform(0.5, 6.0, 40).tolist():
        truth = accounting.delta(event, epsilon=epsilon).lower
        assert truth <= gaussian_delta(found.upper, epsilon) * (1 + 1e-9)


def test_no_smaller_mu_holds():
    """Or the bound would be waste."""
    found = gdp.bounding_mu(RARE, most_epsilon=8.0)
    assert found.upper <= found.lower * (1 + 1e-4)
    grid = np.linspace(0, 8, 33)
    truth = np.array([accounting.delta(RARE, epsilon=e).lower for e in grid.tolist()])
    assert np.any(truth > gaussian_delta(found.lower * (1 - 1e-6), grid))


def test_a_matching_mu_is_no_promise_elsewhere():
    """Rare participation: matched at 1e-10, its delta at epsilon 2 is far larger."""
    matched = gdp.matching_mu(RARE, delta=1e-5).upper
    truth = accounting.delta(RARE, epsilon=7.0).lower
    assert truth > 10 * gaussian_delta(matched, 7.0)
    assert gdp.bounding_mu(RARE, most_epsilon=8.0).lower > matched


def test_the_regret_of_a_gaussian_is_nothing_and_of_a_coin_is_much():
    """One number says all about the one and little about the other."""
    query = GaussianEvent(noise_multiplier=0.8)
    assert gdp.regret(query, 1.25) <= 1e-4
    coin = RandomizedResponseEvent(epsilon=2.0)
    mu = gdp.bounding_mu(coin, most_epsilon=1.9).upper
    assert gdp.regret(coin, mu) > 0.02


def test_the_regret_of_a_usual_run_is_small_and_of_a_rare_one_large():
    """As published: mu summarises DP-SGD well unless sampling is rare."""
    usual = gdp.regret(USUAL, gdp.bounding_mu(USUAL, most_epsilon=12.0).upper)
    rare = gdp.regret(RARE, gdp.bounding_mu(RARE, most_epsilon=8.0).upper, points=17)
    assert usual < 0.01
    assert rare > 0.05


def test_a_mu_reported_too_large_is_regretted_as_much_as_the_curves_differ():
    """For two Gaussians the regret has a closed form at the fixed point a = f(a)."""
    found = gdp.regret(GaussianEvent(noise_multiplier=1.0), 2.0, points=201)
    # Both curves cross the diagonal at Phi(-mu/2); there k solves the definition.
    truth = norm.cdf(-0.5) - norm.cdf(-1.0)
    assert found == pytest.approx(truth, abs=2e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_mu_or_range_that_means_nothing_is_refused(bad):
    query = GaussianEvent(noise_multiplier=1.0)
    with pytest.raises(ParameterError):
        gdp.regret(query, bad)
    with pytest.raises(ParameterError):
        gdp.bounding_mu(query, most_epsilon=bad)
    with pytest.raises(ParameterError):
        gdp.matching_mu(query, delta=bad)
    with pytest.raises(ParameterError):
        gdp.regret(query, 1.0, points=2)


def test_where_epsilon_is_0_the_total_variation_is_matched():
    """At a delta above it every small mu would do, and 0 would be a lie."""
    query = GaussianEvent(noise_multiplier=10.0)
    found = gdp.matching_mu(query, delta=0.3)
    assert found.lower <= 0.1 <= found.upper
    assert found.upper == pytest.approx(0.1, rel=1e-9)


def test_what_reads_nothing_has_mu_0_and_what_reads_all_has_none():
    assert gdp.matching_mu(NoOpEvent(), delta=1e-5).upper == 0
    # what is left is the rounding that every Gaussian is charged
    assert gdp.bounding_mu(NoOpEvent(), most_epsilon=2.0).upper < 1e-8
    with pytest.raises(ParameterError, match="no mu"):
        gdp.matching_mu(NonPrivateEvent(), delta=1e-5)
    with pytest.raises(ParameterError, match="no mu"):
        gdp.bounding_mu(NonPrivateEvent(), most_epsilon=2.0)
