"""The trade-off curve against curves that are known in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from privplan import accounting, risk, tradeoff
from privplan.batches import dp_sgd
from privplan.errors import ParameterError, PolicyError
from privplan.events import (
    GaussianEvent,
    NonPrivateEvent,
    NoOpEvent,
    RandomizedResponseEvent,
)
from privplan.questions import as_event
from privplan.tradeoff import Tradeoff

RATES = np.array([1e-6, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])


@settings(max_examples=15, deadline=None)
@given(mu=st.floats(0.03, 6.0))
def test_a_gaussian_has_the_gaussian_curve(mu):
    """Phi(Phi^-1(1 - a) - mu), by Neyman and Pearson; the bound is below and near."""
    truth = norm.cdf(norm.isf(RATES) - mu)
    query = GaussianEvent(noise_multiplier=1 / mu)
    found = tradeoff.curve(query, RATES).false_negative_rates(RATES)
    assert np.all(found <= truth + 1e-12)
    # the tolerance, and the rounding of one minus a number near one
    assert np.all(1 - found <= (1 - truth) * (1 + 1.1e-6) + 2e-12)


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 5.0])
def test_randomised_response_has_two_straight_lines(epsilon):
    """The worst pure mechanism: both lines are met exactly."""
    found = tradeoff.curve(RandomizedResponseEvent(epsilon=epsilon), RATES)
    truth = np.maximum(1 - math.exp(epsilon) * RATES, math.exp(-epsilon) * (1 - RATES))
    assert found.false_negative_rates(RATES) == pytest.approx(truth, abs=1e-5)
    assert np.all(found.false_negative_rates(RATES) <= truth + 1e-12)


def one_step(rate, noise, at):
    """Both directions of one sampled step: the best tests are thresholds."""
    y = norm.isf(at)
    removed = (1 - rate) * norm.cdf(y) + rate * norm.cdf(y - 1 / noise)

    def left(x):
        return (1 - rate) * ndtr(x) + rate * ndtr(x - 1 / noise)

    added = np.array(
        [norm.sf(brentq(lambda x, a=a: left(x) - a, -12, 12, xtol=1e-14)) for a in at]
    )
    return removed, added


@pytest.mark.parametrize(("rate", "noise"), [(0.2, 0.8), (0.6, 1.5), (0.02, 0.5)])
def test_one_sampled_step_has_the_convex_hull_of_both_directions(rate, noise):
    """Thresholds on one Gaussian are the best tests; the hull is what both allow."""
    fine = norm.cdf(np.linspace(-6, 6, 1001))
    removed, added = one_step(rate, noise, fine)
    lowest = np.minimum(removed, added)
    step = dp_sgd(sample_rate=rate, noise_multiplier=noise, steps=1)
    found = tradeoff.curve(step, RATES).false_negative_rates(RATES)
    for a, value in zip(RATES, found, strict=True):
        # the hull at a: the least chord over a, of points on either side
        left, right = fine < a, fine > a
        weight = (a - fine[left])[:, None] / (fine[right] - fine[left][:, None])
        hull = ((1 - weight) * lowest[left][:, None] + weight * lowest[right]).min()
        assert value <= hull + 1e-9
        # chords between points 0.012 apart are above the curve by up to this
        assert value >= hull - 5e-5


@settings(max_examples=4, deadline=None)
@given(rate=st.floats(0.05, 0.3), noise=st.floats(1.5, 8.0), steps=st.integers(80, 200))
def test_the_curve_is_convex_falling_its_own_mirror_and_below_guessing(
    rate, noise, steps
):
    run = dp_sgd(sample_rate=rate, noise_multiplier=noise, steps=steps)
    at = np.linspace(0.0, 1.0, 17)
    found = tradeoff.curve(run, at)
    missed = found.false_negative_rates(at)
    assert np.all(np.diff(missed) <= 0)
    assert np.all(np.diff(missed, 2) >= -1e-11)
    assert np.all(missed <= 1 - at)
    steep = missed > 1e-3
    assert found.false_negative_rates(missed)[steep] == pytest.approx(
        at[steep], abs=1e-2
    )


@settings(max_examples=20, deadline=None)
@given(kept=st.sets(st.integers(0, 30), min_size=1))
def test_leaving_epsilons_out_is_looser_and_never_unsafe(kept):
    """The supremum over some epsilons is below the supremum over all."""
    whole = tradeoff.curve(GaussianEvent(noise_multiplier=1.0), [0.05])
    index = sorted(i for i in kept if i < len(whole.epsilons)) or [0]
    part = Tradeoff(epsilons=whole.epsilons[index], deltas=whole.deltas[index])
    truth = norm.cdf(norm.isf(RATES) - 1.0)
    assert np.all(part.false_negative_rates(RATES) <= truth + 1e-12)
    assert np.all(part.false_negative_rates(RATES) <= whole.false_negative_rates(RATES))


def test_every_epsilon_delta_pair_is_respected():
    """The curve is no weaker than the guarantee printed in a report."""
    run = as_event(["sgd:0.05,1.5,300", "laplace:20", "pure:0.05,2"])
    found = tradeoff.curve(run, RATES).false_negative_rates(RATES)
    for epsilon in (0.0, 0.5, 2.0, 4.0):
        delta = accounting.delta(run, epsilon=epsilon).upper
        line = 1 - delta - math.exp(epsilon) * RATES
        assert np.all(found >= line - 1e-5)


def test_nothing_read_is_guessing_and_everything_read_is_open():
    at = [0.0, 0.3, 1.0]
    nothing = tradeoff.curve(NoOpEvent(), at).false_negative_rates(at)
    assert nothing == pytest.approx([1.0, 0.7, 0.0], abs=1e-11)
    everything = tradeoff.curve(NonPrivateEvent(), at).false_negative_rates(at)
    assert everything.tolist() == [0.0, 0.0, 0.0]


def test_risk_at_one_rate_is_risk_at_many():
    run = dp_sgd(sample_rate=1e-3, noise_multiplier=0.826, steps=10**5)
    many = risk.true_positive_rates(run, false_positive_rates=[[1e-3], [0.1]])
    one = risk.true_positive_rate(run, false_positive_rate=1e-3)
    assert many.shape == (2, 1)
    # each is tight at its own rate, to about 1e-6
    assert many[0, 0] == pytest.approx(one, abs=2e-6)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused_by_its_index(bad):
    with pytest.raises(ParameterError, match=r"false_positive_rates\[1\]"):
        tradeoff.curve(NoOpEvent(), [0.1, bad])
    found = tradeoff.curve(NoOpEvent(), [0.1])
    with pytest.raises(ParameterError, match=r"false_positive_rates\[0, 1\]"):
        found.true_positive_rates([[0.1, bad]])


def test_sampled_steps_have_no_replace_one_curve():
    with pytest.raises(PolicyError, match="replace-one"):
        tradeoff.curve(
            as_event("sgd:0.1,1,3"), [0.1], adjacency=accounting.Adjacency.REPLACE_ONE
        )
