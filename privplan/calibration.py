"""The smallest noise, the most steps or the largest batch inside a budget.

Each function takes `make`, which builds the event tree of the whole plan from the one
unknown, so that everything else the plan spends is counted jointly. The search runs
on delta at the target epsilon, which is smooth in the unknown, never on epsilon; the
answer is rounded to the safe side and then checked as a user would check it:
`accounting.epsilon(make(answer)).upper <= target_epsilon`.

The search itself proves nothing and may use any estimate; only that last check does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privplan import accounting, canonical
from privplan.errors import InfeasibleBudgetError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.budget import PrivacyBudget
    from privplan.events import Event

DIGITS = 6
_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e7
_MOST_STEPS = 2**40


def noise_multiplier(make: Callable[[float], Event], *, budget: PrivacyBudget) -> float:
    """Find the smallest noise multiplier that keeps a plan inside its budget.

    Args:
        make: Builds the event tree of the whole plan from the noise multiplier; more
            noise must cost less.
        budget: What may be spent.

    Returns:
        The noise multiplier, rounded up to 6 significant digits.

    Raises:
        InfeasibleBudgetError: No noise is enough: the rest of the plan exceeds the
            budget alone.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.events import GaussianEvent
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> noise_multiplier(lambda z: GaussianEvent(noise_multiplier=z), budget=budget)
        3.73064
    """

    def fits(value: float) -> bool:
        return _fits(make(value), budget)

    if not fits(_MOST_NOISE):
        raise _infeasible(make(_MOST_NOISE), budget, "noise multiplier")
    low, high = math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
    while high - low > 1e-8:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if fits(math.exp(middle)) else (middle, high)
    return _nudged(canonical.round_up(math.exp(high), DIGITS), fits, up=True)


def steps(make: Callable[[int], Event], *, budget: PrivacyBudget) -> int:
    """Find the largest number of steps that keeps a plan inside its budget.

    Args:
        make: Builds the event tree of the whole plan from the number of steps.
        budget: What may be spent.

    Raises:
        InfeasibleBudgetError: Not even one step fits.
        ParameterError: Any number fits: the steps cost nothing.
    """
    if not _fits(make(1), budget):
        raise _infeasible(make(1), budget, "number of steps")
    low, high = 1, 2
    while _fits(make(high), budget):
        low, high = high, 2 * high
        if high > _MOST_STEPS:
            raise ParameterError(
                f"more than {_MOST_STEPS:,} steps fit the budget",
                hint="check that the steps cost anything at all",
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(make(middle), budget) else (low, middle)
    return low


def sample_rate(make: Callable[[float], Event], *, budget: PrivacyBudget) -> float:
    """Find the largest sample rate that keeps a plan inside its budget.

    Args:
        make: Builds the event tree of the whole plan from the sample rate.
        budget: What may be spent.

    Returns:
        The sample rate, rounded down to 6 significant digits; at most 1.

    Raises:
        InfeasibleBudgetError: Not even a rate of 1e-12 fits.
    """

    def fits(value: float) -> bool:
        return _fits(make(value), budget)

    if fits(1.0):
        return 1.0
    least = 1e-12
    if not fits(least):
        raise _infeasible(make(least), budget, "sample rate")
    low, high = math.log(least), 0.0
    while high - low > 1e-8:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(math.exp(middle)) else (low, middle)
    return _nudged(canonical.round_down(math.exp(low), DIGITS), fits, up=False)


def _fits(event: Event, budget: PrivacyBudget) -> bool:
    found = accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    )
    return found.upper <= budget.target_epsilon


def _nudged(value: float, fits: Callable[[float], bool], *, up: bool) -> float:
    """Move by one unit in the last kept digit until the value fits."""
    for _ in range(20):
        if fits(value):
            return value
        unit = 10.0 ** (math.floor(math.log10(value)) + 1 - DIGITS)
        rounding = canonical.round_up if up else canonical.round_down
        value = rounding(value + (0.6 if up else -0.6) * unit, DIGITS)
    raise AssertionError(f"{value!r} was found but does not fit")


def _infeasible(
    event: Event, budget: PrivacyBudget, what: str
) -> InfeasibleBudgetError:
    needed = accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    ).lower
    return InfeasibleBudgetError(
        f"no {what} fits: the rest of the plan alone needs epsilon "
        f"{canonical.text_up(needed, 3)} of {budget.target_epsilon:g}",
        stage=what,
        needed=needed,
        target=budget.target_epsilon,
        hint="raise the budget, or ask less of the other queries",
    )
