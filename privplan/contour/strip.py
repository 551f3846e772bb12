"""How wrong the quadrature over y can be: Trefethen and Weideman's strip bound.

If F is analytic in |Im y| <= a, then the infinite trapezoidal sum with spacing h
differs from its integral by at most

    (N(a) + N(-a)) / (exp(2 pi a / h) - 1),   N(b) = integral of |F(x + i b)| dx.

Here F(y) = N(y) exp((a + i u) r(y)), so |F| involves |1 - q + q e^w| and its argument;
a larger frequency u needs a finer grid. The bound holds for every strip a < pi s,
and the best of a few is taken.

Source: Trefethen & Weideman 2014, SIAM Review 56(3), theorem 5.1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour.tilt import log_kept

if TYPE_CHECKING:
    from privplan.contour.tilt import TiltedStep

_SHARES = np.array([0.1, 0.2, 0.33, 0.5, 0.7, 0.88])


def strip_error(
    tilted: TiltedStep,
    highest: float,
    log_wanted: float,
    *,
    ramp_width: float = math.inf,
) -> tuple[float, float]:
    """Bound the quadrature error of phi(u) for all |u| <= highest.

    Args:
        tilted: The quadrature.
        highest: Largest frequency.
        log_wanted: Logarithm of the error that would do.
        ramp_width: Width of a normal cdf that multiplies the integrand, if any; its
            size at height a is at most 1 + b exp(b^2 / 2), b = a / width.

    Returns:
        The logarithm of the bound, relative to M(t), and the spacing that would do.
    """
    step, h = tilted.step, tilted.spacing
    width = min(math.pi * step.s * 0.95, 2 * math.pi / h, 1.5 * step.soft)
    strip = (_SHARES * width)[:, None]
    angle = strip / step.s
    w = np.minimum((tilted.y - 0.5 / step.s) / step.s, 300.0)
    jump = step.q * np.exp(w)
    real = (1 - step.q) + jump * np.cos(angle)
    imag = jump * np.sin(angle)
    at_axis = np.log1p(step.q * np.expm1(w))
    growth = 0.5 * np.log(real * real + imag * imag) - at_axis
    exponent = tilted.power * growth + highest * np.arctan2(imag, real)
    if step.cap < math.inf:
        exponent -= log_kept(tilted.y, step) * (1 - np.cos(strip / step.soft))
    top = exponent.max(axis=1)
    line = np.exp(exponent - top[:, None]) @ tilted.weight
    height = _SHARES * width
    steep = height / ramp_width
    # N(a) <= the half that grows with u; 4 covers both halves and this quadrature.
    size = top + np.log(line) + 0.5 * height**2 + math.log(4.0)
    size += np.logaddexp(0.0, np.log(steep + 1e-300) + 0.5 * steep**2)
    turns = 2 * math.pi * height
    log_bound = float((size - turns / h).min()) + 1e-9
    fits = float((turns / np.maximum(size - log_wanted, 1.0)).max())
    return log_bound, fits
