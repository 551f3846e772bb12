"""Roots of log delta in epsilon: place nodes, walk to the root, and bracket it.

Two ways to a root. `direct` trusts the saddle-point estimate of where it is, which is
good unless participations are rare; then `walk` moves there on coarse nodes. Either
ends with nodes at the root, and `bracket_root` moves both ends outwards from it until
the *bounds* on delta say that they hold.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privplan.contour.cap import cut
from privplan.contour.cumulants import at_delta, at_epsilon, guess
from privplan.contour.curve import Capped
from privplan.contour.jumps import SplitNodes
from privplan.contour.nodes import Nodes
from privplan.contour.tilt import too_hard
from privplan.errors import CannotCertifyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.contour.cumulants import Cumulants
    from privplan.contour.curve import Curve
    from privplan.contour.loss import Loss

Ladder = tuple[tuple[float, int, bool], ...]

# (tolerance relative to delta, most nodes, split off the steps that touch the record)
LADDER: Ladder = (
    (1e-9, 6_000, False),
    (1e-7, 8_000, True),
    (1e-7, 20_000, False),
    (1e-6, 30_000, True),
    (1e-5, 12_000, True),
    (1e-5, 60_000, False),
    (1e-4, 20_000, True),
    (1e-3, 40_000, True),
)
_COARSE: Ladder = ((1e-3, 4_000, False), (1e-3, 20_000, True), (1e-3, 30_000, False))
_MOST_WALKS = 40
_MOST_CAPS = 12
CAP = 1e-9  # what a cap leaves uncounted, relative to delta
_LEAST_EPSILON = 1e-9
_NEAR = 1.9  # in units of 1/t: nodes lose few digits so near
_FAR = 8.0  # ... so far some, but enough to walk on


def nodes_at(
    here: Cumulants,
    epsilon: float,
    *,
    log_delta: float,
    ladder: Ladder = LADDER,
) -> Nodes | SplitNodes:
    """Place nodes, at the best tolerance that few enough of them can reach.

    Raises:
        CannotCertifyError: No rung of the ladder works.
    """
    problem: CannotCertifyError | None = None
    for tolerance, most, split in ladder:
        kind = SplitNodes if split else Nodes
        try:
            return kind(
                here, epsilon, log_delta=log_delta, tolerance=tolerance, most=most
            )
        except CannotCertifyError as error:
            problem = problem or error
    raise problem or too_hard("no tolerance is left")


def direct(loss: Loss, delta: float) -> tuple[Curve, float]:
    """Solve at the saddle point that belongs to delta, if that is a good guess."""
    here, start = _first(loss, delta)
    for _ in range(3):
        curve, root = _root_near(here, start, delta, LADDER[:1])
        if abs(root - start) * here.t < _NEAR:
            return curve, root
        here, start = at_epsilon(loss, root, here.t), root
    raise too_hard("its saddle point is no guide")


def walk(loss: Loss, delta: float) -> tuple[Curve, float]:
    """Walk to the root on coarse nodes, then place fine ones there."""
    here, start = _first(loss, delta)
    for _ in range(_MOST_WALKS):
        _, root = _root_near(here, start, delta, _COARSE)
        moved, start = abs(root - start) * here.t, root
        here = at_epsilon(loss, start, here.t)
        if moved < _NEAR:
            break
    return _root_near(here, start, delta, LADDER)


def walk_capped(loss: Loss, delta: float) -> tuple[Curve, float]:
    """Walk to the root with far outputs capped, the caps moving along."""
    here, epsilon = _approach(loss, delta)
    ladder = _COARSE[:1]
    for _ in range(_MOST_WALKS):
        found = cut(loss, max(epsilon, _LEAST_EPSILON), CAP * delta)
        here = at_epsilon(found.kept, epsilon, here.t)
        kept = nodes_at(here, epsilon, log_delta=math.log(delta), ladder=ladder)
        curve = Capped(kept, found)
        root = newton_root(curve.value, epsilon, delta, most=_FAR / here.t)
        near = abs(root - epsilon) * here.t < _NEAR
        if near and ladder is LADDER:
            return curve, root
        epsilon, ladder = root, LADDER if near else _COARSE[:1]
    raise too_hard("its root was not found")


def _approach(loss: Loss, delta: float) -> tuple[Cumulants, float]:
    """Lower the caps, and with them the saddle-point estimate of the root."""
    here, epsilon = _first(loss, delta)
    log_delta = math.log(delta)
    for _ in range(_MOST_CAPS):
        kept = cut(loss, max(epsilon, _LEAST_EPSILON), CAP * delta).kept
        here = at_delta(kept, log_delta, guess(kept, log_delta))
        before, epsilon = epsilon, max(here.epsilon, 0.0)
        if not epsilon < 0.8 * before:
            break
    return here, epsilon


def _first(loss: Loss, delta: float) -> tuple[Cumulants, float]:
    log_delta = math.log(delta)
    here = at_delta(loss, log_delta, guess(loss, log_delta))
    if here.epsilon < 0:
        here = at_epsilon(loss, 0.0, here.t)
    return here, max(here.epsilon, 0.0)


def _root_near(
    here: Cumulants, start: float, delta: float, ladder: Ladder
) -> tuple[Curve, float]:
    """Place nodes at `start` and solve on them, not moving far beyond their use."""
    size = min(here.log_delta(start), math.log(delta))
    curve = nodes_at(here, start, log_delta=size, ladder=ladder)
    most = 1.3 * _NEAR / here.t
    return curve, newton_root(curve.value, start, delta, most=most)


def newton_root(
    value: Callable[[float], tuple[float, float]],
    start: float,
    delta: float,
    *,
    most: float,
) -> float:
    """Solve log delta(eps) = log delta near `start`, moving at most `most`."""
    epsilon = start
    for _ in range(30):
        found, slope = value(epsilon)
        if not (found > 0 and slope < 0):
            step = -0.5 * most
        else:
            step = (math.log(found) - math.log(delta)) * found / -slope
        new = max(0.0, min(max(epsilon + step, start - most), start + most))
        done = abs(new - epsilon) <= 1e-13 * new
        epsilon = new
        if done:
            break
    return epsilon


def root_by_halving(curve: Curve, loss: Loss, delta: float) -> float:
    """Solve delta(eps) = delta for a closed form, which is cheap to evaluate."""
    if curve.bracket(0.0)[1] <= delta:
        return 0.0
    low, high = 0.0, 1.0
    top = loss.ceiling()
    while high < top and curve.bracket(high)[1] > delta:
        low, high = high, 2 * high
    high = min(high, top)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if curve.bracket(middle)[1] > delta:
            low = middle
        else:
            high = middle
    return high


def bracket_root(curve: Curve, delta: float, root: float) -> tuple[float, float]:
    """Move both ends outwards from the root until the bounds on delta hold there."""
    low, high = curve.bracket(root)
    _, slope = curve.value(root)
    size = abs(slope) if slope < 0 else delta / max(root, 1e-3)
    upper = root
    step = max(2 * (high - delta) / size, 1e-14 * root)
    for _ in range(60):
        if curve.bracket(upper)[1] <= delta:
            break
        upper, step = upper + step, 2 * step
    else:
        raise too_hard("no upper end was found")
    lower = root
    step = max(2 * (delta - low) / size, 1e-14 * root)
    for _ in range(60):
        if lower <= 0 or curve.bracket(lower)[0] >= delta:
            break
        lower, step = lower - step, 2 * step
    else:
        lower = 0.0
    return max(lower, 0.0), upper
