"""Epsilon against truths found by other routes: tables, quadrature, closed forms."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from privplan import accounting, calibration
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import ParameterError, PolicyError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)

# rate, steps, delta, the least noise for epsilon (nine digits by a certified prototype
# whose brackets an independent 34-digit computation confirmed), epsilon
GRID = [
    (4096 / 60000, 4394, 1e-5, 73.805265, 0.2),
    (4096 / 60000, 4394, 1e-5, 16.919990, 1.0),
    (4096 / 60000, 4394, 1e-5, 2.380248, 10.0),
    (16384 / 50000, 200, 1e-5, 17.379750, 1.0),
    (16384 / 50000, 200, 1e-5, 2.450786, 10.0),
    (128 / 1797, 702, 1e-4, 6.100607, 1.0),
    (64 / 1797, 1000, 1e-5, 65.111282, 0.05),
    (1e-3, 10**5, 1e-7, 0.825996, 3.0),
    (1e-3, 10**6, 1e-9, 1.390132, 5.0),
    (1e-4, 10**5, 1e-10, 0.455713, 8.0),
    (1e-2, 10**5, 1e-6, 0.779920, 50.0),
    (1e-2, 2 * 10**4, 1e-12, 4.829450, 2.0),
    (1e-4, 10**6, 1e-9, 0.487363, 8.0),
]


def sgd(rate, noise, steps):
    step = PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
    return SelfComposedEvent(event=step, count=steps)


@pytest.mark.parametrize(("rate", "steps", "delta", "noise", "epsilon"), GRID)
def test_the_noise_of_the_table_costs_the_epsilon_of_the_table(
    rate, steps, delta, noise, epsilon
):
    """2e-5: the table's noise has seven digits; epsilon moves up to 4 times as much."""
    found = accounting.epsilon(sgd(rate, noise, steps), delta=delta)
    assert found.lower <= found.upper
    assert found.upper == pytest.approx(epsilon, rel=2e-5)
    assert found.upper - found.lower <= 1e-6 * found.upper


@pytest.mark.parametrize(("rate", "steps", "delta", "noise", "epsilon"), GRID)
def test_calibration_finds_the_noise_of_the_table_and_never_less(
    rate, steps, delta, noise, epsilon
):
    budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
    found = calibration.noise_multiplier(lambda z: sgd(rate, z, steps), budget=budget)
    assert accounting.epsilon(sgd(rate, found, steps), delta=delta).upper <= epsilon
    # six digits, rounded up
    assert found == pytest.approx(noise, rel=1.2e-5)


def one_step_delta(rate, noise, epsilon, *, remove):
    """Hockey-stick divergence of one step in closed form, for any real epsilon."""
    edge = math.exp(epsilon if remove else -epsilon) - (1 - rate)
    if edge <= 0:
        # the loss is above epsilon everywhere (remove) or nowhere (add)
        return 1 - math.exp(epsilon) if remove else 0.0
    y = noise * math.log(edge / rate) + 0.5 / noise
    if remove:
        plain, shifted = ndtr(-y), ndtr(-(y - 1 / noise))
        mixed = (1 - rate) * plain + rate * shifted
        return mixed - math.exp(epsilon) * plain
    plain, shifted = ndtr(y), ndtr(y - 1 / noise)
    mixed = (1 - rate) * plain + rate * shifted
    return plain - math.exp(epsilon) * mixed


def two_step_delta(first, second, epsilon, *, remove):
    """Condition on the first step's output; the second is in closed form."""
    rate, noise = first

    def loss(y):
        ratio = 1 - rate + rate * math.exp((y - 0.5 / noise) / noise)
        return math.log(ratio) if remove else -math.log(ratio)

    def density(y):
        if not remove:
            return norm.pdf(y)
        return (1 - rate) * norm.pdf(y) + rate * norm.pdf(y - 1 / noise)

    def inside(y):
        rest = one_step_delta(*second, epsilon - loss(y), remove=remove)
        return density(y) * rest

    ends = (-9.0, 9.0 + 1 / noise)
    kinks = [0.0, 0.5 / noise, 1 / noise, 2.0, 4.0]
    return quad(inside, *ends, points=kinks, limit=2000, epsabs=1e-15)[0]


@pytest.mark.parametrize("epsilon", [0.1, 0.7, 2.0])
@pytest.mark.parametrize(
    ("first", "second"),
    [((0.2, 1.0), (0.2, 1.0)), ((0.5, 0.8), (0.1, 2.0)), ((0.05, 0.6), (0.3, 1.5))],
)
def test_two_different_steps_cost_what_direct_integration_says(first, second, epsilon):
    """Another route altogether: no transform, no contour, no grid."""
    event = ComposedEvent(events=(sgd(*first, 1), sgd(*second, 1)))
    found = accounting.delta(event, epsilon=epsilon)
    truth = max(
        two_step_delta(first, second, epsilon, remove=remove)
        for remove in (True, False)
    )
    # the quadrature itself is good to about 1e-12
    assert found.lower <= truth + 1e-11
    assert found.upper >= truth - 1e-11
    # two steps are a hard case for the contour: it is right, and half a per cent wide
    assert found.upper <= truth * 1.005 + 1e-11


