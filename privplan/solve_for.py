"""The other unknowns: epsilon, delta, batch size, one scale for all noise.

`calibration` finds noise, rate and steps. These find what else may be left open, with
the same promise: the number that is returned, rounded as it is returned, has been
recounted and keeps the target. Where no number does, the error says what stands in the
way: if the phases without an unknown cost too much already, how much.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from privplan import accounting, calibration, canonical, checks
from privplan.budget import Adjacency
from privplan.errors import InfeasibleBudgetError, ParameterError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledDiscreteGaussianEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)
from privplan.phase_text import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.budget import PrivacyBudget
    from privplan.events import Event

_DIGITS = 6
_NUDGES = 3


def unknown(
    make: Callable[[float], Event],
    *,
    which: Unknown,
    fixed: Event,
    budget: PrivacyBudget,
) -> float:
    """Find the unknown of one phase, jointly with everything that is fixed.

    Args:
        make: From the unknown to the event of its phase; gets a whole number if the
            unknown is a count.
        which: What is unknown.
        fixed: All other phases, as one event.
        budget: What may be spent on everything.

    Returns:
        The least noise multiplier, the highest rate or the most steps.

    Raises:
        InfeasibleBudgetError: The fixed phases alone cost more than the budget, or
            no value keeps it.
        PolicyError: No route is right for these events under this adjacency.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> unknown(
        ...     lambda n: SelfComposedEvent(
        ...         event=GaussianEvent(noise_multiplier=10.0), count=int(n)
        ...     ),
        ...     which=Unknown.STEPS,
        ...     fixed=GaussianEvent(noise_multiplier=5.0),
        ...     budget=PrivacyBudget(target_epsilon=1.0, target_delta=1e-5),
        ... )
        3
    """
    cost = _cost(fixed, budget)
    if not cost <= budget.target_epsilon:
        raise InfeasibleBudgetError(
            f"the fixed phases alone cost epsilon {canonical.text_up(cost, 4)}, and "
            f"the budget is epsilon {budget.target_epsilon:g}",
            stage="calibration",
            needed=cost,
            target=budget.target_epsilon,
            hint="raise the target epsilon, or drop a fixed phase or give it more "
            "noise",
        )

    def whole(value: float) -> Event:
        return ComposedEvent(events=(fixed, make(value)))

    match which:
        case Unknown.NOISE_MULTIPLIER:
            return calibration.noise_multiplier(whole, budget=budget)
        case Unknown.SAMPLE_RATE:
            return calibration.sample_rate(whole, budget=budget)
        case Unknown.STEPS:
            return calibration.steps(whole, budget=budget)


def epsilon(
    event: Event,
    *,
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> float:
    """Find the least epsilon to promise at a delta: six digits, rounded up.

    Raises:
        ParameterError: `delta` is not between 0 and 1.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> epsilon(GaussianEvent(noise_multiplier=1.0), delta=1e-5)
        4.37718
    """
    upper = accounting.epsilon(event, delta=delta, adjacency=adjacency).upper
    return canonical.round_up(upper, _DIGITS) if math.isfinite(upper) else upper


def delta(
    event: Event,
    *,
    epsilon: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> float:
    """Find the least delta to promise at an epsilon: six digits, rounded up.

    Raises:
        ParameterError: `epsilon` is negative, infinite or NaN.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> delta(GaussianEvent(noise_multiplier=1.0), epsilon=1.0)
        0.126937
    """
    upper = accounting.delta(event, epsilon=epsilon, adjacency=adjacency).upper
    return min(1.0, canonical.round_up(upper, _DIGITS))


def expected_batch_size(
    make: Callable[[float], Event], *, records: int, budget: PrivacyBudget
) -> float:
    """Find the largest expected batch that keeps an event inside a budget.

    Args:
        make: From a sample rate to the whole event, fixed phases included.
        records: n, the declared number of records.
        budget: What may be spent.

    Returns:
        Records, six digits, rounded down: at rate `expected_batch_size / records` the
        budget is kept.

    Raises:
        InfeasibleBudgetError: Even very rare sampling exceeds the budget.

    Example:
        >>> from privplan.batches import dp_sgd
        >>> from privplan.budget import PrivacyBudget
        >>> expected_batch_size(
        ...     lambda rate: dp_sgd(sample_rate=rate, noise_multiplier=1.1, steps=500),
        ...     records=60_000,
        ...     budget=PrivacyBudget(target_epsilon=2.0, target_delta=1e-5),
        ... )
        1057.94
    """
    checks.count(records=records)
    rate = calibration.sample_rate(make, budget=budget)
    found = canonical.round_down(rate * records, _DIGITS)
    for _ in range(_NUDGES):
        if _cost(make(min(found / records, 1.0)), budget) <= budget.target_epsilon:
            return found
        found = canonical.round_down(math.nextafter(found, 0.0), _DIGITS)
    raise InfeasibleBudgetError(
        f"no batch near {found:g} keeps epsilon {budget.target_epsilon:g}",
        stage="calibration",
        needed=_cost(make(found / records), budget),
        target=budget.target_epsilon,
        hint="let the event cost more at a higher sample rate, never less",
    )


def noise_scale(event: Event, *, budget: PrivacyBudget) -> float:
    """Find the least factor on all noise multipliers that keeps a budget.

    Pure queries keep their epsilon: they have no noise multiplier.

    Args:
        event: Phases whose noise multipliers have the right proportions.
        budget: What may be spent.

    Returns:
        A factor for `scaled`: six digits, rounded up.

    Raises:
        ParameterError: Nothing in the event has a noise multiplier.
        InfeasibleBudgetError: What no factor changes exceeds the budget.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> noise_scale(GaussianEvent(noise_multiplier=2.0), budget=budget)
        1.86532
    """
    if scaled(event, 2.0) == event:
        raise ParameterError(
            "nothing in this event has a noise multiplier to scale",
            hint="give at least one Gaussian, Laplace or DP-SGD phase",
        )
    return calibration.noise_multiplier(lambda s: scaled(event, s), budget=budget)


def scaled(event: Event, scale: float) -> Event:
    """Return an event with every noise multiplier multiplied by one factor.

    Raises:
        ParameterError: The factor is not a finite number above 0.

    Example:
        >>> scaled(GaussianEvent(noise_multiplier=2.0), 1.5)
        GaussianEvent(noise_multiplier=3.0)
    """
    checks.positive(scale=scale)
    match event:
        case GaussianEvent(noise_multiplier=noise):
            return GaussianEvent(noise_multiplier=noise * scale)
        case LaplaceEvent(noise_multiplier=noise):
            return LaplaceEvent(noise_multiplier=noise * scale)
        case PoissonSampledGaussianEvent() | PoissonSampledDiscreteGaussianEvent():
            return replace(event, noise_multiplier=event.noise_multiplier * scale)
        case SelfComposedEvent():
            return SelfComposedEvent(
                event=scaled(event.event, scale), count=event.count
            )
        case ComposedEvent():
            return ComposedEvent(events=tuple(scaled(e, scale) for e in event.events))
        case RandomizedResponseEvent() | NoOpEvent() | NonPrivateEvent():
            return event


def _cost(event: Event, budget: PrivacyBudget) -> float:
    return accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    ).upper
