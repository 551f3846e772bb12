"""Capping: count outputs that are far out exactly, and leave them out of the sum.

With a small sample rate, E[exp(t L)] is soon dominated by outputs far beyond those
that decide delta: at a t that suits the rest, it explodes, and the sum over nodes
cancels. So of each output y only a share k(y) = exp(-e^((y - cap) / soft)) is kept,
which dies faster than any exp(t L) grows and is analytic, as the quadrature needs.
With K the product of all shares and S the total loss,

    delta(eps) = E[K (1 - e^(eps - S))+]                   what is kept: the contour
               + (1 - E_P[K]) - e^eps (1 - E_Q[K])         what is not: in closed form
               + E[(1 - K) (e^(eps - S) - 1)+]             >= 0, and tiny

because (1 - x)+ = (1 - x) + (x - 1)+. The last needs a far output *and* a total below
eps all the same; Chernoff's inequality on the other side bounds it, for any a > 1:

    (e^x - 1)+ <= c(a) e^(a x),     c(a) = (a - 1)^(a - 1) / a^a.

Only removal needs it: when a record is added, losses are bounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour import pure
from privplan.contour.loss import Direction
from privplan.contour.tilt import log_kept, log_ratio, too_hard

if TYPE_CHECKING:
    from privplan.contour.arrays import Reals
    from privplan.contour.loss import Loss, Sampled

_SOFT = 0.025
_REACH = 10.0
_TILTS = np.geomspace(1.2, 150.0, 16)
_MOST_POINTS = 40_000
_TRIES = 7
_HALVINGS = 10
_ROOT_2PI = math.sqrt(2 * math.pi)
# Trapezoids of a quarter `soft` err by exp(-32) times a small number; sums round more.
_EXACT = 1e-12
_HUGE = 1e200  # a logarithm that is no bound


@dataclass(frozen=True, slots=True)
class Cut:
    """A capped loss, and what the cap took away.

    Attributes:
        kept: The composition with its caps.
        by_p, by_q: log of the expected product of shares, under P and Q.
        powers, log_rest: The bound on the last term is the least of
            exp(log_rest + powers * eps).
    """

    kept: Loss
    by_p: float
    by_q: float
    powers: Reals
    log_rest: Reals

    def counted(self, epsilon: float) -> tuple[float, float]:
        """Return the closed form of what is not kept, and its derivative by eps."""
        slope = math.exp(epsilon) * math.expm1(self.by_q)
        return slope - math.expm1(self.by_p), slope

    def error(self, epsilon: float) -> float:
        """Return a bound on the error of the closed form."""
        far = -math.expm1(self.by_p) - math.exp(epsilon) * math.expm1(self.by_q)
        return _EXACT * far

    def rest(self, epsilon: float) -> float:
        """Return a bound on the last term."""
        log_bound = float((self.log_rest + self.powers * epsilon).min())
        return 1.01 * math.exp(min(log_bound, 0.0))


def cut(loss: Loss, epsilon: float, allowed: float) -> Cut:
    """Put the caps as low as a bound on the last term allows.

    Args:
        loss: The composition.
        epsilon: Where delta is wanted, or near it.
        allowed: Bound on the last term.

    Raises:
        CannotCertifyError: Nothing to cap: no sampled steps, or adding a record.
    """
    if not loss.sampled or loss.direction is Direction.ADD or not epsilon > 0:
        raise too_hard("capping does not help")
    low, factor = epsilon, 2.0
    for _ in range(_TRIES):
        found = _cut_at(loss, epsilon, low * factor)
        if found.rest(epsilon) <= allowed:
            break
        low, factor = low * factor, 1.5 * factor
    else:
        raise too_hard("capping does not help")
    high = low * factor
    for _ in range(_HALVINGS):
        if high < 1.05 * low:
            break
        middle = math.sqrt(low * high)
        other = _cut_at(loss, epsilon, middle)
        if other.rest(epsilon) <= allowed:
            found, high = other, middle
        else:
            low = middle
    return found


def _cut_at(loss: Loss, epsilon: float, level: float) -> Cut:
    """Cap every kind of step where its loss is about `level`."""
    powers = 1 + _TILTS / (level - epsilon)
    steps, by_p, by_q = [], 0.0, 0.0
    total = 0.5 * loss.gaussian * powers * (powers - 1)
    total += (powers - 1) * np.log(powers - 1) - powers * np.log(powers)
    for query in loss.pure:
        total = total + query.n * pure.log_mgf(query, -powers + 0j).real
    far = np.full(powers.size, -np.inf)
    for step in loss.sampled:
        soft = min(_SOFT, 0.3 * step.s)
        grown = math.expm1(min(level, 700.0)) / step.q
        # Shares begin to fall a little below the cap.
        centre = step.s * math.log1p(grown) + 0.5 / step.s
        one = replace(step, cap=centre, soft=soft)
        lost_p, lost_q, log_far, log_all = _moments(one, powers)
        steps.append(one)
        by_p += step.n * math.log1p(-lost_p)
        by_q += step.n * math.log1p(-lost_q)
        total = total + step.n * log_all
        far = np.logaddexp(far, math.log(step.n) + log_far - log_all)
    kept = replace(loss, sampled=tuple(steps))
    rest = total + far
    rest = np.where(np.isfinite(rest) & (total < _HUGE), rest, math.inf)
    return Cut(kept, by_p, by_q, powers, rest)


def _moments(step: Sampled, powers: Reals) -> tuple[float, float, Reals, Reals]:
    """Return what a cap takes of P and of Q, and two logarithms for each power a.

    The logarithms are of E[(1 - k) e^(-a L)] and E[e^(-a L)].
    """
    high = max(step.cap + _REACH, 1 / step.s + _REACH)
    count = math.ceil((high + _REACH) / (0.25 * step.soft)) + 1
    if not count <= _MOST_POINTS:
        raise too_hard("its cap is too sharp")
    y = np.linspace(-_REACH, high, count)
    ratio = log_ratio(y, step)
    bell = np.exp(-0.5 * y * y) * ((y[1] - y[0]) / _ROOT_2PI)
    record = np.exp(-0.5 * (y - 1 / step.s) ** 2) * ((y[1] - y[0]) / _ROOT_2PI)
    lost = -np.expm1(log_kept(y, step))
    lost_q = float(lost @ bell)
    lost_p = (1 - step.q) * lost_q + step.q * float(lost @ record)
    # Two kinds of sums need fewer points: they only feed a bound.
    part = slice(None, None, 4)
    exponent = (1 - powers)[:, None] * ratio[part]
    log_all = np.log1p(4 * (np.expm1(exponent) @ bell[part]))
    # Below the range lies 1e-23 of the outputs; nothing may blow that up.
    log_all[(powers - 1) * -math.log1p(-step.q) > 30.0] = _HUGE
    log_far = np.log(4 * (np.exp(exponent) @ (bell * lost)[part]) + 1e-300)
    return lost_p, lost_q, log_far, log_all