@pytest.mark.parametrize("noise", [0.3, 1.0, 7.0, 200.0])
@pytest.mark.parametrize("count", [1, 50])
def test_plain_gaussians_cost_what_their_closed_form_says(noise, count):
    """Balle & Wang 2018, theorem 8: mu = sqrt(count) / noise."""
    mu = math.sqrt(count) / noise
    query = GaussianEvent(noise_multiplier=noise)
    found = accounting.epsilon(SelfComposedEvent(event=query, count=count), delta=1e-5)
    for end, side in ((found.upper, 1), (found.lower, -1)):
        delta = norm.cdf(mu / 2 - end / mu) - math.exp(end) * norm.cdf(
            -mu / 2 - end / mu
        )
        assert side * (1e-5 - delta) >= -1e-13


def test_one_step_costs_what_its_closed_form_says():
    found = accounting.delta(sgd(0.3, 0.9, 1), epsilon=0.5)
    truth = one_step_delta(0.3, 0.9, 0.5, remove=True)
    assert found.lower <= truth <= found.upper
    assert found.upper == pytest.approx(truth, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.01, 1.0),
    noise=st.floats(0.6, 20.0),
    steps=st.integers(4, 400),
    delta=st.sampled_from([1e-3, 1e-5, 1e-8]),
)
def test_more_noise_fewer_steps_and_a_larger_delta_never_cost_more(
    rate, noise, steps, delta
):
    base = accounting.epsilon(sgd(rate, noise, steps), delta=delta)
    for other, at in (
        (sgd(rate, noise * 1.1, steps), delta),
        (sgd(rate, noise, steps // 2), delta),
        (sgd(rate * 0.9, noise, steps), delta),
        (sgd(rate, noise, steps), delta * 3),
    ):
        less = accounting.epsilon(other, delta=at)
        assert less.lower <= base.upper
        assert less.upper <= base.upper * (1 + 1e-6) + 1e-9


@settings(max_examples=15, deadline=None)
@given(rate=st.floats(0.02, 0.9), noise=st.floats(0.7, 9.0), parts=st.integers(2, 6))
def test_a_count_of_n_costs_what_n_singles_in_any_order_cost(rate, noise, parts):
    """A count that any branch forgets makes epsilon too small, and raises nothing."""
    query = GaussianEvent(noise_multiplier=4.0)
    singles = [sgd(rate, noise, 10) for _ in range(parts)]
    one = ComposedEvent(events=(*singles, NoOpEvent(), query))
    two = ComposedEvent(events=(query, sgd(rate, noise, 10 * parts)))
    assert accounting.epsilon(one, delta=1e-5) == accounting.epsilon(two, delta=1e-5)


@settings(max_examples=8, deadline=None)
@given(rate=st.floats(0.05, 0.5), noise=st.floats(0.9, 5.0), steps=st.integers(20, 200))
def test_dp_accounting_agrees_from_above(rate, noise, steps):
    """Its pessimistic grid of 1e-4 adds at most about 1e-4 per step's spread."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    peer = PLDAccountant(value_discretization_interval=1e-4)
    inner = dp_accounting.GaussianDpEvent(noise)
    peer.compose(dp_accounting.PoissonSampledDpEvent(rate, inner), steps)
    theirs = peer.get_epsilon(1e-5)
    ours = accounting.epsilon(sgd(rate, noise, steps), delta=1e-5)
    assert ours.lower <= theirs * (1 + 1e-9)
    assert ours.upper == pytest.approx(theirs, rel=2e-3, abs=2e-3)


def test_epsilon_and_delta_are_each_others_inverse():
    event = sgd(0.1, 1.2, 150)
    found = accounting.epsilon(event, delta=1e-6)
    assert accounting.delta(event, epsilon=found.upper).upper <= 1e-6 * (1 + 1e-6)
    assert accounting.delta(event, epsilon=found.lower).upper >= 1e-6 * (1 - 1e-6)


def test_reading_nothing_costs_nothing_and_reading_without_noise_costs_everything():
    nothing = accounting.epsilon(NoOpEvent(), delta=1e-5)
    assert (nothing.lower, nothing.upper) == (0, 0)
    everything = ComposedEvent(events=(sgd(0.1, 1.0, 3), NonPrivateEvent()))
    assert accounting.epsilon(everything, delta=1e-5).upper == math.inf


def test_sampled_steps_get_no_replace_one_epsilon_that_is_too_small():
    """A Poisson plan at epsilon 10 costs 22.7 under replace-one, found by PLD."""
    with pytest.raises(PolicyError, match="too small"):
        accounting.epsilon(
            sgd(0.07, 2.4, 4394), delta=1e-5, adjacency=Adjacency.REPLACE_ONE
        )


def test_replacing_a_record_doubles_the_sensitivity_of_a_plain_query():
    plain = GaussianEvent(noise_multiplier=3.0)
    doubled = GaussianEvent(noise_multiplier=1.5)
    assert accounting.epsilon(
        plain, delta=1e-5, adjacency=Adjacency.REPLACE_ONE
    ).upper == pytest.approx(accounting.epsilon(doubled, delta=1e-5).upper, rel=1e-9)


@pytest.mark.parametrize("bad", [0.0, 1.0, -1e-5, math.nan, math.inf])
def test_a_delta_or_epsilon_that_means_nothing_is_refused(bad):
    with pytest.raises(ParameterError):
        accounting.epsilon(sgd(0.1, 1.0, 10), delta=bad)
    with pytest.raises(ParameterError):
        accounting.delta(sgd(0.1, 1.0, 10), epsilon=-1.0 if bad >= 0 else bad)
