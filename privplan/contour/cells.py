"""One mechanism's privacy loss, cut into cells of width h: masses and merged losses.

A cell is the set of outputs whose loss is in [k h, (k+1) h]. Of each we keep p, its
probability under P, and its *merged* loss m = log p - log(its probability under Q),
which is what remains if all its outputs are released as one. Outputs with a loss above
a level are *far*: one cell without an upper end.

For the sampled Gaussian a cell is an interval of outputs y, so masses are differences
of normal distribution functions; narrow ones by the midpoint rule with two corrections.
Every p is right to a relative 1e-12, and every m to `ACCURACY` (|m| + blur); whoever
uses them allows for both.

Source: Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022, arXiv:2207.04380 (cells on a
grid of losses; merging is post-processing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from privplan.contour.loss import Direction, Pure, Sampled
from privplan.contour.tilt import too_hard

if TYPE_CHECKING:
    import numpy.typing as npt

    from privplan.contour.arrays import Reals
    from privplan.contour.loss import Loss

    Whole = npt.NDArray[np.int64]

ACCURACY = 1e-11
_REACH = 9.5  # in y: 2e-21 of the outputs are beyond it
_NARROW = 0.02
_MOST_CELLS = 4_000_000
_ROOT_2PI = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one kind of mechanism.

    Attributes:
        n: How often it occurs.
        k: Cell numbers: the losses in cell k are in [k h, (k+1) h], but for the first,
            in which are all that are below it, too.
        p: Probability under P; their sum and `far_p` may miss 1e-20.
        m: Merged losses.
        far_p, far_q: Probability of the far outputs, under P and Q.
        blur: What the error of m is relative to, besides |m|.
    """

    n: int
    k: Whole
    p: Reals
    m: Reals
    far_p: float
    far_q: float
    blur: float


def cells_of(loss: Loss, h: float, level: float) -> list[Cells]:
    """Cut every kind of mechanism of a composition into cells of width h.

    Args:
        loss: The composition.
        h: Width of a cell, in units of epsilon.
        level: Losses above it, of sampled and Gaussian steps, are far.

    Raises:
        CannotCertifyError: There would be too many cells.
    """
    steps = list(loss.sampled)
    if loss.gaussian:
        # At rate 1, mu = 1 / s.
        steps.append(Sampled(1.0, loss.gaussian**-0.5, 1))
    found = [_sampled(step, loss.direction, h, level) for step in steps]
    return found + [_pure(query, h) for query in loss.pure]


def _sampled(step: Sampled, direction: Direction, h: float, level: float) -> Cells:
    remove = direction is Direction.REMOVE
    ends = np.array([-_REACH, 1 / step.s + _REACH])
    least, most = np.sort(_ratio(ends, step) * (1 if remove else -1))
    low = math.floor(max(least, -2 * level) / h)
    high = math.ceil(min(most, level) / h)
    if not high - low <= _MOST_CELLS:
        raise too_hard(f"its losses need {high - low:.3g} cells")
    k = np.arange(low, high + 1)
    y = _output(h * k if remove else -h * k, step)
    # What is below the first cell is counted in it, at no less than its loss.
    y[0] = -math.inf if remove else math.inf
    a, b = (y[:-1], y[1:]) if remove else (y[1:], y[:-1])
    without, with_it = _normal(a, b), _normal(a - 1 / step.s, b - 1 / step.s)
    mixed = (1 - step.q) * without + step.q * with_it
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log1p(step.q * (with_it / without - 1))
    p, m = (mixed, ratio) if remove else (without, -ratio)
    last = float(y[-1])
    far = [
        float(special.ndtr(side * (last - shift)))
        for side in (-1 if remove else 1,)
        for shift in (0.0, 1 / step.s)
    ]
    far_mixed = (1 - step.q) * far[0] + step.q * far[1]
    far_p, far_q = (far_mixed, far[0]) if remove else (far[0], far_mixed)
    keep = p > 0
    if not np.all(np.isfinite(m[keep])):
        raise too_hard("its losses leave float64")
    blur = 8 * step.q * (1 + 1 / step.s + step.s**-2)
    return Cells(step.n, k[:-1][keep], p[keep], m[keep], far_p, far_q, blur)


def _ratio(y: Reals, step: Sampled) -> Reals:
    """Return log(1 - q + q e^w) at two outputs."""
    w = (y - 0.5 / step.s) / step.s
    rest = math.log1p(-step.q) if step.q < 1 else -math.inf
    return np.asarray(np.logaddexp(rest, math.log(step.q) + w))


def _output(ratio: Reals, step: Sampled) -> Reals:
    """Return the output y with a given log-ratio; -inf where there is none."""
    with np.errstate(all="ignore"):
        small = np.log1p(np.expm1(np.minimum(ratio, 30.0)) / step.q)
        big = ratio + np.log1p((step.q - 1) * np.exp(-ratio)) - math.log(step.q)
    w = np.where(ratio < 30.0, small, big)
    w = np.where(np.isnan(w), -math.inf, w)
    return np.asarray(step.s * w + 0.5 / step.s)


def _normal(a: Reals, b: Reals) -> Reals:
    """Return the standard normal probability of each [a, b], relatively accurate."""
    with np.errstate(all="ignore"):
        left = np.where(b > -a, -b, a)
        right = np.where(b > -a, -a, b)
        found = special.ndtr(right) - special.ndtr(left)
        middle, width = 0.5 * (a + b), b - a
        square, small = middle * middle, width * width
        narrow = width * (1 + np.abs(middle)) < _NARROW
        series = (square - 1) / 24 + small * (square * (square - 6) + 3) / 1920
        value = width * np.exp(-0.5 * square) / _ROOT_2PI * (1 + small * series)
    return np.asarray(np.where(narrow, value, found))


def _pure(query: Pure, h: float) -> Cells:
    e = query.epsilon
    if query.two_point:
        chance = 1 / (1 + math.exp(-e))
        p, m = np.array([1 - chance, chance]), np.array([-e, e])
        p[0] = 1 / (1 + math.exp(e))
    else:
        count = math.floor(e / h)
        if not count <= _MOST_CELLS // 2:
            raise too_hard(f"its losses need {2 * count:.3g} cells")
        inner = h * np.arange(-count, count + 1)
        edges = np.concatenate([[-e], inner, [e]])
        a, b = edges[:-1], edges[1:]
        # Density exp((l - e) / 2) / 4 under P, and under Q at -l.
        p = 0.5 * np.exp(0.5 * (a - e)) * np.expm1(0.5 * np.maximum(b - a, 0.0))
        p = np.concatenate([[0.5 * math.exp(-e)], p, [0.5]])
        m = np.concatenate([[-e], 0.5 * (a + b), [e]])
    k = np.floor(m / h).astype(np.int64)
    return Cells(query.n, k, p, m, 0.0, 0.0, 0.0)
