"""Renyi divergences: bounds from above, by sum, by quadrature, by other people."""

import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, renyi
from privplan.contour.loss import Direction, Sampled
from privplan.contour.tilt import TiltedStep, first_spacing
from privplan.errors import ParameterError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)

STEPS = [(0.01, 1.0), (0.2, 0.7), (1e-4, 0.5), (0.5, 20.0), (1e-6, 3.0), (0.999, 1.0)]


def sampled(rate, noise):
    return PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)


def integral(rate, noise, order):
    """Integrate the definition with 30 digits, by none of our code."""
    with mpmath.workdps(30):
        q, s, a = mpmath.mpf(rate), mpmath.mpf(noise), mpmath.mpf(order)

        def integrand(y):
            w = (y - 1 / (2 * s)) / s
            return mpmath.npdf(y) * ((1 - q) + q * mpmath.exp(w)) ** a

        peak = a / s
        cuts = sorted({-30, 0, peak / 2, peak, peak + 30})
        return mpmath.log(mpmath.quad(integrand, cuts)) / (a - 1)


@pytest.mark.parametrize(("rate", "noise"), STEPS)
@pytest.mark.parametrize("order", [1.5, 2.0, 5.5, 16.0])
def test_one_sampled_step_is_bounded_closely_from_above(rate, noise, order):
    """A bound below the integral would make every filter too generous."""
    truth = integral(rate, noise, order)
    found = renyi.divergence(sampled(rate, noise), order)
    # The integral has 30 digits; at a rate of 1e-6 the quadrature's allowance shows.
    assert truth <= found <= truth * (1 + mpmath.mpf("1e-3"))


@pytest.mark.parametrize(("rate", "noise"), STEPS)
def test_the_sum_and_the_quadrature_meet_at_whole_orders(rate, noise):
    """Two formulas of one number; the second serves the orders between."""
    for order in (2, 3, 7, 20):
        whole = renyi._log_a_whole(rate, noise, order)
        between = renyi._log_a_between(rate, noise, float(order))
        # The quadrature allows for 1e-17 of A outside its range.
        assert between == pytest.approx(whole, rel=1e-9, abs=1e-16)


@pytest.mark.parametrize(("rate", "noise"), STEPS)
def test_adding_a_record_costs_no_more_than_removing_one(rate, noise):
    """Only the direction of removing is computed; the other must be below it."""
    step = Sampled(rate, noise, 1)
    for order in (1.25, 2.0, 6.5, 30.0):
        add = TiltedStep(step, Direction.ADD, order - 1, 0.5 * first_spacing(step))
        found = renyi.divergence(sampled(rate, noise), order)
        assert add.log_mgf / (order - 1) <= found


@pytest.mark.parametrize("order", [1.25, 2.0, 3.5, 8.0, 32.0, 256.0])
def test_dp_accounting_finds_the_same_divergences(order):
    """Under add-or-remove-one it is right about these events, at whole orders.

    Between them it adds up an alternating series without its signs: some per cent
    above the integral, twice it, or infinite.
    """
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    pairs = [
        (GaussianEvent(noise_multiplier=2.5), dp_accounting.GaussianDpEvent(2.5)),
        (LaplaceEvent(noise_multiplier=1.7), dp_accounting.LaplaceDpEvent(1.7)),
    ]
    for rate, noise in STEPS[:4]:
        inner = dp_accounting.GaussianDpEvent(noise)
        peer = dp_accounting.PoissonSampledDpEvent(rate, inner)
        pairs.append((sampled(rate, noise), peer))
    for ours, theirs in pairs:
        peer = RdpAccountant([order]).compose(theirs, 3)._rdp[0]
        found = renyi.divergence(SelfComposedEvent(event=ours, count=3), order)
        # Its terms lose digits where 1 is added to something tiny.
        if order == int(order) or not isinstance(ours, PoissonSampledGaussianEvent):
            assert found == pytest.approx(peer, rel=1e-9, abs=1e-12)
        else:
            assert found <= peer + 1e-12


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 1.0, 5.0, 60.0])
@pytest.mark.parametrize("order", [1.125, 2.0, 9.0, 700.0])
def test_pure_queries_follow_their_definition(epsilon, order):
    """E_P[e^((a-1) L)] summed over the outputs, with 40 digits."""
    with mpmath.workdps(40):
        e, a = mpmath.mpf(epsilon), mpmath.mpf(order)
        p = 1 / (1 + mpmath.exp(-e))
        both = p * mpmath.exp((a - 1) * e) + (1 - p) * mpmath.exp(-(a - 1) * e)
        two_point = mpmath.log(both) / (a - 1)
        tails = a * mpmath.exp((a - 1) * e) + (a - 1) * mpmath.exp(-a * e)
        laplace = mpmath.log(tails / (2 * a - 1)) / (a - 1)
    scale = mpmath.mpf("1e-7")  # cancellation at epsilon 1e-6, charged in full
    found = renyi.divergence(RandomizedResponseEvent(epsilon=epsilon), order)
    assert two_point <= found <= two_point * (1 + scale)
    found = renyi.divergence(LaplaceEvent(noise_multiplier=1 / epsilon), order)
    # 1 / (1 / epsilon) is epsilon to one unit in the last place.
    assert laplace * (1 - mpmath.mpf("1e-15")) <= found <= laplace * (1 + scale)


