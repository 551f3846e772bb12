"""How fast a characteristic function dies: a bound that holds to infinity.

The contour sum stops at some frequency U, so the rest must be bounded, and sampling
phi there proves nothing about the gaps between samples. Two facts do:

1. *Bounded variation.* If f is the density of the tilted loss and V the total
   variation of min(f, c), then for every cap c
       |phi(x)| <= g(x) = 1 - (mass under the cap) + V / x.
2. *Multiples.* 1 - cos(n a) <= n^2 (1 - cos a), hence for every whole n
       1 - |phi(u)|^2 >= (1 - |phi(n u)|^2) / n^2.
   Taking the least n with n u >= x gives, for every x,
       1 - |phi(u)|^2 >= (1 - g(x)^2) u^2 / (x + u)^2,
   which grows with u: so the bound at U holds beyond U too.

For a Gaussian shape that costs a factor 1.6 in U; nothing is assumed. The density is
f = p / r'(y); log f has few critical points (a line meets a sigmoid at most three
times) and a bounded second derivative, which bounds what a grid can miss.

Source: the multiples inequality is classical, e.g. Feller vol. II, XV.1, problem 7.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour.tilt import log_kept, log_ratio

if TYPE_CHECKING:
    from privplan.contour.arrays import Reals
    from privplan.contour.tilt import TiltedStep


_POINTS = 320
_CAPS = 2.0 ** -np.arange(0.0, 34.0)
_RATIOS = 2.0 ** np.arange(0.0, 40.0, 0.5)
_SQRT_2PI = math.sqrt(2 * math.pi)


class Decay:
    """Bounds on |phi(u)| of one tilted step, for all frequencies from u on."""

    __slots__ = ("_excess", "_floor", "_variation", "_x")

    def __init__(self, tilted: TiltedStep) -> None:
        density, rise, blur = _density(tilted)
        caps = float(density.max()) * math.exp(blur) * _CAPS
        capped = np.minimum(density, caps[:, None])
        ends = capped[:, 0] + capped[:, -1]
        variation = np.abs(np.diff(capped, axis=1)).sum(axis=1) + ends
        # A few extrema may lie between grid points, each off by at most the blur.
        self._variation = variation + 6 * math.expm1(blur) * caps
        under = np.minimum(capped[:, 1:], capped[:, :-1]) @ rise
        self._excess = np.maximum(1 - under * math.exp(-blur), 1e-15)
        self._x = float(self._variation.min()) * _RATIOS
        self._floor = 1 - self._near(self._x) ** 2

    def _near(self, x: Reals) -> Reals:
        bound = (self._excess[:, None] + self._variation[:, None] / x).min(axis=0)
        return np.asarray(np.minimum(bound, 1.0))

    def log_beyond(self, u: Reals) -> Reals:
        """Return a bound on log |phi(v)| that holds for all v >= u, for each u."""
        share = u[:, None] / (self._x + u[:, None])
        lost = (self._floor * share * share).max(axis=1)
        found: Reals = np.minimum(np.log(self._near(u)), 0.5 * np.log1p(-lost))
        return found


def _density(tilted: TiltedStep) -> tuple[Reals, Reals, float]:
    """Return the density of the loss on a grid, the loss steps, and the log blur."""
    step = tilted.step
    capped = step.cap < math.inf
    points = max(_POINTS, tilted.y.size) if capped else _POINTS
    y = np.linspace(tilted.y[0], tilted.y[-1], points)
    ratio = log_ratio(y, step)
    log_weight = tilted.power * ratio - 0.5 * y * y - tilted.log_mgf
    if capped:
        log_weight += log_kept(y, step)
    w = (y - 0.5 / step.s) / step.s
    log_slope = w + math.log(step.q / step.s) - ratio
    density = np.exp(log_weight - log_slope) / _SQRT_2PI
    gap = float(y[1] - y[0])
    # A capped density is nothing where the cap has taken e^-33 of it.
    bend = 1 + (abs(tilted.power) + 1) / (4 * step.s**2) + 33.0 / step.soft**2
    return density, np.diff(ratio), bend * gap * gap / 8
