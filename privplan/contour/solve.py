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
from typing import TYPE_CHECKING, Protocol

from privplan.contour import closed
from privplan.contour.cumulants import at_delta, at_epsilon, cumulants, guess
from privplan.contour.jumps import SplitNodes
from privplan.contour.nodes import Nodes
from privplan.contour.tilt import too_hard
from privplan.errors import CannotCertifyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.contour.cumulants import Cumulants
    from privplan.contour.loss import Loss

Ladder = tuple[tuple[float, int, bool], ...]

_FLOOR = 1e-280  # deltas below this are rounded up to it
# (tolerance relative to delta, most nodes, split off the steps that touch the record)
_LADDER: Ladder = (
    (1e-9, 6_000, False),
    (1e-7, 8_000, True),
    (1e-7, 20_000, False),
    (1e-5, 12_000, True),
    (1e-5, 60_000, False),
    (1e-4, 20_000, True),
    (1e-3, 40_000, True),
)
_COARSE: Ladder = ((1e-3, 4_000, False), (1e-3, 20_000, True), (1e-2, 20_000, True))
_CHERNOFF_TRIES = 8
_MOST_WALKS = 40
_NEAR = 1.9  # in units of 1/t: nodes lose few digits so near


class Curve(Protocol):
    """Bounds on delta as a function of epsilon."""

    def value(self, epsilon: float) -> tuple[float, float]:
        """Return an estimate of delta(eps) and of its derivative."""
        ...

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps)."""
        ...


class Closed:
    """The curve of a composition in closed form."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def value(self, epsilon: float) -> tuple[float, float]:
        """Return delta(eps) and its slope by a central difference."""
        h = 1e-5 * (1 + epsilon)
        here, up, down = (self._mid(epsilon + dx) for dx in (0.0, h, -h))
        return here, (up - down) / (2 * h)

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps)."""
        found = closed.delta(self._loss, epsilon)
        if found is None:
            raise too_hard("it has no closed form")
        return found

    def _mid(self, epsilon: float) -> float:
        low, high = self.bracket(epsilon)
        return 0.5 * (low + high)


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


def delta_bracket(loss: Loss, epsilon: float) -> tuple[float, float]:
    """Bound delta(eps) of a composition in one direction.

    Args:
        loss: The composition.
        epsilon: At least 0.

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    exact = closed.delta(loss, epsilon)
    if exact is not None:
        return exact
    if epsilon >= loss.ceiling() * (1 + 1e-12):
        return 0.0, 0.0
    here = at_epsilon(loss, epsilon, guess(loss, -10.0))
    if here.log_chernoff(epsilon) < math.log(_FLOOR):
        return 0.0, _FLOOR
    log_delta = min(here.log_delta(epsilon), 0.0)
    return nodes_at(here, epsilon, log_delta=log_delta).bracket(epsilon)


def log_delta_estimate(loss: Loss, epsilon: float) -> float:
    """Estimate log delta(eps) in one direction, without bounds.

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    exact = closed.delta(loss, epsilon)
    if exact is not None:
        return math.log(max(exact[1], 1e-300))
    here = at_epsilon(loss, epsilon, guess(loss, -10.0))
    log_delta = here.log_delta(epsilon)
    if log_delta < -300:
        return log_delta
    nodes = nodes_at(here, epsilon, log_delta=min(log_delta, 0.0), ladder=_LADDER[:1])
    value, _ = nodes.value(epsilon)
    return math.log(value) if value > 0 else log_delta


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
    curve, root = _solve(loss, delta)
    return _bracket_root(curve, delta, root)


def _solve(loss: Loss, delta: float) -> tuple[Curve, float]:
    """Return nodes near the epsilon of a delta, and their estimate of it."""
    log_delta = math.log(delta)
    here = at_delta(loss, log_delta, guess(loss, log_delta))
    start = max(here.epsilon, 0.0)
    if here.epsilon < 0:
        here = at_epsilon(loss, 0.0, here.t)
    with suppress(CannotCertifyError):
        curve, root = _root_near(here, start, delta, _LADDER[:1])
        if abs(root - start) * here.t < _NEAR:
            return curve, root
        start = root
    for _ in range(_MOST_WALKS):  # the first estimate was poor: walk, coarsely
        here = at_epsilon(loss, start, here.t)
        _, root = _root_near(here, start, delta, _COARSE)
        moved, start = abs(root - start), root
        if moved * here.t < _NEAR:
            break
    here = at_epsilon(loss, start, here.t)
    return _root_near(here, start, delta, _LADDER)


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
