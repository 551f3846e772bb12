"""Both directions of add-or-remove-one, and what holds where the contour declines."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from privplan.contour import capped, solve
from privplan.contour.loss import Direction, Loss, from_phases
from privplan.contour.solve import Found
from privplan.contour.tilt import too_hard
from privplan.errors import CannotCertifyError
from privplan.events import PoissonSampledDiscreteGaussianEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privplan.events import Phase

_MOST_GAUSSIAN = 1e12  # mu^2 beyond it: an epsilon of 10^12 protects nobody

Args = ParamSpec("Args")
Result = TypeVar("Result")


def _guarded(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Turn numbers that leave float64 into "cannot certify", silently.

    An overflow ends in NaN or infinity, and every bound is compared so that NaN fails.
    """

    @wraps(function)
    def guarded(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            with np.errstate(all="ignore"):
                return function(*args, **kwargs)
        except (ArithmeticError, ValueError) as error:
            raise too_hard("its numbers overflow") from error

    return guarded


@_guarded
def epsilon(found: Sequence[Phase], delta: float, *, sensitivity: float = 1.0) -> Found:
    """Bound epsilon, the larger of the two directions.

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    remove = _loss(found, Direction.REMOVE, sensitivity)
    one = solve.find_epsilon(remove, delta)
    if not remove.sampled:
        return one
    add = _loss(found, Direction.ADD, sensitivity)
    return _larger(one, solve.find_epsilon(add, delta, beyond=one.low))


@_guarded
def delta(found: Sequence[Phase], epsilon: float, *, sensitivity: float = 1.0) -> Found:
    """Bound delta, the larger of the two directions.

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    remove = _loss(found, Direction.REMOVE, sensitivity)
    one = solve.find_delta(remove, epsilon)
    if not remove.sampled:
        return one
    add = _loss(found, Direction.ADD, sensitivity)
    return _larger(one, solve.find_delta(add, epsilon, beyond=one.low))


@_guarded
def estimate(found: Sequence[Phase], epsilon: float) -> float:
    """Return log delta at an epsilon, estimated: for searches, never for a claim.

    Raises:
        CannotCertifyError: The composition is too hard for the contour.
    """
    remove = _loss(found, Direction.REMOVE, 1.0)
    return solve.log_delta_estimate(remove, epsilon)


def resemblance(found: Sequence[Phase]) -> float:
    """Return mu^2 of the Gaussian that resembles the loss; a start for searches."""
    resembling = [
        replace(phase, event=phase.event.continuous)
        if isinstance(phase.event, PoissonSampledDiscreteGaussianEvent)
        else phase
        for phase in found
    ]
    return from_phases(resembling, Direction.REMOVE).clt()


@_guarded
def epsilon_upper(
    found: Sequence[Phase], delta: float, *, sensitivity: float = 1.0
) -> float:
    """Bound epsilon from above, always: the best of two bounds that both hold.

    One is Chernoff's. The other takes every record to be in every batch, since
    sampling only ever helps, and adds up pure queries.
    """
    remove, add = (
        from_phases(found, direction, sensitivity=sensitivity)
        for direction in (Direction.REMOVE, Direction.ADD)
    )
    loss, pure = _unamplified(remove)
    if not loss.gaussian < _MOST_GAUSSIAN:
        return math.inf
    plain = pure + solve.epsilon_bracket(loss, delta)[1]
    both = max(capped.epsilon_upper(part, delta) for part in (remove, add))
    return min(plain, both)


@_guarded
def delta_upper(
    found: Sequence[Phase], epsilon: float, *, sensitivity: float = 1.0
) -> float:
    """Bound delta from above as if every record were in every batch."""
    loss, pure = _unamplified(
        from_phases(found, Direction.REMOVE, sensitivity=sensitivity)
    )
    if not (loss.gaussian < _MOST_GAUSSIAN and pure <= epsilon):
        return 1.0
    return solve.delta_bracket(loss, epsilon - pure)[1]


def _larger(one: Found, other: Found) -> Found:
    method = other.method if other.high > one.high else one.method
    return Found(max(one.low, other.low), max(one.high, other.high), method)


def _unamplified(loss: Loss) -> tuple[Loss, float]:
    total = loss.gaussian + math.fsum(step.n / step.s**2 for step in loss.sampled)
    pure = math.fsum(query.n * query.epsilon for query in loss.pure)
    return Loss(total * (1 + 1e-12), (), (), loss.direction), pure * (1 + 1e-12)


def _loss(found: Sequence[Phase], direction: Direction, sensitivity: float) -> Loss:
    loss = from_phases(found, direction, sensitivity=sensitivity)
    if not loss.gaussian < _MOST_GAUSSIAN:
        raise CannotCertifyError(
            "one query has almost no noise",
            hint="give every query a noise multiplier of at least 1e-6",
        )
    return loss
