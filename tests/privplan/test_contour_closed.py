"""Closed forms against the same formulas in 40 digits."""

import math

import mpmath as mp
import pytest

from privplan.contour import capped, closed, solve
from privplan.contour.loss import Direction, Loss, Pure, Sampled

REMOVE, ADD = Direction.REMOVE, Direction.ADD


def contains(bracket, truth):
    low, high = bracket
    return low <= truth <= high


@pytest.mark.parametrize("mu", [1e-4, 0.03, 0.7, 5.0, 40.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 1.0, 20.0, 900.0])
def test_a_gaussian_is_bracketed_from_tiny_to_huge(mu, epsilon):
    """exp(900) overflows, normal tails underflow, and small mu cancels."""
    mp.mp.dps = 40
    a, b = epsilon / mp.mpf(mu) - mu / mp.mpf(2), epsilon / mp.mpf(mu) + mu / mp.mpf(2)
    truth = mp.ncdf(-a) - mp.exp(epsilon) * mp.ncdf(-b)
    bracket = closed.delta(Loss(mu * mu, (), (), REMOVE), epsilon)
    assert contains(bracket, truth)
    # Cancellation costs digits where a is large and mu small, never correctness.
    assert bracket[1] - bracket[0] <= 1e-6 * truth or truth < 1e-12


@pytest.mark.parametrize("direction", [REMOVE, ADD])
@pytest.mark.parametrize("rate", [1e-6, 0.01, 0.6])
@pytest.mark.parametrize("noise", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.005, 0.5, 3.0])
def test_one_sampled_step_is_bracketed(direction, rate, noise, epsilon):
    """The one case in which the two directions differ and both are exact."""
    mp.mp.dps = 40
    q, s, eps = mp.mpf(rate), mp.mpf(noise), mp.mpf(epsilon)
    if direction is REMOVE:
        y = s * mp.log((mp.expm1(eps) + q) / q) + 1 / (2 * s)
        truth = q * mp.ncdf(1 / s - y) - (mp.expm1(eps) + q) * mp.ncdf(-y)
    elif mp.expm1(-eps) + q <= 0:
        truth = mp.mpf(0)
    else:
        y = s * mp.log((mp.expm1(-eps) + q) / q) + 1 / (2 * s)
        mixture = (1 - q) * mp.ncdf(y) + q * mp.ncdf(y - 1 / s)
        truth = mp.ncdf(y) - mp.exp(eps) * mixture
    loss = Loss(0.0, (Sampled(rate, noise, 1),), (), direction)
    assert contains(closed.delta(loss, epsilon), truth)


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_two_point_queries_are_a_binomial_sum(count):
    """Every outcome by hand, in 40 digits."""
    mp.mp.dps = 40
    e, epsilon = mp.mpf("0.3"), mp.mpf("0.9")
    p = 1 / (1 + mp.exp(-e))
    truth = mp.fsum(
        mp.binomial(count, k)
        * p**k
        * (1 - p) ** (count - k)
        * -mp.expm1(epsilon - (2 * k - count) * e)
        for k in range(count + 1)
        if (2 * k - count) * e > epsilon
    )
    loss = Loss(0.0, (), (Pure(0.3, two_point=True, n=count),), REMOVE)
    assert contains(closed.delta(loss, 0.9), truth)


def test_one_laplace_query_is_exact():
    """delta(eps) = 1 - exp((eps - e) / 2), and nothing from e on."""
    loss = Loss(0.0, (), (Pure(2.0, two_point=False, n=1),), REMOVE)
    assert contains(closed.delta(loss, 0.5), -math.expm1(-0.75))
    assert closed.delta(loss, 2.5)[1] < 1e-10


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 12.0])
def test_the_mu_of_an_epsilon_gives_its_delta_back(epsilon):
    """There and back again."""
    mu = closed.gaussian_mu(epsilon, 1e-6)
    # 1e-10: mu has 12 digits, and delta moves about ten times faster than mu.
    assert closed.gaussian(mu, epsilon)[0] == pytest.approx(1e-6, rel=1e-10)


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta"),
    [(0.07, 3.0, 3000, 1e-5), (1e-3, 0.8, 10**5, 1e-8), (0.3, 5.0, 40, 1e-6)],
)
def test_the_last_resort_is_above_the_truth_and_near_it(rate, noise, steps, delta):
    """An upper end that always answers is only worth something if it is near."""
    for direction in (REMOVE, ADD):
        loss = Loss(0.0, (Sampled(rate, noise, steps),), (), direction)
        _, upper = solve.epsilon_bracket(loss, delta)
        bound = capped.epsilon_upper(loss, delta)
        # Chernoff's bound costs up to about 15 per cent in epsilon here.
        assert upper <= bound <= 1.2 * upper
