"""Few steps, rare participation, pure queries: losses on a grid, bounded on both sides.

Where the characteristic function decays slowly the contour has no good end, so losses
are put on a grid of width h instead, twice, and composed by a tilted transform:

    upper   each cell's mass is divided between the two ends of the cell so that its
            probabilities under P and under Q stay the same. 1 - e^eps dQ/dP is convex
            in dQ/dP, so this can only raise delta. Far outputs are divided between the
            last point and infinity.
    lower   each cell is merged, which is post-processing and can only lower delta, and
            the merged loss is rounded down to a grid b + k h. Far outputs A, in any
            step, add P(A) - e^eps Q(A).

The upper errs by order h^2. The lower does, too, if one b suits most of the mass.

Tilting by e^(t L) keeps small deltas above the rounding noise, which is bounded in the
2-norm: a transform of N numbers errs by at most 8 u log2(N) of its norm, u = 2^-53. A
grid of N points wraps around, with the same two bounds as the contour's period.

Source: connecting the dots, Doroshenko et al. 2022, arXiv:2207.04380; rounding of the
fast Fourier transform: Higham 2002, Accuracy and stability, theorem 24.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour.cells import ACCURACY, cells_of
from privplan.contour.cumulants import log_touch
from privplan.contour.nodes import log1p_parts
from privplan.contour.tilt import ROUNDING, too_hard

if TYPE_CHECKING:
    from privplan.contour.arrays import Complex, Reals
    from privplan.contour.cells import Cells, Whole
    from privplan.contour.loss import Loss

_MASS = 1e-12  # relative error of one cell's mass, and room for summing many
_BINS = 1024
_TILTED = 60.0  # beyond e^-60 a weight adds nothing


@dataclass(frozen=True, slots=True)
class Grid:
    """One kind of mechanism on a grid: n times, masses at h k + offset."""

    n: int
    k: Whole
    p: Reals
    offset: float


def upper(cells: Cells, h: float) -> tuple[Grid, float]:
    """Divide each cell's mass between its ends; return also the mass at infinity."""
    slack = ACCURACY * (np.abs(cells.m) + cells.blur) / h
    left = np.expm1((cells.k + 1) * h - cells.m) / math.expm1(h) - slack
    left = np.clip(left, 0.0, 1.0)
    low = int(cells.k.min())
    p = np.zeros(int(cells.k.max()) - low + 2)
    at = cells.k - low
    p += np.bincount(at, cells.p * left, p.size)
    p += np.bincount(at + 1, cells.p * (1 - left), p.size)
    # Far outputs: the last point takes what their probability under Q pays for.
    last = h * (low + p.size - 1)
    paid = min(cells.far_q * math.exp(min(last, 700.0)) * (1 - _MASS), cells.far_p)
    p[-1] += paid
    lost = cells.far_p - paid
    points = low + np.arange(p.size)
    return Grid(cells.n, points, p * (1 + _MASS), 0.0), lost * (1 + _MASS)


def lower(cells: Cells, h: float, t: float) -> Grid:
    """Merge each cell and round its loss down to a grid that suits most of the mass."""
    m = cells.m - ACCURACY * (np.abs(cells.m) + cells.blur)
    # A first cell that reaches far down is left out: it would need a long grid.
    inside = m >= (int(cells.k.min()) - 1) * h
    m, chance = m[inside], cells.p[inside]
    rest = np.mod(m, h)
    weight = chance * np.exp(t * (m - m.max()))
    slot = np.minimum((rest * (_BINS / h)).astype(np.int64), _BINS - 1)
    masses = np.bincount(slot, weight, _BINS)
    # Cost of an offset: how far, on average, losses are above the grid.
    before = np.concatenate([[0.0], np.cumsum(masses)[:-1]])
    slots = np.arange(_BINS)
    cost = before * _BINS - slots * masses.sum()
    used = np.flatnonzero(masses > 0)
    best = int(used[cost[used].argmin()])
    offset = float(rest[slot == best].min())
    k = np.floor((m - offset) / h).astype(np.int64)
    # Rounding of this division must not round a loss up.
    k -= (k * h + offset > m).astype(np.int64)
    low = int(k.min())
    p = np.bincount(k - low, chance)
    return Grid(cells.n, low + np.arange(p.size), p * (1 - _MASS), offset)


