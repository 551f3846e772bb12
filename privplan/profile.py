"""The privacy profile: delta at many epsilons, epsilon at many deltas, with bounds.

One (epsilon, delta) pair is a point on a curve, and two runs with the same point can
differ everywhere else. The whole curve is what composes, what attacks are bounded by
(`tradeoff`) and what a single number such as mu summarises (`gdp`).

Delta never grows with epsilon. So an upper bound at one point holds at all points
beyond it, and a lower bound at all points before it: the arrays returned here have
been tightened by each other and never go the wrong way.

This room imports numpy; nothing that a command needs for `--help` imports it.

Source: Balle, Barthe, Gaboardi 2018, arXiv:1807.01647 (privacy profiles).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from privplan import accounting
from privplan.budget import Adjacency
from privplan.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.accounting import Bracket
    from privplan.events import Event

Reals = NDArray[np.float64]


class Bounds(NamedTuple):
    """Two arrays of one shape with the truth between them.

    Attributes:
        lower: Never above the truth.
        upper: Never below the truth; these are claimed.
    """

    lower: Reals
    upper: Reals


def deltas(
    event: Event,
    epsilons: ArrayLike,
    *,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bounds:
    """Bound delta at many epsilons.

    Args:
        event: What touched the data, as one tree.
        epsilons: Any shape; each at least 0 and finite.
        adjacency: Which data sets count as neighbours.

    Returns:
        Bounds in the shape of `epsilons`, falling with epsilon.

    Raises:
        ParameterError: An epsilon is negative, infinite or NaN; its index is named.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> found = deltas(GaussianEvent(noise_multiplier=1.0), [0.0, 1.0, 4.0])
        >>> found.upper.round(6).tolist()
        [0.382925, 0.126937, 4.7e-05]
    """
    points = np.asarray(epsilons, dtype=np.float64)
    require(points, "epsilons", (points >= 0) & (points < np.inf), "at least 0")
    return _along(
        points, lambda e: accounting.delta(event, epsilon=e, adjacency=adjacency)
    )


def epsilons(
    event: Event,
    deltas: ArrayLike,
    *,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bounds:
    """Bound epsilon at many deltas.

    Args:
        event: What touched the data, as one tree.
        deltas: Any shape; each strictly between 0 and 1.
        adjacency: Which data sets count as neighbours.

    Returns:
        Bounds in the shape of `deltas`, falling with delta.

    Raises:
        ParameterError: A delta is outside (0, 1), or NaN; its index is named.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> found = epsilons(GaussianEvent(noise_multiplier=1.0), [1e-9, 1e-5])
        >>> found.upper.round(4).tolist()
        [6.1739, 4.3772]
    """
    points = np.asarray(deltas, dtype=np.float64)
    require(points, "deltas", (points > 0) & (points < 1), "between 0 and 1")
    return _along(
        points, lambda d: accounting.epsilon(event, delta=d, adjacency=adjacency)
    )


def _along(points: Reals, ask: Callable[[float], Bracket]) -> Bounds:
    """Ask once per distinct point, in order; let neighbours tighten each other."""
    distinct, places = np.unique(points, return_inverse=True)
    found = [ask(float(point)) for point in distinct]
    lower = np.array([bracket.lower for bracket in found])
    upper = np.array([bracket.upper for bracket in found])
    lower = np.maximum.accumulate(lower[::-1])[::-1]
    upper = np.minimum.accumulate(upper)
    shape = points.shape
    return Bounds(lower[places].reshape(shape), upper[places].reshape(shape))


def require(points: Reals, name: str, allowed: NDArray[np.bool_], what: str) -> None:
    """Refuse an array with an entry that is not allowed, and say where.

    Args:
        points: The array; never empty.
        name: Of the argument.
        allowed: Same shape; False for what is wrong, NaN included.
        what: What each entry must be.

    Raises:
        ParameterError: The array is empty, or an entry is not allowed.
    """
    hint = f"give finite numbers, each {what}"
    if not points.size:
        raise ParameterError(f"{name} is empty", hint=hint)
    if allowed.all():
        return
    index = tuple(int(i) for i in np.argwhere(~allowed)[0])
    where = f"{name}{list(index)}" if index else name
    raise ParameterError(
        f"{where} is {float(points[index])!r}, but it must be {what}", hint=hint
    )
