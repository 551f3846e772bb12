"""Epsilon of a delta, delta of an epsilon: bounds, one direction at a time.

    upper:  the upper bound on delta at `upper` is at most the wanted delta
    lower:  the lower bound on delta at `lower` is at least the wanted delta

Closed forms first; then the plain contour; if that is not narrow enough, because
participations are few or rare, the same with far outputs capped (`cap.py`), and with a
walk on coarse nodes (`roots.py`) instead of an estimate. All brackets hold, so several
of them intersect.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from privplan.contour import closed
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

_LOG_FLOOR = -640.0  # deltas below this are rounded up to it
_NARROW, _NARROW_IF_RARE = 7e-7, 1e-3  # relative widths of epsilon to stop at
_CHERNOFF_TRIES = 8


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
    return _at(loss, here, epsilon, LADDER).bracket(epsilon)


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
    value, _ = _at(loss, here, epsilon, LADDER[:1]).value(epsilon)
    return math.log(value) if value > 0 else rough


def _at(loss: Loss, here: Cumulants, epsilon: float, ladder: Ladder) -> Curve:
    """Return the curve near one epsilon: plain, else capped, else with patience."""
    log_delta = min(here.log_delta(epsilon), 0.0)
    with suppress(CannotCertifyError):
        return nodes_at(here, epsilon, log_delta=log_delta, ladder=ladder[:1])
    with suppress(CannotCertifyError):
        return _capped_at(loss, epsilon, log_delta, ladder)
    return nodes_at(here, epsilon, log_delta=log_delta, ladder=ladder)


def _capped_at(loss: Loss, epsilon: float, log_delta: float, ladder: Ladder) -> Curve:
    for _ in range(3):
        found = cut(loss, epsilon, math.exp(log_delta) * CAP)
        here = at_epsilon(found.kept, epsilon, guess(found.kept, log_delta))
        kept = math.exp(min(here.log_delta(epsilon), 0.0))
        size = math.log(max(kept + found.counted(epsilon)[0], 1e-300))
        if size > log_delta - 3:
            break
        # A better estimate of delta, now that far outputs are gone.
        log_delta = size
    nodes = nodes_at(here, epsilon, log_delta=size, ladder=ladder)
    return Capped(nodes, found)


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
        return bracket_root(curve, delta, root_by_halving(curve, loss, delta))
    if beyond and _is_dominated(loss, beyond, log_delta):
        return 0.0, beyond
    return _narrowest(loss, delta)


def _narrowest(loss: Loss, delta: float) -> tuple[float, float]:
    """Try routes until one is narrow enough; all their brackets hold, so intersect."""
    participations = max((step.q * step.n for step in loss.sampled), default=3.0)
    enough = _NARROW if participations >= 3 else _NARROW_IF_RARE
    low, high = 0.0, math.inf
    problem: CannotCertifyError | None = None
    for route in (direct, walk_capped, walk):
        try:
            curve, root = route(loss, delta)
            one_low, one_high = bracket_root(curve, delta, root)
        except CannotCertifyError as error:
            problem = problem or error
            continue
        low, high = max(low, one_low), min(high, one_high)
        if high - low <= enough * high:
            break
    if not low <= high < math.inf:
        raise problem or too_hard("no route is left")
    return low, high


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
