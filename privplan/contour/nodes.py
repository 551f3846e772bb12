"""The contour sum: delta(eps) with every error term bounded.

    delta(eps) = 1/(2 pi i) integral over Re z = t of M(z) e^(-z eps) / (z (z+1)) dz

summed over nodes z = t + i k eta, k = 0 .. K-1. With M(z) = M(t) e^(i u m) Phi(u),

    sum = M(t) e^(-t eps) (eta/pi) Re[ G_0 / 2 + G_1 + ... + G_(K-1) ],
    G_k = Phi(u) e^(i u (m - eps)) / (z (z+1)),   u = k eta.

What separates the sum from delta, each bounded here or in its own file:

    period     the sum has period 2 pi / eta                     `period.py`
    tail       nodes from K on are left out                      `decay.py`
    strip      M is itself a quadrature                          `strip.py`
    rounding   float64, raised to the power of the step count    first order, doubled

The bounds are evaluated in float64 with safety factors, not in interval arithmetic.
Once built, the nodes serve every epsilon nearby: only a phase changes.

Source: Alghamdi, Asoodeh, Calmon, Gomez, Kosut, Sankar 2023, The saddle-point method
in differential privacy, ICML, equation 23 (the integral; the error bounds are ours).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour import pure
from privplan.contour.decay import Decay
from privplan.contour.period import choose_period
from privplan.contour.strip import strip_error
from privplan.contour.tilt import ROUNDING, TiltedStep, too_hard

if TYPE_CHECKING:
    from privplan.contour.arrays import Complex, Reals
    from privplan.contour.cumulants import Cumulants


_FREQUENCIES = 1.09 ** np.arange(0.0, 150.0)


class Nodes:
    """Nodes on one contour, ready for any epsilon near the one they were made for.

    Attributes:
        count: How many nodes.
        points: Quadrature points per node, over all phases.
    """

    __slots__ = (
        "_base",
        "_error",
        "_log_scale",
        "_period",
        "_scale_error",
        "_shift",
        "_tail",
        "_u",
        "_z",
        "count",
        "points",
    )

    def __init__(
        self,
        here: Cumulants,
        epsilon: float,
        *,
        log_delta: float,
        tolerance: float,
        most: int,
    ) -> None:
        """Place the nodes.

        Args:
            here: The tilt; at the saddle point of `epsilon`, or near it.
            epsilon: Where the nodes will be used.
            log_delta: About log delta(epsilon), to size the errors against.
            tolerance: Wanted error, relative to delta.
            most: Most nodes allowed.

        Raises:
            CannotCertifyError: More nodes would be needed.
        """
        self._period = choose_period(here, epsilon, log_delta, tolerance)
        eta = 2 * math.pi / self._period.width
        reach, log_tail = self._reach(here, epsilon, log_delta + math.log(tolerance))
        self.count = count = max(8, math.ceil(min(reach / eta, 1e12)) + 1)
        if count > most:
            raise too_hard(f"its contour needs {count:.3g} nodes")
        self._u = eta * np.arange(count)
        self._z = here.t + 1j * self._u
        self._tail = log_tail
        log_wanted = math.log(tolerance) - math.log(1e3 * (here.loss.steps() + 1))
        self._sum_phases(here, log_wanted)
        weight = np.full(count, eta / math.pi)
        weight[0] *= 0.5
        self._base *= weight / (self._z * (self._z + 1))
        self._error *= weight / np.abs(self._z * (self._z + 1))

    def _reach(
        self, here: Cumulants, epsilon: float, log_wanted: float
    ) -> tuple[float, float]:
        """Return a frequency U and log of the tail beyond it, without the scale."""
        u = _FREQUENCIES * (1.5 / math.sqrt(here.v))
        tail = (-0.5 * here.loss.gaussian) * u * u - np.log(math.pi * u)
        for tilted in here.steps:
            tail += tilted.step.n * Decay(tilted).log_beyond(u)
        fits = np.flatnonzero(tail <= log_wanted - (here.k - here.t * epsilon))
        if not fits.size:
            raise too_hard("its characteristic function decays too slowly")
        return float(u[fits[0]]), float(tail[fits[0]])

    def _sum_phases(self, here: Cumulants, log_wanted: float) -> None:
        """Set the product of all phases at every node, and its error."""
        u = self._u
        log_phi = self._start(here)
        relative, log_most = np.zeros((2, u.size))
        for first in here.steps:
            tilted, slip = fine_enough(first, float(u[-1]), log_wanted)
            n = tilted.step.n
            size, log_one = log1p_parts(tilted.minus_one(float(u[1]), u.size))
            log_phi += n * log_one
            self._add_step(tilted, slip)
            absolute = absolute_error(tilted, slip, u)
            with np.errstate(divide="ignore"):
                relative += n * absolute / size
                log_most += n * np.log(size + absolute)
        relative += self._add_pure(here, log_phi)
        self._base = np.exp(log_phi)
        self._error = sum_error(np.abs(self._base), relative, log_most)
        self._scale_error += ROUNDING * (16 + 4 * abs(self._log_scale))

    def _start(self, here: Cumulants) -> Complex:
        """Begin the sums over phases with the pooled Gaussian; return log Phi."""
        variance, t = here.loss.gaussian, here.t
        self._log_scale = 0.5 * variance * t * (t + 1)
        self._shift = variance * (t + 0.5)
        self._scale_error = 0.0
        self.points = 0
        return np.asarray((-0.5 * variance) * self._u * self._u + 0j)

    def _add_step(self, tilted: TiltedStep, slip: float) -> None:
        n = tilted.step.n
        self._log_scale += n * tilted.log_mgf
        self._shift += n * tilted.mean
        self._scale_error += n * (slip + tilted.log_mgf_error)
        self.points += tilted.y.size

    def _add_pure(self, here: Cumulants, *log_phis: Complex) -> Reals:
        """Add the pure queries to each log Phi; return their relative error."""
        relative = np.zeros(self._u.size)
        for query in here.loss.pure:
            at_axis = float(pure.log_mgf(query, self._z[:1])[0].real)
            change = query.n * (pure.log_mgf(query, self._z) - at_axis)
            for log_phi in log_phis:
                np.add(log_phi, change, out=log_phi)
            self._log_scale += query.n * at_axis
            relative += ROUNDING * 8 * query.n * (1 + np.abs(self._z) * query.epsilon)
        return relative

    def value(self, epsilon: float) -> tuple[float, float]:
        """Return the sum, which estimates delta(eps), and its derivative by eps."""
        terms = self._base * np.exp((1j * (self._shift - epsilon)) * self._u)
        scale = math.exp(self._log_scale - self._z[0].real * epsilon)
        slope = float((terms * self._z).real.sum())
        return scale * float(terms.real.sum()), -scale * slope

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps); valid at every eps, tight near the first one."""
        t = float(self._z[0].real)
        total, _ = self.value(epsilon)
        log_size = self._log_scale - t * epsilon
        turn = ROUNDING * 4 * self._u * (abs(self._shift) + abs(epsilon))
        rounding = float(self._error.sum() + turn @ np.abs(self._base))
        scale_error = self._scale_error + ROUNDING * 4 * (1 + abs(t * epsilon))
        slack = math.exp(log_size) * rounding + abs(total) * 2 * scale_error
        slack += math.exp(log_size + self._tail)
        low = total - slack - self._period.excess(epsilon)
        high = total + slack
        if not (low <= high and high >= 0):
            raise too_hard("its sum overflows")
        return min(max(low, 0.0), 1.0), min(high, 1.0)


