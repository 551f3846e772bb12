"""The tilted loss of a whole composition: its cumulants, and where to tilt.

k(t) = log E[exp(t L)] is convex; m = k' and v = k'' are mean and variance of the
tilted loss. The contour Re z = t works for any t > 0 and works best at the saddle
point of exp(k(z) - z eps) / (z (z+1)), where it loses no digits to cancellation:

    m(t) = eps + 1/t + 1/(t+1)
    log delta is about  k - t eps - log t(t+1) - log(2 pi H) / 2,   H = v + 1/t^2 + ...

So one root in t gives the saddle of a known eps, and another the saddle of a known
delta. Neither has to be exact: the bounds hold at every t, and only get wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan.contour import pure
from privplan.contour.loss import Direction
from privplan.contour.tilt import TiltedStep, first_spacing, log_mgf_many, too_hard

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.contour.arrays import Reals
    from privplan.contour.loss import Loss

_MOST_TRIES = 80


@dataclass(slots=True)
class Cumulants:
    """k, m and v of the tilted loss at one t, and the quadratures they came from."""

    loss: Loss
    t: float
    steps: list[TiltedStep]
    k: float
    m: float
    v: float

    @property
    def curvature(self) -> float:
        """Return H, the second derivative of the exponent along the real axis."""
        return self.v + self.t**-2 + (self.t + 1) ** -2

    @property
    def epsilon(self) -> float:
        """Return the epsilon whose saddle point is t; may be negative."""
        return self.m - 1 / self.t - 1 / (self.t + 1)

    def log_delta(self, epsilon: float) -> float:
        """Return the saddle-point estimate of log delta; an estimate, no bound."""
        t = self.t
        size = self.k - t * epsilon - math.log(t) - math.log1p(t)
        return size - 0.5 * math.log(2 * math.pi * self.curvature)

    def log_chernoff(self, epsilon: float) -> float:
        """Return a bound on log delta: (1 - e^(eps - L))+ <= c(t) e^(t (L - eps))."""
        return self.k - self.t * epsilon + log_touch(self.t)


def log_touch(t: float) -> float:
    """Return log of the smallest c with 1 - e^-x <= c e^(t x) for all x > 0."""
    return -t * math.log1p(1 / t) - math.log1p(t)


def cumulants(loss: Loss, t: float) -> Cumulants:
    """Tilt every part of a composition by t > 0.

    Raises:
        CannotCertifyError: There are only pure queries, whose loss has atoms.
    """
    if not loss.sampled and not loss.gaussian:
        raise too_hard("its loss has atoms only")
    steps = [TiltedStep(s, loss.direction, t, first_spacing(s)) for s in loss.sampled]
    k = 0.5 * loss.gaussian * t * (t + 1)
    m = loss.gaussian * (t + 0.5)
    v = loss.gaussian
    for tilted in steps:
        k += tilted.step.n * tilted.log_mgf
        m += tilted.step.n * tilted.mean
        v += tilted.step.n * tilted.variance
    for query in loss.pure:
        one_k, one_m, one_v = pure.moments(query, t)
        k += query.n * one_k
        m += query.n * one_m
        v += query.n * one_v
    return Cumulants(loss, t, steps, k, m, v)


def log_mgf(loss: Loss, ts: Reals) -> Reals:
    """Return k at many real t."""
    total = 0.5 * loss.gaussian * ts * (ts + 1)
    for step in loss.sampled:
        total = total + step.n * log_mgf_many(step, loss.direction, ts)
    for query in loss.pure:
        total = total + query.n * pure.log_mgf(query, ts + 0j).real
    return total


def guess(loss: Loss, log_delta: float) -> float:
    """Return a first t, from the Gaussian that resembles the loss."""
    t = math.sqrt(2 * max(-log_delta, 1.0) / max(loss.clt(), 1e-280))
    for step in loss.sampled:  # stay out of the region where k explodes
        if loss.direction is Direction.REMOVE and step.cap == math.inf:
            t = min(t, 2 + 2 * step.s**2 * math.log(1 / step.q))
    return t


def at_delta(loss: Loss, log_delta: float, start: float) -> Cumulants:
    """Tilt at the saddle point of the epsilon that belongs to a delta, roughly."""

    def gap(here: Cumulants) -> tuple[float, float, float]:
        found = here.log_delta(here.epsilon) - log_delta
        slope = -(here.t**2) * here.curvature
        return found, slope + min(1.0, -0.5 * slope), 0.25

    return _newton(loss, start, gap)


def at_epsilon(loss: Loss, epsilon: float, start: float) -> Cumulants:
    """Tilt at the saddle point of one epsilon, roughly."""

    def gap(here: Cumulants) -> tuple[float, float, float]:
        slope = -here.t * here.curvature
        found = epsilon - here.epsilon
        return found, slope, 0.2 * min(math.sqrt(here.curvature), -0.5 * slope)

    return _newton(loss, start, gap)


def _newton(
    loss: Loss, t: float, gap: Callable[[Cumulants], tuple[float, float, float]]
) -> Cumulants:
    """Find the root of a decreasing function of log t, within its own tolerance.

    `gap` returns the value, the slope by log t, and how small a value will do.
    """
    low, high = 0.0, math.inf
    for _ in range(_MOST_TRIES):
        here = cumulants(loss, t)
        value, slope, enough = gap(here)
        if abs(value) <= enough or high < low * (1 + 1e-6):
            return here
        if not math.isfinite(value) or not math.isfinite(slope):
            raise too_hard("its moments overflow")
        if value > 0:
            low = t
        else:
            high = t
        new = t * math.exp(min(max(-value / slope, -1.5), 1.0))
        if not low < new < high:
            new = math.sqrt(max(low, 1e-12) * high) if high < math.inf else 2 * t
        t = new
    raise too_hard("the saddle point was not found")
