"""One number for a whole curve: Gaussian differential privacy, and what it hides.

A release is mu-GDP if telling two neighbours apart from it is at least as hard as
telling N(0, 1) from N(mu, 1). Two different numbers are called "its mu":

    matching   the Gaussian with the same epsilon at *one* delta: a unit of measurement,
               not a promise; elsewhere the release can be worse than that Gaussian
    bounding   the least mu whose curve is nowhere below, over a stated range of
               epsilon: a promise there, and only there

How good a summary is, is its regret: how far the true trade-off curve can be above
that of the mu reported.

Source: Dong, Roth, Su 2022, arXiv:1905.02383; Gomez et al. 2025, arXiv:2503.10945
(reporting mu with its regret); Kaissis et al. 2024, arXiv:2406.08918 (the metric).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from privplan import accounting, checks, profile, tradeoff
from privplan.accounting import Bracket
from privplan.budget import Adjacency
from privplan.contour import closed
from privplan.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from privplan.events import Event
    from privplan.profile import Bounds, Reals

_POINTS = 33  # epsilons to begin with
_MOST_POINTS, _ENOUGH = 300, 1e-5  # after cutting cells in two; width to stop at
_MOST_EPSILON = 300.0
_RELATIVE = 1e-12  # rounding of a sum of two terms, and of `gaussian_mu`
_REGRET_TOLERANCE = 1e-4
_LAST_PLACES = 32 * float(np.finfo(np.float64).eps)
_HALVINGS = 60
_QUANTILES = 4.0
_MOST = 1e6


def matching_mu(
    event: Event,
    *,
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bracket:
    """Return the mu of the Gaussian that has the event's epsilon at one delta.

    A unit of measurement: the event need not be mu-GDP anywhere else. If epsilon is 0
    at this delta, the Gaussian with the same delta at epsilon 0.

    Raises:
        ParameterError: `delta` is not between 0 and 1, or the event has no finite
            epsilon.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> query = GaussianEvent(noise_multiplier=4.0)
        >>> round(matching_mu(query, delta=1e-5).upper, 6)
        0.25
    """
    found = accounting.epsilon(event, delta=delta, adjacency=adjacency)
    if not found.upper < math.inf:
        raise ParameterError(
            "what was read without noise has no mu", hint="leave raw phases away"
        )
    if found.upper == 0:
        at_zero = accounting.delta(event, epsilon=0.0, adjacency=adjacency)
        ends = [2 * float(special.ndtri(0.5 + 0.5 * end)) for end in _pair(at_zero)]
    else:
        ends = [closed.gaussian_mu(end, delta) if end else 0.0 for end in _pair(found)]
    return Bracket(
        lower=ends[0] * (1 - _RELATIVE),
        upper=ends[1] * (1 + _RELATIVE),
        method=f"matching at delta {delta:g}",
    )


def _pair(found: Bracket) -> tuple[float, float]:
    return found.lower, found.upper


def bounding_mu(
    event: Event,
    *,
    least_epsilon: float = 0.0,
    most_epsilon: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bracket:
    """Bound the least mu whose delta is nowhere smaller, over a range of epsilon.

    Between the epsilons evaluated nothing is guessed: delta is convex in e^eps, so it
    is below the chord between two of its upper ends, and the Gaussian's delta is
    compared with the whole chord, where it comes nearest.

    Args:
        event: What touched the data.
        least_epsilon: Where the range begins; at least 0.
        most_epsilon: Where it ends; above `least_epsilon`, at most 300.
        adjacency: Which data sets count as neighbours.

    Returns:
        `upper` is a mu that holds over the whole range, `lower` one below which none
        does.

    Raises:
        ParameterError: The range is empty or not finite, or no mu holds in it.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> query = GaussianEvent(noise_multiplier=4.0)
        >>> round(bounding_mu(query, most_epsilon=1.0).upper, 4)
        0.25
    """
    checks.non_negative(least_epsilon=least_epsilon)
    if not least_epsilon < most_epsilon <= _MOST_EPSILON:
        raise ParameterError(
            f"most_epsilon is {most_epsilon!r}, but it must be above least_epsilon = "
            f"{least_epsilon!r} and at most {_MOST_EPSILON:g}",
            hint="give a range of epsilon such as 0 to 8",
        )
    points = np.linspace(least_epsilon, most_epsilon, _POINTS)
    found = profile.deltas(event, points, adjacency=adjacency)
    if not found.upper[0] < 1:
        raise ParameterError(
            "delta is 1 in this range, so no mu holds",
            hint="leave raw phases away, or begin the range at a larger epsilon",
        )
    lower, upper = _ends(points, found)
    while upper > lower * (1 + _ENOUGH) and len(points) < _MOST_POINTS:
        more = _binding(lower + 0.25 * (upper - lower), points, found.upper)
        points, found = _merged(
            points, found, more, profile.deltas(event, more, adjacency=adjacency)
        )
        lower, upper = _ends(points, found)
    return Bracket(
        lower=lower,
        upper=upper,
        method=f"bounding for epsilon from {least_epsilon:g} to {most_epsilon:g}",
    )


def regret(
    event: Event,
    mu: float,
    *,
    points: int = 65,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> float:
    """Measure how much is hidden by reporting mu in place of the whole curve.

    The least k with f(a + k) - k <= g(a) at every false positive rate a, where f is
    the event's trade-off curve and g the Gaussian's: 0 if mu says it all. Measured on
    a grid of rates with the certified lower curve for f, so it is an estimate and no
    bound. Below about 0.01 it is below what an attack can show.

    Args:
        event: What touched the data.
        mu: What would be reported; above 0.
        points: How many false positive rates; at least 3.
        adjacency: Which data sets count as neighbours.

    Raises:
        ParameterError: `mu` is not a finite number above 0, or there are too few
            points.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> regret(GaussianEvent(noise_multiplier=1.0), 1.0) < 1e-5
        True
    """
    checks.positive(mu=mu)
    checks.count(points=points)
    if points < 3:
        raise ParameterError(
            f"points is {points}, but it must be at least 3", hint="leave it away"
        )
    # Even in normal quantiles: rates near 0 and 1 matter as much as the middle.
    rates = special.ndtr(np.linspace(-_QUANTILES, _QUANTILES, points))
    exact = tradeoff.curve(
        event, rates, adjacency=adjacency, tolerance=_REGRET_TOLERANCE
    )
    summary = special.ndtr(special.ndtri(1 - rates) - mu)
    low, high = np.zeros_like(rates), 1 - rates
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        excess = exact.false_negative_rates(rates + middle) - middle > summary
        low, high = np.where(excess, middle, low), np.where(excess, high, middle)
    return float(high.max())


def _ends(points: Reals, found: Bounds) -> tuple[float, float]:
    """Return a mu below which none holds, and one that holds."""
    lower, _ = _least(
        lambda mu: bool((_gaussian(mu, points).upper >= found.lower).all())
    )
    _, upper = _least(lambda mu: bool(_above(mu, points, found.upper).all()))
    return lower, upper


def _binding(mu: float, points: Reals, deltas: Reals) -> Reals:
    """Return the middles of the cells that a mu fails in."""
    failing = ~_above(mu, points, deltas)
    middles: Reals = (0.5 * (points[1:] + points[:-1]))[failing]
    return middles


def _merged(
    points: Reals, found: Bounds, more: Reals, there: Bounds
) -> tuple[Reals, Bounds]:
    every = np.concatenate([points, more])
    order = np.argsort(every)
    lower = np.concatenate([found.lower, there.lower])[order]
    upper = np.concatenate([found.upper, there.upper])[order]
    return every[order], profile.Bounds(lower, upper)


def _least(reaches: Callable[[float], bool]) -> tuple[float, float]:
    """Return a mu that does not reach and one that does, next to each other.

    Raises:
        ParameterError: None below a million does.
    """
    low, high = 0.0, 1.0
    while not reaches(high):
        low, high = high, 2 * high
        if high > _MOST:
            raise ParameterError(
                "no mu below a million holds in this range",
                hint="give the event more noise, or a range of smaller epsilons",
            )
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return low, high


def _above(mu: float, points: Reals, deltas: Reals) -> NDArray[np.bool_]:
    """Return in which cells the Gaussian's delta is at least the chord of these.

    The Gaussian's delta is convex in e^eps as well, so it comes nearest to a chord
    where their slopes are equal: d delta / d e^eps = -Phi(-eps/mu - mu/2).
    """
    left, right = points[:-1], points[1:]
    fall = deltas[:-1] - deltas[1:]
    probability = fall * np.exp(-right) / -np.expm1(left - right)
    touching = -mu * (special.ndtri(np.clip(probability, 1e-300, 0.5)) + 0.5 * mu)
    nearest = np.clip(touching, left, right)
    weight = np.expm1(nearest - right) / np.expm1(left - right)
    chord = weight * deltas[:-1] + (1 - weight) * deltas[1:]
    at_points = _gaussian(mu, points).lower >= deltas
    within = _gaussian(mu, nearest).lower >= chord * (1 + _RELATIVE)
    return np.asarray(at_points[:-1] & at_points[1:] & within)


def _gaussian(mu: float, epsilons: Reals) -> Bounds:
    """Bound delta of N(0, 1) against N(mu, 1), as `contour.closed.gaussian` does."""
    a, b = epsilons / mu - 0.5 * mu, epsilons / mu + 0.5 * mu
    scale = 0.5 * np.exp(-0.5 * a * a)
    far = scale * special.erfcx(np.maximum(a, 0.0) / math.sqrt(2))
    first = np.where(a > 0, far, special.ndtr(-a))
    second = scale * special.erfcx(b / math.sqrt(2))
    slack = _LAST_PLACES * (first + second) * (1 + a * a)
    return profile.Bounds(first - second - slack, first - second + slack)
