"""Epsilon of a delta, delta of an epsilon: bounds, one direction at a time.

A solve needs one root in t, one set of nodes, and a few Newton steps on the nodes;
the ends are then moved outwards until the *bounds* on delta say that they hold:

    upper:  the upper bound on delta at `upper` is at most the wanted delta
    lower:  the lower bound on delta at `lower` is at least the wanted delta

If the composition is hard (few or rare participations) the wanted tolerance is
relaxed in steps, and steps that touch the record are split off (`jumps.py`).
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from privplan.contour import closed
from privplan.contour.cap import capped
from privplan.contour.cumulants import at_delta, at_epsilon, cumulants, guess
from privplan.contour.curve import Capped, Closed, Curve
from privplan.contour.jumps import SplitNodes
from privplan.contour.nodes import Nodes
from privplan.contour.tilt import too_hard
from privplan.errors import CannotCertifyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.contour.cumulants import Cumulants
    from privplan.contour.loss import Loss

    Route = Callable[[Loss, float], tuple[Curve, float]]

Ladder = tuple[tuple[float, int, bool], ...]

_LOG_FLOOR = -640.0  # deltas below this are rounded up to it
_CAP = 1e-7  # chance of what a cap leaves out, relative to delta
# (tolerance relative to delta, most nodes, split off the steps that touch the record)
_LADDER: Ladder = (
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
_NARROW, _NARROW_IF_RARE = 7e-7, 1e-3  # relative widths of epsilon to stop at
_CHERNOFF_TRIES = 8
_MOST_WALKS = 40
_NEAR = 1.9  # in units of 1/t: nodes lose few digits so near


def nodes_at(
    here: Cumulants,
    epsilon: float,
    *,
    log_delta: float,
    ladder: Ladder = _LADDER,
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


def delta_bracket(
    loss: Loss, epsilon: float, *, beyond: float = 0.0
) -> tuple[float, float]:
    """Bound delta(eps) of a composition in one direction.

    Args:
        loss: The composition.
        epsilon: At least 0.
        beyond: If delta is found to be at most this, the answer may be (0, beyond).

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    exact = closed.delta(loss, epsilon)
    if exact is not None:
        return exact
    if epsilon >= loss.ceiling() * (1 + 1e-12):
        return 0.0, 0.0
    if beyond and _is_dominated(loss, epsilon, math.log(beyond)):
        return 0.0, beyond
    here = at_epsilon(loss, epsilon, guess(loss, -10.0))
    if here.log_chernoff(epsilon) < _LOG_FLOOR:
        return 0.0, math.exp(_LOG_FLOOR)
    return _at(loss, here, epsilon, _LADDER).bracket(epsilon)


def log_delta_estimate(loss: Loss, epsilon: float) -> float:
    """Estimate log delta(eps) in one direction, without bounds.

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    exact = closed.delta(loss, epsilon)
    if exact is not None:
        return math.log(max(exact[1], 1e-300))
    here = at_epsilon(loss, epsilon, guess(loss, -10.0))
    rough = here.log_delta(epsilon)
    if rough < _LOG_FLOOR:
        return rough
    value, _ = _at(loss, here, epsilon, _LADDER[:1]).value(epsilon)
    return math.log(value) if value > 0 else rough


def _at(loss: Loss, here: Cumulants, epsilon: float, ladder: Ladder) -> Curve:
    """Return the curve near one epsilon: plain, else capped, else with patience."""
    log_delta = min(here.log_delta(epsilon), 0.0)
    with suppress(CannotCertifyError):
        return nodes_at(here, epsilon, log_delta=log_delta, ladder=ladder[:1])
    with suppress(CannotCertifyError):
        kept, lost = capped(loss, math.exp(log_delta), _CAP)
        fine = at_epsilon(kept, epsilon, guess(kept, log_delta))
        size = min(fine.log_delta(epsilon), 0.0)
        return Capped(nodes_at(fine, epsilon, log_delta=size, ladder=ladder), lost)
    return nodes_at(here, epsilon, log_delta=log_delta, ladder=ladder)


def epsilon_bracket(
    loss: Loss, delta: float, *, beyond: float = 0.0
) -> tuple[float, float]:
    """Bound the smallest eps >= 0 with delta(eps) <= delta, in one direction.

    Args:
        loss: The composition.
        delta: Between 0 and 1.
        beyond: If epsilon is found to be at most this, the answer may be (0, beyond).

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    if loss.ceiling() <= beyond:
        return 0.0, beyond
    log_delta = math.log(delta)
    if closed.delta(loss, 0.0) is not None:
        curve: Curve = Closed(loss)
        return _bracket_root(curve, delta, _root_by_halving(curve, loss, delta))
    if beyond and _is_dominated(loss, beyond, log_delta):
        return 0.0, beyond
    return _narrowest(loss, delta)


def _narrowest(loss: Loss, delta: float) -> tuple[float, float]:
    """Try routes until one is narrow enough; all their brackets hold, so intersect."""
    participations = max((step.q * step.n for step in loss.sampled), default=3.0)
    enough = _NARROW if participations >= 3 else _NARROW_IF_RARE
    low, high = 0.0, math.inf
    problem: CannotCertifyError | None = None
    for route, cap in (
        (_direct, False),
        (_direct, True),
        (_walk, True),
        (_walk, False),
    ):
        try:
            found = _on_capped(route, loss, delta) if cap else route(loss, delta)
            one_low, one_high = _bracket_root(found[0], delta, found[1])
        except CannotCertifyError as error:
            problem = problem or error
            continue
        low, high = max(low, one_low), min(high, one_high)
        if high - low <= enough * high:
            break
    if not low <= high < math.inf:
        raise problem or too_hard("no route is left")
    return low, high


def _on_capped(route: Route, loss: Loss, delta: float) -> tuple[Curve, float]:
    kept, lost = capped(loss, delta, _CAP)
    curve, root = route(kept, delta)
    return Capped(curve, lost), root


def _direct(loss: Loss, delta: float) -> tuple[Curve, float]:
    """Solve at the saddle point that belongs to delta, if that is a good guess."""
    here, start = _first(loss, delta)
    for _ in range(3):
        curve, root = _root_near(here, start, delta, _LADDER[:1])
        if abs(root - start) * here.t < _NEAR:
            return curve, root
        here, start = at_epsilon(loss, root, here.t), root
    raise too_hard("its saddle point is no guide")


def _walk(loss: Loss, delta: float) -> tuple[Curve, float]:
    """Walk to the root on coarse nodes, then place fine ones there."""
    here, start = _first(loss, delta)
    for _ in range(_MOST_WALKS):
        _, root = _root_near(here, start, delta, _COARSE)
        moved, start = abs(root - start) * here.t, root
        here = at_epsilon(loss, start, here.t)
        if moved < _NEAR:
            break
    return _root_near(here, start, delta, _LADDER)


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
    return curve, _newton_root(curve.value, start, delta, most=most)


def _is_dominated(loss: Loss, epsilon: float, log_delta: float) -> bool:
    """Return whether Chernoff's bound at some t shows delta(eps) <= delta."""
    t = guess(loss, log_delta)
    for _ in range(_CHERNOFF_TRIES):
        try:
            if cumulants(loss, t).log_chernoff(epsilon) < log_delta - 1e-6:
                return True
        except CannotCertifyError:
            return False
        t *= 2
    return False


def _newton_root(
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


def _root_by_halving(curve: Curve, loss: Loss, delta: float) -> float:
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


def _bracket_root(curve: Curve, delta: float, root: float) -> tuple[float, float]:
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
