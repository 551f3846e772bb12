"""The trade-off curve: the least false negative rate at each false positive rate.

Someone guesses "in" or "out" for one record, knowing everything else. If the guess is
"in" at most a fraction a of the time when the record was out, it is "out" at least a
fraction f(a) of the time when it was in:

    f(a) = sup over eps >= 0 of max(0, 1 - delta(eps) - e^eps a,
                                       e^-eps (1 - delta(eps) - a))

with the larger delta of both directions, so the curve is its own mirror image. Each
term alone bounds every test from below, as (eps, delta(eps))-DP does. So a supremum
over *some* epsilons, with upper ends for delta, is below the truth: leaving epsilons
out loses tightness and nothing else. And it is convex, being the largest of straight
lines. The epsilons kept here are those that matter at the rates asked about.

Source: Wasserman & Zhou 2010, arXiv:0811.2501; Dong, Roth, Su 2022, arXiv:1905.02383,
proposition 2.12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privplan import accounting, checks, profile
from privplan.budget import Adjacency

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from privplan.events import Event
    from privplan.profile import Reals

TOLERANCE = 1e-6
_ROUNDS = 40  # a handful is enough; more only where bounds are loose
_FIRST, _MOST = 0.05, 60.0  # epsilons beyond matter only to rates below e^-60
_SMALL = 1e-9  # true positive rates below it need not be tight
_SLACK = 1e-12  # rounding of three operations on numbers of at most 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tradeoff:
    """A certified lower bound on the trade-off curve of everything that was released.

    Attributes:
        epsilons: Where delta was bounded, in order; shape (points,).
        deltas: Upper ends for delta there, same shape.
    """

    epsilons: Reals
    deltas: Reals

    def false_negative_rates(self, false_positive_rates: ArrayLike) -> Reals:
        """Bound the false negative rate of every test from below.

        Args:
            false_positive_rates: Any shape; each in [0, 1].

        Returns:
            Lower bounds, same shape; convex and falling in the false positive rate.

        Raises:
            ParameterError: A rate is outside [0, 1], or NaN.
        """
        rates = _rates(false_positive_rates)
        near_zero, near_one = self.lines(rates.reshape(-1))
        best = np.maximum(near_zero.max(axis=0), near_one.max(axis=0))
        lower: Reals = np.clip(best - _SLACK, 0.0, 1.0)
        return lower.reshape(rates.shape)

    def true_positive_rates(self, false_positive_rates: ArrayLike) -> Reals:
        """Bound the true positive rate of every test from above; never below guessing.

        Args:
            false_positive_rates: Any shape; each in [0, 1].

        Raises:
            ParameterError: A rate is outside [0, 1], or NaN.
        """
        rates = _rates(false_positive_rates)
        return np.maximum(1 - self.false_negative_rates(rates), rates)

    def lines(self, rates: Reals) -> tuple[Reals, Reals]:
        """Return each line at each rate, for both halves; shapes (points, rates)."""
        growth = np.exp(self.epsilons)[:, None]
        left = 1 - self.deltas[:, None]
        return left - growth * rates, (left - rates) / growth


def curve(
    event: Event,
    false_positive_rates: ArrayLike,
    *,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
    tolerance: float = TOLERANCE,
) -> Tradeoff:
    """Bound the trade-off curve, tight at the rates asked about, valid at all.

    Args:
        event: What touched the data, as one tree.
        false_positive_rates: Where it should be tight; each in [0, 1].
        adjacency: Which data sets count as neighbours.
        tolerance: How much larger than the least of all epsilons a true positive rate
            may be, relative to it, at the rates asked about; above 0.

    Raises:
        ParameterError: A rate is outside [0, 1], or NaN, or `tolerance` is not above 0.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> found = curve(GaussianEvent(noise_multiplier=1.0), [0.01, 0.1])
        >>> found.false_negative_rates([0.01, 0.1]).round(4).tolist()
        [0.9076, 0.6109]
    """
    checks.positive(tolerance=tolerance)
    rates = _rates(false_positive_rates).reshape(-1)

    def ask(epsilon: float) -> float:
        return accounting.delta(event, epsilon=epsilon, adjacency=adjacency).upper

    negligible = tolerance * max(float(rates.min()), _SMALL)
    known = {0.0: ask(0.0)}
    last = _FIRST
    while last < _MOST:
        known[last] = ask(last)
        if known[last] < negligible or _peaked(_sorted(known), rates):
            break
        last *= 2
    for _ in range(_ROUNDS):
        new = _promising(_sorted(known), rates, tolerance)
        if not new:
            break
        known.update({epsilon: ask(epsilon) for epsilon in new})
    return _sorted(known)


def _sorted(known: dict[float, float]) -> Tradeoff:
    points = np.array(sorted(known))
    upper = np.minimum.accumulate([known[point] for point in points.tolist()])
    return Tradeoff(epsilons=points, deltas=upper)


def _peaked(found: Tradeoff, rates: Reals) -> bool:
    """Return whether no rate's best line is the last: beyond, all lines are worse.

    Each half has one peak over epsilon, since delta is convex in e^eps.
    """
    near_zero, near_one = found.lines(rates)
    last = len(found.epsilons) - 1
    return bool(
        max(near_zero.argmax(axis=0).max(), near_one.argmax(axis=0).max()) < last
    )


def _promising(found: Tradeoff, rates: Reals, tolerance: float) -> set[float]:
    """Return epsilons that could improve some rate by more than the tolerance.

    Delta is convex in x = e^eps: between two points it is above the chords of the
    cells beside, continued. Where these meet is the lowest delta can be, and so the
    best place to look next. Its slope is at least -1 before all and at most 0 after.
    """
    x, d = np.exp(found.epsilons), found.deltas
    slope = np.diff(d) / np.diff(x)
    before, after = np.append(-1.0, slope[:-1]), np.append(slope[1:], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = (np.diff(d) + before * x[:-1] - after * x[1:]) / (before - after)
    inside = (meet > x[:-1]) & (meet < x[1:])
    meet = np.where(inside, meet, np.sqrt(x[:-1] * x[1:]))
    least = np.maximum(
        d[:-1] + before * (meet - x[:-1]), d[1:] + after * (meet - x[1:])
    )
    at = Tradeoff(epsilons=np.log(meet), deltas=np.maximum(least, 0.0))
    possible = np.maximum(*at.lines(rates))
    missed = found.false_negative_rates(rates)
    gain = possible - missed
    wanted = tolerance * np.maximum(1 - missed, _SMALL)
    cells = np.unique(gain.argmax(axis=0)[gain.max(axis=0) > wanted])
    return set(at.epsilons[cells].tolist()) - set(found.epsilons.tolist())


def _rates(given: ArrayLike) -> Reals:
    rates = np.asarray(given, dtype=np.float64)
    profile.require(
        rates, "false_positive_rates", (rates >= 0) & (rates <= 1), "in [0, 1]"
    )
    return rates