def fine_enough(
    tilted: TiltedStep,
    highest: float,
    log_wanted: float,
    *,
    ramp_width: float = math.inf,
) -> tuple[TiltedStep, float]:
    """Return a quadrature that resolves the highest frequency, and its error."""
    for _ in range(6):
        log_bound, fits = strip_error(
            tilted, highest, log_wanted, ramp_width=ramp_width
        )
        if log_bound <= log_wanted:
            return tilted, math.exp(log_bound) + tilted.outside
        spacing = min(0.95 * fits, 0.9 * tilted.spacing)
        tilted = TiltedStep(tilted.step, tilted.direction, tilted.t, spacing)
    raise too_hard("its quadrature does not converge")


def log1p_parts(below: Complex) -> tuple[Reals, Complex]:
    """Return |1 + x| and log(1 + x), accurate for small x; log 0 is -1000."""
    a, b = below.real, below.imag
    square = np.maximum(a * (2 + a) + b * b, -1.0)
    out = np.empty(below.shape, np.complex128)
    with np.errstate(divide="ignore"):
        out.real = np.maximum(0.5 * np.log1p(square), -1000.0)
    out.imag = np.arctan2(b, 1 + a)
    return np.sqrt(1 + square), out


def absolute_error(tilted: TiltedStep, slip: float, u: Reals) -> Reals:
    """Return the error of one step's phi at each frequency."""
    swing = np.minimum(u * tilted.mean_abs, 2.0)
    grain = tilted.grain + math.sqrt(tilted.y.size)
    return np.asarray(slip + ROUNDING * grain * swing)


def sum_error(size: Reals, relative: Reals, log_most: Reals) -> Reals:
    """Return the error of the whole product at each frequency.

    Where phi is well above its own error, the relative errors add up (doubled: they
    are first order). Where it is not, a relative error means nothing; there the product
    is bounded by the product of the largest that each factor can be.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        swollen = relative + ROUNDING * (24 + 2 * np.abs(np.log(size)))
        by_ratio = np.expm1(np.minimum(2 * swollen, 50.0)) * size
    by_size = size + np.exp(np.minimum(log_most, 0.0))
    return np.asarray(np.fmin(by_ratio, by_size))
