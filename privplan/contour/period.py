"""The period of the contour sum, and what a finite period costs.

A sum over nodes t + i k eta has period W = 2 pi / eta, and by Poisson summation it
equals, exactly,

    sum over whole m of  e^(t m W) delta(eps + m W),

so the sum is never below delta(eps), and the excess is bounded on both sides:

    m < 0   delta <= 1                            gives 1 / (e^(t W) - 1)
    m > 0   delta <= c(t') M(t') e^(-t' eps)      gives that / (e^((t' - t) W) - 1)

for every t' > t. A larger W means more nodes, so the smallest that will do is used.

Source: Abate & Whitt 1992, The Fourier-series method for inverting transforms of
probability distributions, Queueing Systems 10, section 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour.cumulants import log_mgf

if TYPE_CHECKING:
    from privplan.contour.cumulants import Cumulants

_SHIFTS = np.array([0.004, 0.01, 0.025, 0.05, 0.09, 0.15, 0.25, 0.4, 0.65, 1.0, 1.6])


@dataclass(frozen=True, slots=True)
class Period:
    """A period and its two bounds.

    Attributes:
        width: W, in units of epsilon.
        t: Where the contour is.
        other_t: t', where the right-hand bound is taken.
        log_right: log of c(t') M(t').
    """

    width: float
    t: float
    other_t: float
    log_right: float

    def excess(self, epsilon: float) -> float:
        """Return a bound on how far the infinite sum may be above delta(eps)."""
        left = 1 / math.expm1(min(self.t * self.width, 700.0))
        gap = min((self.other_t - self.t) * self.width, 700.0)
        size = self.log_right - self.other_t * epsilon - gap
        right = math.exp(min(size, 700.0)) / -math.expm1(-gap)
        return (left + right) * (1 + 1e-6)


def choose_period(
    here: Cumulants, epsilon: float, log_delta: float, tolerance: float
) -> Period:
    """Choose the smallest period whose excess is about `tolerance` of delta."""
    t = here.t
    digits = -math.log(tolerance)
    base = max(math.sqrt(2 * digits / here.v), 1e-3 * t)
    other = t + base * _SHIFTS
    log_right = log_mgf(here.loss, other) - other * np.log1p(1 / other)
    log_right -= np.log1p(other)
    wanted = (log_right - other * epsilon - log_delta + digits + 0.7) / (other - t)
    best = int(wanted.argmin())
    width = max(
        (digits - log_delta + 1.0) / t, float(wanted[best]), 3 * math.sqrt(here.v)
    )
    return Period(width, t, float(other[best]), float(log_right[best]))
