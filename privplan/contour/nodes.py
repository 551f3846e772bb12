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
    import numpy.typing as npt

    from privplan.contour.cumulants import Cumulants

    Reals = npt.NDArray[np.float64]
    Complex = npt.NDArray[np.complex128]

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
        reach, log_tail = _reach(here, epsilon, log_delta + math.log(tolerance))
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

    def _sum_phases(self, here: Cumulants, log_wanted: float) -> None:
        loss, t, u = here.loss, here.t, self._u
        log_phi = (-0.5 * loss.gaussian) * u * u + 0j
        self._log_scale = 0.5 * loss.gaussian * t * (t + 1)
        self._shift = loss.gaussian * (t + 0.5)
        self._scale_error = 0.0
        relative, log_most = np.zeros(u.size), np.zeros(u.size)
        self.points = 0
        for first in here.steps:
            tilted, slip = _fine_enough(first, float(u[-1]), log_wanted)
            n = tilted.step.n
            below = tilted.minus_one(float(u[1]), u.size)
            size, log_one = _log1p(below)
            log_phi += n * log_one
            self._log_scale += n * tilted.log_mgf
            self._shift += n * tilted.mean
            self._scale_error += n * (slip + tilted.log_mgf_error)
            absolute = _absolute_error(tilted, slip, u)
            with np.errstate(divide="ignore"):
                relative += n * absolute / size
                log_most += n * np.log(size + absolute)
            self.points += tilted.y.size
        for query in loss.pure:
            at_axis = pure.log_mgf(query, self._z[:1])[0].real
            log_phi += query.n * (pure.log_mgf(query, self._z) - at_axis)
            self._log_scale += query.n * float(at_axis)
            relative += ROUNDING * 8 * query.n * (1 + np.abs(self._z) * query.epsilon)
        self._base = np.exp(log_phi)
        self._scale_error += ROUNDING * (16 + 4 * abs(self._log_scale))
        self._error = _sum_error(np.abs(self._base), relative, log_most)

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
        return max(low, 0.0), min(total + slack, 1.0)


def _reach(here: Cumulants, epsilon: float, log_allowed: float) -> tuple[float, float]:
    """Return a frequency U and log of the tail beyond it, without the scale factor."""
    u = _FREQUENCIES * (1.5 / math.sqrt(here.v))
    tail = (-0.5 * here.loss.gaussian) * u * u - np.log(math.pi * u)
    for tilted in here.steps:
        tail += tilted.step.n * Decay(tilted).log_beyond(u)
    allowed = log_allowed - (here.k - here.t * epsilon)
    fits = np.flatnonzero(tail <= allowed)
    if not fits.size:
        raise too_hard("its characteristic function decays too slowly")
    return float(u[fits[0]]), float(tail[fits[0]])


def _fine_enough(
    tilted: TiltedStep, highest: float, log_wanted: float
) -> tuple[TiltedStep, float]:
    """Return a quadrature that resolves the highest frequency, and its error."""
    for _ in range(6):
        log_bound, fits = strip_error(tilted, highest, log_wanted)
        if log_bound <= log_wanted:
            return tilted, math.exp(log_bound) + tilted.outside
        spacing = min(0.95 * fits, 0.9 * tilted.spacing)
        tilted = TiltedStep(tilted.step, tilted.direction, tilted.t, spacing)
    raise too_hard("its quadrature does not converge")


def _log1p(below: Complex) -> tuple[Reals, Complex]:
    """Return |1 + x| and log(1 + x), accurate for small x; log 0 is -1000."""
    a, b = below.real, below.imag
    square = np.maximum(a * (2 + a) + b * b, -1.0)
    out = np.empty(below.shape, np.complex128)
    with np.errstate(divide="ignore"):
        out.real = np.maximum(0.5 * np.log1p(square), -1000.0)
    out.imag = np.arctan2(b, 1 + a)
    return np.sqrt(1 + square), out


def _absolute_error(tilted: TiltedStep, slip: float, u: Reals) -> Reals:
    """Return the error of one step's phi at each frequency."""
    swing = np.minimum(u * tilted.mean_abs, 2.0)
    grain = tilted.grain + math.sqrt(tilted.y.size)
    return np.asarray(slip + ROUNDING * grain * swing)


def _sum_error(size: Reals, relative: Reals, log_most: Reals) -> Reals:
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