@settings(max_examples=20, deadline=None)
@given(
    rate=st.floats(0.001, 1.0),
    noise=st.floats(0.7, 20.0),
    steps=st.integers(1, 500),
    query=st.floats(1.0, 60.0),
    delta=st.sampled_from([1e-3, 1e-6, 1e-9]),
)
def test_epsilon_by_divergences_is_never_below_the_exact_one(
    rate, noise, steps, query, delta
):
    """Every moment of the loss says less than the loss itself."""
    many = SelfComposedEvent(event=sampled(rate, noise), count=steps)
    event = ComposedEvent(events=(many, GaussianEvent(noise_multiplier=query)))
    exact = accounting.epsilon(event, delta=delta)
    assert exact.lower <= renyi.epsilon_upper(event, delta=delta)


def test_the_price_of_divergences_is_some_per_cent():
    """A grid of orders with a hole in it would cost more."""
    event = SelfComposedEvent(event=sampled(0.0683, 16.92), count=4394)
    found = renyi.epsilon_upper(event, delta=1e-5)
    # dp-accounting's grid gives 1.0929 for the exact 1.0000.
    assert found == pytest.approx(1.0935, abs=1e-3)


def test_divergences_of_one_order_add_up():
    """A count forgotten anywhere is spending nobody sees."""
    query, step = GaussianEvent(noise_multiplier=3.0), sampled(0.1, 1.0)
    whole = ComposedEvent(
        events=(SelfComposedEvent(event=step, count=7), query, NoOpEvent())
    )
    parts = 7 * renyi.divergence(step, 4.0) + renyi.divergence(query, 4.0)
    assert renyi.divergence(whole, 4.0) == pytest.approx(parts, rel=1e-12)


def test_reading_without_noise_has_no_divergence():
    assert renyi.divergence(NonPrivateEvent(), 2.0) == math.inf
    assert renyi.divergence(GaussianEvent(noise_multiplier=1e-300), 2.0) == math.inf
    assert renyi.epsilon_upper(NonPrivateEvent(), delta=1e-5) == math.inf
    assert renyi.divergence(NoOpEvent(), 2.0) == 0


@pytest.mark.parametrize("order", [1.0, 0.5, -2.0, math.inf, math.nan, 2e5])
def test_an_order_without_meaning_is_refused(order):
    """At order 1 the conversion divides by zero; below it nothing is bounded."""
    with pytest.raises(ParameterError, match="order"):
        renyi.divergence(GaussianEvent(noise_multiplier=1.0), order)


@given(
    order=st.floats(1.05, 500.0),
    epsilon=st.floats(0.01, 20.0),
    log_delta=st.floats(-30.0, -1.0),
)
def test_what_stays_within_an_epsilon_turns_into_no_more_than_it(
    order, epsilon, log_delta
):
    """A filter finds its limit by one and claims by the other."""
    delta = math.exp(log_delta)
    limit = renyi.divergence_within(order, epsilon, delta)
    assert renyi.epsilon_at(order, limit, delta) <= epsilon
    # Swollen both ways, by the last digits of the larger of the two.
    back = renyi.epsilon_at(order, limit * (1 + 1e-12) + 1e-12, delta)
    assert back >= epsilon * (1 - 1e-9) - 1e-9 * abs(limit)
