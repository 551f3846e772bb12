"""The least noise, the most steps, the highest rate that stay inside a budget.

Each function takes `make`, which builds the event of the whole plan from the one
unknown, so that everything else the plan spends is counted jointly. The search runs on
log delta at the target epsilon, which is smooth in the unknown and needs no bounds;
where the fast accountant declines, on the certified epsilon. What it finds is rounded
to the safe side and recounted: what is returned has been seen to keep the budget, by
the same bracket a verifier will compute.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from privplan import accounting, canonical, events
from privplan.budget import Adjacency
from privplan.errors import CannotCertifyError, InfeasibleBudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from privplan.budget import PrivacyBudget
    from privplan.events import Event

    Gap = Callable[[Event], float]

_DIGITS = 6
_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e7
_LEAST_RATE = 1e-12
_MOST_STEPS = 2**40
_CLOSE = 3e-9  # of log delta: far below the last digit kept
_END = 1e-8  # so near the end of the range, it is the end
_TRIES = 100
_NUDGES = 3


def noise_multiplier(make: Callable[[float], Event], *, budget: PrivacyBudget) -> float:
    """Find the least noise multiplier that keeps an event inside a budget.

    Args:
        make: From a noise multiplier to the whole event, fixed phases included; more
            noise must not cost more.
        budget: What may be spent.

    Returns:
        Six significant digits, rounded up; recounted to be inside the budget.

    Raises:
        InfeasibleBudgetError: No noise is enough: the rest alone exceeds the budget.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.events import GaussianEvent
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> noise_multiplier(lambda z: GaussianEvent(noise_multiplier=z), budget=budget)
        3.73064
    """
    low, high = math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
    for x in _roots(lambda x: make(math.exp(x)), budget, low, high):
        at_end = x - low < _END
        found = _LEAST_NOISE if at_end else canonical.round_up(math.exp(x), _DIGITS)
        for _ in range(_NUDGES):
            if _keeps(make(found), budget):
                return found
            found = canonical.round_up(math.nextafter(found, math.inf), _DIGITS)
    raise _infeasible(make(_MOST_NOISE), budget)


def sample_rate(make: Callable[[float], Event], *, budget: PrivacyBudget) -> float:
    """Find the highest sample rate that keeps an event inside a budget.

    Args:
        make: From a sample rate to the whole event, fixed phases included.
        budget: What may be spent.

    Returns:
        Six significant digits, rounded down; recounted to be inside the budget.

    Raises:
        InfeasibleBudgetError: Even very rare sampling exceeds the budget.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.events import PoissonSampledGaussianEvent
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> def make(rate):
        ...     return PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=1)
        >>> sample_rate(make, budget=budget)
        0.0480426
    """
    high = -math.log(_LEAST_RATE)
    for x in _roots(lambda x: make(math.exp(-x)), budget, 0.0, high):
        found = 1.0 if x < _END else canonical.round_down(math.exp(-x), _DIGITS)
        for _ in range(_NUDGES):
            if _keeps(make(found), budget):
                return found
            found = canonical.round_down(math.nextafter(found, 0.0), _DIGITS)
    raise _infeasible(make(_LEAST_RATE), budget)


def steps(make: Callable[[int], Event], *, budget: PrivacyBudget) -> int:
    """Find the most steps that keep an event inside a budget.

    Args:
        make: From a number of steps to the whole event, fixed phases included.
        budget: What may be spent.

    Returns:
        At most 2^40: an event that costs nothing at any count stops there.

    Raises:
        InfeasibleBudgetError: Not even one step does.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.events import GaussianEvent, SelfComposedEvent
        >>> query = GaussianEvent(noise_multiplier=10.0)
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> steps(lambda n: SelfComposedEvent(event=query, count=n), budget=budget)
        7
    """
    if not _keeps(make(1), budget):
        raise _infeasible(make(1), budget)
    top = math.log(_MOST_STEPS)
    resembling, by_delta, _ = _gaps(budget)
    start = _root(lambda x: -resembling(make(round(math.exp(x)))), 0.0, top, 0.5 * top)
    found = 1 if start is None else round(math.exp(start))
    with suppress(CannotCertifyError):
        found = _last(lambda n: by_delta(make(n)) <= 0, found)
    return _last(lambda n: _keeps(make(n), budget), found)


def _gaps(budget: PrivacyBudget) -> tuple[Gap, Gap, Gap]:
    """Return three measures of how far an event exceeds the budget; above 0 if it does.

    By the Gaussian that resembles it, at once; by an estimate of delta, fast; by the
    certified epsilon, always.
    """
    log_delta = math.log(budget.target_delta)
    from privplan.contour import both, closed  # noqa: PLC0415 - loads numpy and scipy

    mu = closed.gaussian_mu(budget.target_epsilon, budget.target_delta)

    def resembling(event: Event) -> float:
        return math.log(max(both.resemblance(events.phases(event)), 1e-300) / mu**2)

    def by_delta(event: Event) -> float:
        found = events.phases(event)
        return both.estimate(found, budget.target_epsilon) - log_delta

    def by_epsilon(event: Event) -> float:
        return math.log(max(_cost(event, budget), 1e-9) / budget.target_epsilon)

    return resembling, by_delta, by_epsilon


def _roots(
    at: Callable[[float], Event], budget: PrivacyBudget, low: float, high: float
) -> Iterator[float]:
    """Yield where the cost, which falls with x, meets the budget: fast, then surely."""
    resembling, by_delta, by_epsilon = _gaps(budget)
    start = _root(lambda x: resembling(at(x)), low, high, 0.5 * (low + high))
    start = high if start is None else start
    if budget.adjacency is not Adjacency.REPLACE_ONE:
        with suppress(CannotCertifyError):
            found = _root(lambda x: by_delta(at(x)), low, high, start)
            if found is not None:
                yield found
                start = found
    found = _root(lambda x: by_epsilon(at(x)), low, high, start)
    if found is not None:
        yield found


def _root(
    gap: Callable[[float], float], low: float, high: float, start: float
) -> float | None:
    """Find the root of a falling function: secant steps, kept inside a bracket.

    Returns:
        A point where the function is at most about 0; `low` if it is so everywhere,
        None if it is so nowhere.
    """
    left, right = low, high  # the root is between them
    x = min(max(start, low), high)
    before: tuple[float, float] | None = None
    for _ in range(_TRIES):
        y = gap(x)
        if abs(y) <= _CLOSE:
            return x
        left, right = (x, right) if y > 0 else (left, x)
        if right - left < 1e-10:
            break
        step = math.copysign(0.3, y)
        if before is not None and before[0] != x:
            slope = (y - before[1]) / (x - before[0])
            if -math.inf < slope < 0:
                step = max(-1.5, min(-y / slope, 1.5))
        before = (x, y)
        new = x + step
        x = new if left < new < right else 0.5 * (left + right)
        if right == high and x > high - 1e-9:
            x = high
    if right == high and gap(high) > 0:
        return None
    return right


def _last(keeps: Callable[[int], bool], start: int) -> int:
    """Find the last n >= 1 that keeps, given that 1 does and the rest is in order."""
    low, high, width = 1, _MOST_STEPS + 1, 1
    n = min(max(start, 1), _MOST_STEPS)
    while high - low > 1:
        if n == low or keeps(n):
            low, n = n, min(n + width, high - 1)
        else:
            high, n = n, max(n - width, low + 1)
        width *= 2
        if low > 1 and high <= _MOST_STEPS:
            n = (low + high) // 2
    return low


def _cost(event: Event, budget: PrivacyBudget) -> float:
    return accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    ).upper


def _keeps(event: Event, budget: PrivacyBudget) -> bool:
    return _cost(event, budget) <= budget.target_epsilon


def _infeasible(event: Event, budget: PrivacyBudget) -> InfeasibleBudgetError:
    cost = _cost(event, budget)
    return InfeasibleBudgetError(
        f"even at best the event costs epsilon {canonical.text_up(cost, 4)}, and its "
        f"budget is epsilon {budget.target_epsilon:g}",
        stage="calibration",
        needed=cost,
        target=budget.target_epsilon,
        hint="raise --eps, or drop other queries from the plan",
    )
