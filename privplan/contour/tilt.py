"""One step of a sampled Gaussian, tilted: the quadrature everything else stands on.

With y the output in units of the noise, w = (y - 1/(2s)) / s and
r(y) = log(1 - q + q e^w), the loss is r when a record is removed and -r when one is
added, and in both directions

    M(z) = E[exp(z L)] = integral of N(y) exp(a r(y)) dy,   a = z + 1  or  a = -z,

with N the standard normal density. The integrand is analytic in |Im y| < pi s, so
equidistant nodes converge geometrically (`strip.py` bounds the error). The *tilted*
loss at a real t > 0 has weights p proportional to N(y) exp(a r(y)) at these nodes.

Rounding matters: M is raised to the power n, perhaps a million. So M - 1 is summed
directly where it is small, the loss is centred, and the tilted characteristic
function is computed as phi(u) - 1, with a small relative error.

Source: Trefethen & Weideman 2014, The exponentially convergent trapezoidal rule,
SIAM Review 56(3), section 5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour.loss import Direction
from privplan.errors import CannotCertifyError

if TYPE_CHECKING:
    from privplan.contour.arrays import Complex, Reals
    from privplan.contour.loss import Sampled


ROUNDING = float(np.finfo(np.float64).eps)
_REACH = 9.2  # standard normal mass beyond it: 4e-20
_DUST = 1e-20  # weights below it, relative to the largest, are left out
_MOST_NODES = 60_000
_MOST_PRODUCTS = 5_000_000
_SQRT_2PI = math.sqrt(2 * math.pi)


def log_ratio(y: Reals, step: Sampled) -> Reals:
    """Return r(y) = log(1 - q + q e^w), relatively accurate even for tiny q."""
    w = (y - 0.5 / step.s) / step.s
    big = 300.0  # e^300 is finite, and q e^300 dwarfs 1
    ratio: Reals = np.log1p(step.q * np.expm1(np.minimum(w, big)))
    if w[-1] > big:
        ratio = ratio + np.maximum(w - big, 0.0)
    return ratio


def first_spacing(step: Sampled) -> float:
    """Return a node spacing that is fine enough for the real axis."""
    return min(0.5, 0.33 * step.s, 0.25 * step.soft)


def log_kept(y: Reals, step: Sampled) -> Reals:
    """Return log of the share of an output that the cap leaves: -e^((y-cap)/soft)."""
    return np.asarray(-np.exp(np.minimum((y - step.cap) / step.soft, 60.0)))


def span(step: Sampled, direction: Direction, t: float) -> tuple[float, float]:
    """Return a range of y outside which the tilted weight is below 1e-18."""
    if direction is Direction.REMOVE:
        top = (t + 1) / step.s + _REACH
        if step.cap < math.inf:
            top = min(top, step.cap + step.soft * math.log(100 + 2 * t * step.cap))
        return -_REACH, top
    return -t / step.s - _REACH, _REACH


class TiltedStep:
    """The tilted loss of one step at a real t.

    Attributes:
        step, direction, t: What is tilted, and by how much.
        power: The exponent a on the real axis: t + 1 or -t.
        spacing: Distance of the nodes, in y.
        y: Nodes that carry weight.
        loss: Loss at the nodes minus `mean`.
        weight: p at the nodes; sums to 1.
        log_mgf: log M(t), with absolute error at most `log_mgf_error`.
        mean, variance, mean_abs: Moments of the tilted loss; the last about the mean.
        grain: Rounding units in one weight.
        outside: Bound on the weight that no node carries.
    """

    __slots__ = (
        "direction",
        "grain",
        "log_mgf",
        "log_mgf_error",
        "loss",
        "mean",
        "mean_abs",
        "outside",
        "power",
        "spacing",
        "step",
        "t",
        "variance",
        "weight",
        "y",
    )

    def __init__(
        self, step: Sampled, direction: Direction, t: float, spacing: float
    ) -> None:
        self.step, self.direction, self.t, self.spacing = step, direction, t, spacing
        remove = direction is Direction.REMOVE
        self.power = t + 1 if remove else -t
        low, high = span(step, direction, t)
        count = math.ceil((high - low) / spacing) + 1
        if not count <= _MOST_NODES:
            raise too_hard(f"one step needs {count:.3g} quadrature nodes")
        y = low + spacing * np.arange(count)
        ratio = log_ratio(y, step)
        exponent = self.power * ratio
        square = 0.5 * y * y
        total = exponent - square
        kept = log_kept(y, step) if step.cap < math.inf else None
        if kept is not None:
            total += kept
        peak = int(total.argmax())
        top = float(total[peak])
        weight = np.exp(total - top)
        mass = float(weight.sum())
        self.grain = 8.0 + abs(float(exponent[peak])) + float(square[peak])
        self._set_log_mgf(top, mass, exponent, square, kept)
        keep = np.flatnonzero(weight > _DUST)
        part = slice(int(keep[0]), int(keep[-1]) + 1)
        weight = weight[part] / mass
        # Beyond the range the weight falls by exp(-reach * spacing) or more a node.
        edges = float(weight[0] + weight[-1])
        self.outside = edges / -math.expm1(-_REACH * spacing) + count * _DUST
        loss = ratio[part] if remove else -ratio[part]
        self.mean = float(weight @ loss)
        self.loss = loss - self.mean
        self.variance = float(weight @ (self.loss * self.loss))
        self.mean_abs = float(weight @ np.abs(self.loss))
        self.y, self.weight = y[part], weight

    def _set_log_mgf(
        self,
        top: float,
        mass: float,
        exponent: Reals,
        square: Reals,
        kept: Reals | None,
    ) -> None:
        unit = self.spacing / _SQRT_2PI
        self.log_mgf = top + math.log(mass * unit)
        self.log_mgf_error = ROUNDING * (self.grain + 4 * abs(top) + 4)
        if abs(self.log_mgf) < 0.3 and float(exponent.max()) < 700:
            # Near 1, sum M - 1 itself, over the full range so that N sums to 1.
            excess = np.expm1(exponent)
            if kept is not None:
                excess = excess * np.exp(kept) + np.expm1(kept)
            excess *= np.exp(-square) * unit
            above = self._above(math.sqrt(2 * float(square[-1]))) * unit
            self.log_mgf = math.log1p(float(excess.sum()) - above)
            size = float(np.abs(excess).sum()) + above
            self.log_mgf_error = ROUNDING * size * (2 * self.grain + 4)

    def _above(self, last: float) -> float:
        """Return the sum of N over the nodes that a cap leaves out entirely."""
        if self.step.cap == math.inf:
            return 0.0
        y = np.arange(last + self.spacing, max(last, _REACH) + 1, self.spacing)
        return float(np.exp(-0.5 * y * y).sum())

    def minus_one(self, eta: float, count: int, weight: Reals | None = None) -> Complex:
        """Return phi(k eta) - 1 of the centred tilted loss, for k = 0 .. count-1.

        exp(i k eta L) factors over k = a B + b, so 2 sqrt(count) rows of exponentials
        and one matrix product do; each factor is kept minus one, to keep digits.
        With other weights, return the sum of weight (exp(i k eta L) - 1).
        """
        weight = self.weight if weight is None else weight
        inner = max(1, math.isqrt(count))
        outer = -(-count // inner)
        if outer * weight.size > _MOST_PRODUCTS:
            raise too_hard(f"{count:,} nodes of {weight.size:,} points take too much")
        half = self.loss * (0.5 * eta)
        fine = _expm1i(np.arange(inner)[:, None] * half)
        coarse = _expm1i((np.arange(outer) * inner)[:, None] * half) * weight
        grid = coarse @ fine.T
        grid += coarse.sum(axis=1)[:, None]
        grid += fine @ weight
        return grid.reshape(-1)[:count]


def _expm1i(half: Reals) -> Complex:
    """Return exp(2 i x) - 1 = 2 i sin(x) exp(i x)."""
    sine = np.sin(half)
    out = np.empty(half.shape, np.complex128)
    np.multiply(sine, sine, out=out.real)
    out.real *= -2.0
    np.multiply(sine, np.cos(half), out=out.imag)
    out.imag *= 2.0
    return out


def too_hard(reason: str) -> CannotCertifyError:
    """Return the error for a composition that the contour declines."""
    return CannotCertifyError(
        f"the contour cannot bound its error here: {reason}",
        hint="use an accountant on a grid, such as dp-accounting's",
    )


def log_mgf_many(step: Sampled, direction: Direction, ts: Reals) -> Reals:
    """Return log M(t) of one step for many real t, not counting their errors."""
    low, high = span(step, direction, float(ts.max()))
    spacing = first_spacing(step)
    if not (high - low) / spacing <= _MOST_NODES:
        raise too_hard(f"one step needs {(high - low) / spacing:.3g} nodes")
    y = np.arange(low, high + spacing, spacing)
    power = ts + 1 if direction is Direction.REMOVE else -ts
    bell = -0.5 * y * y
    if step.cap < math.inf:
        bell += log_kept(y, step)
    total = power[:, None] * log_ratio(y, step) + bell
    top = total.max(axis=1)
    mass = np.exp(total - top[:, None]).sum(axis=1)
    found: Reals = top + np.log(mass * (spacing / _SQRT_2PI))
    return found
