"""Where to lay a grid of losses, and how fine: roots and values by `lattice.py`.

A rough grid costs a few milliseconds. It is laid again, nearer, until its root is where
it was laid; then it is refined until both ends agree well enough.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour import capped, pure
from privplan.contour.cells import cells_of
from privplan.contour.cumulants import log_touch
from privplan.contour.lattice import Grid, Lattice, Shape, log_mgf, upper
from privplan.contour.roots import bracket_root, newton_root
from privplan.contour.tilt import too_hard

if TYPE_CHECKING:
    from privplan.contour.loss import Loss

SIZES = (2**13, 2**16, 2**19)
_LAYS = 12
_ROUGH = 2_000  # cells, to find a tilt
_DIGITS = 12.0  # log of what may wrap around, relative to delta
_SHIFTS = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 1.2, 2.0, 4.0])
_BEYOND = 2.5  # times epsilon: a loss above it is far
_ENOUGH = 2e-4


def epsilon_bracket(
    loss: Loss, delta: float, *, beyond: float = 0.0
) -> tuple[float, float]:
    """Bound the smallest eps >= 0 with delta(eps) <= delta, in one direction.

    Args:
        loss: The composition.
        delta: Between 0 and 1.
        beyond: An epsilon at most this need not be found more exactly.

    Raises:
        CannotCertifyError: No grid of the sizes allowed is good enough.
    """
    ceiling = loss.ceiling() * (1 + 1e-12)  # sums round
    epsilon = min(capped.epsilon_upper(loss, delta), ceiling)
    best = (_by_the_top_atom(loss, delta), epsilon)
    if best[1] - best[0] <= _ENOUGH * best[1]:
        return best
    sizes, near = list(SIZES), False
    for _ in range(_LAYS):
        shape = lay(loss, epsilon, math.log(delta))
        curve = Lattice(loss, shape, sizes[0])
        if curve.bracket(0.0)[1] <= delta:
            return 0.0, 0.0
        root = newton_root(curve.value, epsilon, delta, most=8.0 / shape.t)
        moved, epsilon = abs(root - epsilon), root
        if near or moved * shape.t < 1.0:
            near = True
            low, high = bracket_root(curve, delta, root)
            best = max(low, best[0]), min(high, best[1])
            sizes.pop(0)
        narrow = best[1] - best[0] <= _ENOUGH * best[1]
        if not sizes or narrow or best[1] <= beyond:
            return best
    raise too_hard("no grid is near enough")


def _by_the_top_atom(loss: Loss, delta: float) -> float:
    """Bound epsilon from below by the one outcome that loses most, if there is one.

    With p its probability, delta(eps) >= p (1 - e^(eps - loss)).
    """
    if loss.gaussian or loss.sampled:
        return 0.0
    p = math.exp(sum(query.n * pure.log_top(query) for query in loss.pure))
    if not delta < p * (1 - 1e-9):
        return 0.0
    return max(0.0, (loss.ceiling() + math.log1p(-delta / p)) * (1 - 1e-9))


def delta_bracket(loss: Loss, epsilon: float) -> tuple[float, float]:
    """Bound delta(eps) in one direction.

    Raises:
        CannotCertifyError: No grid of the sizes allowed is good enough.
    """
    log_delta, low, high = -30.0, 0.0, 1.0
    for size in (SIZES[0], *SIZES):
        curve = Lattice(loss, lay(loss, epsilon, log_delta), size)
        one_low, one_high = curve.bracket(epsilon)
        low, high = max(low, one_low), min(high, one_high)
        log_delta = math.log(max(high, 1e-290))
        if high - low <= _ENOUGH * high:
            break
    return low, high


def log_delta_estimate(loss: Loss, epsilon: float) -> float:
    """Estimate log delta(eps) in one direction, without bounds."""
    log_delta = -30.0
    for _ in range(2):
        curve = Lattice(loss, lay(loss, epsilon, log_delta), SIZES[0])
        value, _ = curve.value(epsilon)
        log_delta = math.log(max(value, 1e-290))
    return log_delta


def lay(loss: Loss, epsilon: float, log_delta: float) -> Shape:
    """Choose tilt, period and level for an epsilon, and the delta it is about."""
    spread = 8.0 * math.sqrt(loss.clt())
    for step in loss.sampled:
        if step.q < 1:
            spread = min(spread, 50.0)
    level = _BEYOND * epsilon + spread
    h = 2 * level / _ROUGH
    grids = [upper(one, h)[0] for one in cells_of(loss, h, level)]
    t = _saddle(grids, h, epsilon)
    least = sum(h * float(grid.k[0]) for grid in grids)
    width = max((_DIGITS - log_delta) / t, level - least)
    variance = _moments(grids, h, t)[1]
    other = t + _SHIFTS * math.sqrt(2 * _DIGITS / max(variance, 1e-300))
    log_right = log_mgf(grids, h, other) - other * epsilon
    log_right += np.array([log_touch(float(one)) for one in other])
    wanted = (log_right - log_delta + _DIGITS) / (other - t)
    best = int(wanted.argmin())
    return Shape(t, max(width, 1.02 * float(wanted[best])), level, float(other[best]))


def _moments(grids: list[Grid], h: float, t: float) -> tuple[float, float]:
    """Return mean and variance of the tilted loss."""
    mean = variance = 0.0
    for grid in grids:
        x = h * grid.k
        exponent = t * x
        weight = np.exp(exponent - exponent.max()) * grid.p
        weight /= weight.sum()
        one = float(weight @ x)
        mean += grid.n * one
        variance += grid.n * float(weight @ (x - one) ** 2)
    return mean, variance


def _saddle(grids: list[Grid], h: float, epsilon: float) -> float:
    """Return the t at which the tilted mean is eps + 1/t + 1/(t+1), by halving."""
    low, high = math.log(1e-3), math.log(1e12)
    for _ in range(36):
        middle = 0.5 * (low + high)
        t = math.exp(middle)
        mean, _ = _moments(grids, h, t)
        low, high = (
            (low, middle) if mean > epsilon + 1 / t + 1 / (t + 1) else (middle, high)
        )
    return math.exp(0.5 * (low + high))