def log_mgf(grids: list[Grid], h: float, ts: Reals) -> Reals:
    """Return log E[exp(t L)] of a composition on a grid, for each t."""
    total = np.zeros(ts.size)
    for grid in grids:
        for i, t in enumerate(ts):
            exponent = t * (h * grid.k + grid.offset)
            top = float(exponent.max())
            mass = float(np.exp(exponent - top) @ grid.p)
            total[i] += grid.n * (top + math.log(mass))
    return total


class Composed:
    """The tilted n-fold convolution of a grid, and its error.

    Attributes:
        h, t, width: Of the grid; the tilt; the period N h.
        log_mgf: log E[exp(t L)].
        mass: Tilted masses, from loss `first * h + offset` on.
        error: Bound on the 2-norm of their error.
    """

    def __init__(self, grids: list[Grid], h: float, t: float, size: int) -> None:
        self.h, self.t, self.width = h, t, h * size
        self.log_mgf, self.offset = 0.0, 0.0
        log_phi = np.zeros(size // 2 + 1, np.complex128)
        turned = np.zeros(size // 2 + 1)
        self.shift, scale_error, slip = 0, 0.0, 0.0
        for grid in grids:
            below, error, top, log_one = _spectrum(grid, h, t, size)
            log_part = grid.n * log1p_parts(below)[1]
            log_phi += log_part
            turned += np.abs(log_part)
            slip += grid.n * error
            self.shift += grid.n * top
            self.offset += grid.n * grid.offset
            self.log_mgf += grid.n * log_one
            # The exponent t x is rounded, and every mass by its own.
            size_of = abs(log_one) + abs(t) * h * float(np.abs(grid.k[[0, -1]]).max())
            scale_error += grid.n * ROUNDING * (16 + 4 * size_of)
        product = np.exp(log_phi)
        rounding = np.abs(product) * np.expm1(ROUNDING * (48 + 16 * turned))
        self.mass = np.fft.irfft(product, size)
        # No factor exceeds 1, so n of them multiply an error by n, and little more.
        self.error = slip * math.exp(min(slip * math.sqrt(size), 700.0))
        self.error += math.sqrt(2.0 * float(rounding @ rounding) / size)
        self.error += _transform_error(size) * float(np.linalg.norm(self.mass))
        self.scale_error = 2 * scale_error

    def sums(self, epsilon: float) -> tuple[float, float, float]:
        """Return delta(eps) on the grid, its slope by eps, and a bound on its error."""
        h, t, size = self.h, self.t, self.mass.size
        first = math.floor((epsilon - self.offset) / h) + 1
        count = min(size, math.ceil(_TILTED / (t * h)) + 2)
        above = (first + np.arange(count)) * h + (self.offset - epsilon)
        above = np.maximum(above, 0.0)
        start = (first - self.shift) % size
        part = self.mass[start : start + count]
        if part.size < count:
            part = np.concatenate([part, self.mass[: count - part.size]])
        fade = np.exp(-t * above)
        kernel = -np.expm1(-above) * fade
        log_size = self.log_mgf - t * epsilon
        scale = math.exp(min(log_size, 700.0))
        value = scale * float(kernel @ part)
        slope = scale * float((kernel - fade) @ part)
        error = scale * float(np.linalg.norm(kernel)) * self.error
        # What is beyond the kernel's end, and beyond the period.
        error += scale * (math.exp(-_TILTED) + math.exp(-t * self.width))
        error += abs(value) * (self.scale_error + 1e-14 * (1 + abs(t * epsilon)))
        return value, slope, error


def _spectrum(
    grid: Grid, h: float, t: float, size: int
) -> tuple[Complex, float, int, float]:
    """Return the tilted transform minus one, its error, its centre, and log M(t).

    The error is in the 2-norm, as masses, not as frequencies.

    The heaviest point is put at 0, where its transform is constant: what is left is
    small when participation is rare, and so is its rounding.
    """
    exponent = t * (h * grid.k + grid.offset)
    top = float(exponent.max())
    weight = np.exp(exponent - top) * grid.p
    total = float(weight.sum())
    weight /= total
    peak = int(weight.argmax())
    around = np.zeros(size)
    at = (np.arange(weight.size) - peak) % size
    rest = weight.copy()
    rest[peak] = 0.0
    around += np.bincount(at, rest, size)
    # The transform minus one: the peak and the rest sum to one.
    below = np.fft.rfft(around) - float(rest.sum())
    norm = float(np.linalg.norm(around))
    # A wrong sum shifts every frequency alike, as if the peak weighed more.
    error = _transform_error(size) * norm + 32 * ROUNDING * float(rest.sum())
    return below, error, int(grid.k[peak]), top + math.log(total)


def _transform_error(size: int) -> float:
    """Return how much a transform adds to the 2-norm of the error, per 2-norm."""
    return 4 * ROUNDING * math.log2(size)


@dataclass(frozen=True, slots=True)
class Shape:
    """How to lay a grid: tilt, period, level of far outputs, and a second tilt."""

    t: float
    width: float
    level: float
    other_t: float


class Lattice:
    """A curve of delta over epsilon, from an upper and a lower grid."""

    def __init__(self, loss: Loss, shape: Shape, size: int) -> None:
        self._h, self._shape = shape.width / size, shape
        cells = cells_of(loss, self._h, shape.level)
        both = [upper(one, self._h) for one in cells]
        grids = [grid for grid, _ in both]
        counts = [one.n for one in cells]
        self._infinite = _any(counts, [lost for _, lost in both])
        self._far_p = _any(counts, [one.far_p for one in cells])
        self._far_q = _any(counts, [one.far_q for one in cells])
        self._blur = ACCURACY * math.fsum(one.n * one.blur for one in cells)
        self._upper = Composed(grids, self._h, shape.t, size)
        merged = [lower(one, self._h, shape.t) for one in cells]
        self._lower = Composed(merged, self._h, shape.t, size)
        other = np.array([shape.other_t])
        self._log_right = float(log_mgf(grids, self._h, other)[0])
        self._log_right += log_touch(shape.other_t)

    def value(self, epsilon: float) -> tuple[float, float]:
        """Return an estimate of delta(eps), and of its derivative."""
        value, slope, _ = self._upper.sums(epsilon)
        return value + self._infinite, slope

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps); valid at every eps."""
        # Losses are known to `ACCURACY`: so much less may be meant by eps.
        least = epsilon - ACCURACY * epsilon - self._blur
        value, _, error = self._upper.sums(least)
        high = self._infinite * (1 + _MASS) + value + error
        value, _, error = self._lower.sums(epsilon)
        far = self._far_p * (1 - _MASS)
        far -= math.exp(min(epsilon, 700.0)) * self._far_q * (1 + _MASS)
        low = value - error - self._excess(epsilon) + max(far, 0.0)
        if not (low <= high and high >= 0):
            raise too_hard("its grid overflows")
        return min(max(low, 0.0), 1.0), min(high, 1.0)

    def _excess(self, epsilon: float) -> float:
        """Return a bound on what wraps around into the lower sum."""
        shape = self._shape
        left = 1 / math.expm1(min(shape.t * shape.width, 700.0))
        gap = min((shape.other_t - shape.t) * shape.width, 700.0)
        size = self._log_right - shape.other_t * epsilon - gap
        return (left + math.exp(min(size, 700.0)) / -math.expm1(-gap)) * (1 + 1e-6)


def _any(counts: list[int], chances: list[float]) -> float:
    """Return the chance that something happens in any of the steps."""
    if max(chances) >= 1:
        return 1.0
    pairs = zip(counts, chances, strict=True)
    return -math.expm1(math.fsum(n * math.log1p(-p) for n, p in pairs))
