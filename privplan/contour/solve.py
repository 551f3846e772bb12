"""Epsilon of a delta, delta of an epsilon: bounds, one direction at a time.

    upper:  the upper bound on delta at `upper` is at most the wanted delta
    lower:  the lower bound on delta at `lower` is at least the wanted delta

Closed forms first; then the plain contour, then the contour with far outputs capped
(`cap.py`), then a grid (`grid.py`), until the bracket is narrow enough. All brackets
hold, so several of them intersect. Where steps are few or rare, or there are only pure
queries, the characteristic function hardly decays, and the grid comes earlier.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from privplan.contour import closed, grid
from privplan.contour.cap import cut
from privplan.contour.cumulants import at_epsilon, cumulants, guess
from privplan.contour.curve import Capped, Closed, Curve
from privplan.contour.roots import (
    CAP,
    LADDER,
    bracket_root,
    direct,
    nodes_at,
    root_by_halving,
    walk,
    walk_capped,
)
from privplan.contour.tilt import too_hard
from privplan.errors import CannotCertifyError

if TYPE_CHECKING:
    from privplan.contour.cumulants import Cumulants
    from privplan.contour.loss import Loss
    from privplan.contour.roots import Ladder

CLOSED, CONTOUR, GRID = "closed form", "contour", "grid"
_LOG_FLOOR = -640.0  # deltas below this are rounded up to it
_NARROW, _NARROW_IF_RARE = 7e-7, 1e-3  # relative widths of epsilon to stop at
_RARE = 3.0  # expected participations below which a grid comes before patience
_CHERNOFF_TRIES = 8
_DECLINED = (CannotCertifyError, ArithmeticError, ValueError)


class Found(NamedTuple):
    """Bounds, and the route that gave the upper one."""

    low: float
    high: float
    method: str


def delta_bracket(
    loss: Loss, epsilon: float, *, beyond: float = 0.0
) -> tuple[float, float]:
    """Bound delta(eps) of a composition in one direction; see `find_delta`."""
    return find_delta(loss, epsilon, beyond=beyond)[:2]


def find_delta(loss: Loss, epsilon: float, *, beyond: float = 0.0) -> Found:
    """Bound delta(eps) of a composition in one direction.

    Args:
        loss: The composition.
        epsilon: At least 0.
        beyond: If delta is found to be at most this, the answer may be (0, beyond).

    Raises:
        CannotCertifyError: The composition is too hard for every route.
    """
    exact = closed.delta(loss, epsilon)
    if exact is not None:
        return Found(*exact, CLOSED)
    if epsilon >= loss.ceiling() * (1 + 1e-12):
        return Found(0.0, 0.0, CLOSED)
    if beyond and _is_dominated(loss, epsilon, math.log(beyond)):
        return Found(0.0, beyond, CONTOUR)
    try:
        here = at_epsilon(loss, epsilon, guess(loss, -10.0))
        if here.log_chernoff(epsilon) < _LOG_FLOOR:
            return Found(0.0, math.exp(_LOG_FLOOR), CONTOUR)
        ladder = LADDER[:1] if _suits_a_grid(loss) else LADDER
        return Found(*_at(loss, here, epsilon, ladder).bracket(epsilon), CONTOUR)
    except _DECLINED:
        return Found(*grid.delta_bracket(loss, epsilon), GRID)


def log_delta_estimate(loss: Loss, epsilon: float) -> float:
    """Estimate log delta(eps) in one direction, without bounds.

    Raises:
        CannotCertifyError: The composition is too hard for every route.
    """
    exact = closed.delta(loss, epsilon)
    if exact is not None:
        return math.log(max(exact[1], 1e-300))
    try:
        here = at_epsilon(loss, epsilon, guess(loss, -10.0))
        rough = here.log_delta(epsilon)
        if rough < _LOG_FLOOR:
            return rough
        value, _ = _at(loss, here, epsilon, LADDER[:1]).value(epsilon)
    except _DECLINED:
        return grid.log_delta_estimate(loss, epsilon)
    return math.log(value) if value > 0 else rough


def _at(loss: Loss, here: Cumulants, epsilon: float, ladder: Ladder) -> Curve:
    """Return the curve near one epsilon: plain, else capped, else with patience."""
    log_delta = min(here.log_delta(epsilon), 0.0)
    with suppress(CannotCertifyError):
        return nodes_at(here, epsilon, log_delta=log_delta, ladder=ladder[:1])
    with suppress(CannotCertifyError):
        return _capped_at(loss, epsilon, log_delta, ladder)
    if len(ladder) == 1:
        raise too_hard("its characteristic function decays too slowly")
    return nodes_at(here, epsilon, log_delta=log_delta, ladder=ladder)


def _capped_at(loss: Loss, epsilon: float, log_delta: float, ladder: Ladder) -> Curve:
    while True:
        found = cut(loss, epsilon, math.exp(log_delta) * CAP)
        here = at_epsilon(found.kept, epsilon, guess(found.kept, log_delta))
        kept = math.exp(min(here.log_delta(epsilon), 0.0))
        size = math.log(max(kept + found.counted(epsilon)[0], 1e-300))
        if not size < log_delta - 3:
            break
        log_delta = size  # better, now that far outputs are gone
    nodes = nodes_at(here, epsilon, log_delta=size, ladder=ladder)
    return Capped(nodes, found)


def epsilon_bracket(
    loss: Loss, delta: float, *, beyond: float = 0.0
) -> tuple[float, float]:
    """Bound the smallest eps >= 0 in one direction; see `find_epsilon`."""
    return find_epsilon(loss, delta, beyond=beyond)[:2]


def find_epsilon(loss: Loss, delta: float, *, beyond: float = 0.0) -> Found:
    """Bound the smallest eps >= 0 with delta(eps) <= delta, in one direction.

    Args:
        loss: The composition.
        delta: Between 0 and 1.
        beyond: If epsilon is found to be at most this, the answer may be (0, beyond).

    Raises:
        CannotCertifyError: The composition is too hard for every route.
    """
    if loss.ceiling() <= beyond:
        return Found(0.0, beyond, CLOSED)
    log_delta = math.log(delta)
    if closed.delta(loss, 0.0) is not None:
        curve: Curve = Closed(loss)
        root = root_by_halving(curve, loss, delta)
        return Found(*bracket_root(curve, delta, root), CLOSED)
    if beyond and _is_dominated(loss, beyond, log_delta):
        return Found(0.0, beyond, CONTOUR)
    return _narrowest(loss, delta, beyond)


def _narrowest(loss: Loss, delta: float, beyond: float) -> Found:
    """Try routes until one is narrow enough; all their brackets hold, so intersect."""
    suits = _suits_a_grid(loss)
    enough = _NARROW_IF_RARE if suits else _NARROW
    best = Found(0.0, math.inf, CONTOUR)
    problem: Exception | None = None
    for route in _ON_A_GRID if suits else _BY_CONTOUR:
        try:
            low, high, method = route(loss, delta, beyond)
        except _DECLINED as error:
            problem = problem or error
            continue
        method = method if high < best.high else best.method
        best = Found(max(low, best.low), min(high, best.high), method)
        if best.high - best.low <= enough * best.high or best.high <= beyond:
            break
    if not best.low <= best.high < math.inf:
        raise too_hard("no route is left") from problem
    return best


def _direct(loss: Loss, delta: float, _: float) -> Found:
    curve, root = direct(loss, delta)
    return Found(*bracket_root(curve, delta, root), CONTOUR)


def _walk_capped(loss: Loss, delta: float, _: float) -> Found:
    curve, root = walk_capped(loss, delta)
    return Found(*bracket_root(curve, delta, root), CONTOUR)


def _walk(loss: Loss, delta: float, _: float) -> Found:
    curve, root = walk(loss, delta)
    return Found(*bracket_root(curve, delta, root), CONTOUR)


def _grid(loss: Loss, delta: float, beyond: float) -> Found:
    return Found(*grid.epsilon_bracket(loss, delta, beyond=beyond), GRID)


_BY_CONTOUR = (_direct, _walk_capped, _walk, _grid)
_ON_A_GRID = (_direct, _walk_capped, _grid)


def _suits_a_grid(loss: Loss) -> bool:
    """Return whether participation is rare, so that a plain contour would be long."""
    participations = math.fsum(step.q * step.n for step in loss.sampled)
    return participations < _RARE


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
