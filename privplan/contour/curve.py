"""A curve of delta over epsilon, with bounds: three ways to have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from privplan.contour import closed
from privplan.contour.tilt import too_hard

if TYPE_CHECKING:
    from privplan.contour.cap import Cut
    from privplan.contour.loss import Loss


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
        here, up, down = (self._middle(epsilon + dx) for dx in (0.0, h, -h))
        return here, (up - down) / (2 * h)

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps)."""
        found = closed.delta(self._loss, epsilon)
        if found is None:
            raise too_hard("it has no closed form")
        return found

    def _middle(self, epsilon: float) -> float:
        low, high = self.bracket(epsilon)
        return 0.5 * (low + high)


class Capped:
    """The curve of a capped loss, and in closed form of what the cap took away."""

    def __init__(self, kept: Curve, cut: Cut) -> None:
        self._kept, self._cut = kept, cut

    def value(self, epsilon: float) -> tuple[float, float]:
        """Return an estimate of delta(eps) and of its derivative."""
        value, slope = self._kept.value(epsilon)
        counted, counted_slope = self._cut.counted(epsilon)
        return value + counted, slope + counted_slope

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps): the rest may count in full, or not at all."""
        low, high = self._kept.bracket(epsilon)
        counted, _ = self._cut.counted(epsilon)
        error = self._cut.error(epsilon)
        top = high + counted + error + self._cut.rest(epsilon)
        return max(0.0, low + counted - error), min(1.0, top)
