"""The planner's choice: how many steps, how large a batch, how many noise draws.

A budget and a machine leave one family of plans: T steps of B records with K noise
draws each, K B T draws in all, and the noise that the budget then asks for. The best
of them is found without looking at a record:

    K      round(v_t / v_x); halved while eta < 1/2, for a larger batch instead;
           doubled while eta >= 0.9 and it pays, since more draws cost no privacy
    T      up a ladder of steps while the gain grows; ties of 2 % go to fewer steps
    B      what the compute allows, at most n
    noise  calibrated together with every query that is already fixed

The ladder begins at 300 steps from scratch and at 60 from prepared weights: fewer were
never seen to train anything. `candidates` says what gain is.

What the user fixed stays fixed, whatever it costs: a fixed rate still gets the fewest
steps of the ladder where the compute would not reach so far. If steps, rate and draws
all are fixed, only the noise is left to find.

Source: rules measured on 8 x 8 digits; De et al. 2022, arXiv:2204.13650, for large
batches; Dockhorn et al. 2023, arXiv:2210.09929, for noise draws up to 32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan.candidates import (
    Candidate,
    ChoiceRequest,
    Compute,
    Start,
    calibrated,
    candidate,
)
from privplan.efficiency import MuLeft, mu_left

if TYPE_CHECKING:
    from privplan.recipes import Recipe

FEWEST_STEPS = {Start.SCRATCH: 300, Start.PREPARED: 60}
MOST_STEPS = 20_000
MOST_DRAWS_PER_RECORD = 32
SMALLEST_BATCH = 16
STARVED, SATED = 0.5, 0.9
TIE = 0.02

_RUNGS_PER_DOUBLING = 3
_WORTH_DOUBLING = 1.05


Look = Callable[[int, int], Candidate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the planner chose, and what it looked at.

    Attributes:
        request: What was fixed.
        mu: What the fixed events leave of the budget.
        chosen: The best, with a calibrated noise multiplier.
        looked_at: Every candidate, with estimated noise multipliers; by K, then T.
    """

    request: ChoiceRequest
    mu: MuLeft
    chosen: Candidate
    looked_at: tuple[Candidate, ...]


def recipe_compute(settings: Recipe, records: int) -> Compute:
    """Return the draws of a recipe: the compute of a user who names none.

    Example:
        >>> from privplan.recipes import recipe
        >>> recipe_compute(recipe(records=1437, height=8, width=8), 1437).draws
        71850.0
    """
    per_step = settings.noise_multiplicity * settings.sample_rate * records
    return Compute(draws=per_step * settings.steps)


def choose(request: ChoiceRequest) -> Choice:
    """Choose steps, sample rate, noise draws and noise for a budget and a machine.

    Args:
        request: What is fixed, all of it public.

    Raises:
        InfeasibleBudgetError: The fixed events alone exceed the budget.
        ParameterError: A number is outside its range.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> found = choose(
        ...     ChoiceRequest(
        ...         budget=PrivacyBudget(target_epsilon=10.0, target_delta=3e-4),
        ...         records=1437, trained_parameters=93_961,
        ...         compute=Compute(draws=72_000), start=Start.PREPARED,
        ...     )
        ... ).chosen
        >>> found.steps, found.noise_multiplicity, round(found.efficiency, 2)
        (60, 5, 0.67)
    """
    mu, best, looked_at = search(request)
    return Choice(
        request=request,
        mu=mu,
        chosen=calibrated(request, mu, best),
        looked_at=looked_at,
    )


def search(request: ChoiceRequest) -> tuple[MuLeft, Candidate, tuple[Candidate, ...]]:
    """Search as `choose` does, without the last calibration.

    Returns:
        What is left of the budget; the best; all that was looked at, by K, then T.

    Raises:
        InfeasibleBudgetError: The fixed events alone exceed the budget.
    """
    mu = mu_left(request.budget, request.fixed)
    seen: dict[tuple[int, int], Candidate] = {}

    def look(steps: int, draws: int) -> Candidate:
        if (steps, draws) not in seen:
            seen[steps, draws] = candidate(
                request, mu, steps=steps, noise_multiplicity=draws
            )
        return seen[steps, draws]

    best = _best_of_draws(request, look)
    by_draws = sorted(seen.values(), key=lambda c: (c.noise_multiplicity, c.steps))
    return mu, best, tuple(by_draws)


def _best_of_draws(request: ChoiceRequest, look: Look) -> Candidate:
    """Try K, then smaller K where the plan is starved and larger where it is sated."""
    draws = request.noise_multiplicity or _first_draws(request)
    best = here = _climb(request, draws, look)
    if request.noise_multiplicity is None:
        while _is_starved(request, here) and draws > 1:
            draws //= 2
            here = _climb(request, draws, look)
            best = max(best, here, key=lambda c: c.gain)
        while best.efficiency >= SATED and draws < _most_draws(request):
            draws = min(2 * draws, _most_draws(request))
            here = _climb(request, draws, look)
            if not here.gain > _WORTH_DOUBLING * best.gain:
                break
            best = here
    return _around(request, best, look)


def _is_starved(request: ChoiceRequest, found: Candidate) -> bool:
    if request.sample_rate is not None:
        return False
    too_few = request.steps is None and found.steps < FEWEST_STEPS[request.start]
    return found.efficiency < STARVED or too_few


def _first_draws(request: ChoiceRequest) -> int:
    wanted = min(max(round(request.spread_ratio), 1), MOST_DRAWS_PER_RECORD)
    return min(wanted, _most_draws(request))


def _most_draws(request: ChoiceRequest) -> int:
    """Return the largest K that a fixed rate leaves compute for."""
    if request.sample_rate is None:
        return MOST_DRAWS_PER_RECORD
    steps = request.steps or FEWEST_STEPS[request.start]
    records = request.sample_rate * request.records * steps
    return min(max(int(request.compute.draws / records), 1), MOST_DRAWS_PER_RECORD)


def _climb(request: ChoiceRequest, draws: int, look: Look) -> Candidate:
    """Double the steps while the gain grows by more than a tie."""
    ladder = _ladder(request, draws)
    best = look(ladder[0], draws)
    for steps in ladder[_RUNGS_PER_DOUBLING::_RUNGS_PER_DOUBLING]:
        higher = look(steps, draws)
        if not higher.gain > (1 + TIE) * best.gain:
            break
        best = higher
    return best


def _around(request: ChoiceRequest, found: Candidate, look: Look) -> Candidate:
    """Look at the rungs around the best, and take the lowest that ties with the top."""
    ladder = _ladder(request, found.noise_multiplicity)
    at, reach = ladder.index(found.steps), _RUNGS_PER_DOUBLING - 1
    rungs = ladder[max(at - reach, 0) : at + reach + 1]
    near = [look(steps, found.noise_multiplicity) for steps in rungs]
    most = max(one.gain for one in near)
    return next(one for one in near if one.gain >= (1 - TIE) * most)


def _ladder(request: ChoiceRequest, draws: int) -> list[int]:
    """Return the steps to try, three per doubling, two digits each."""
    if request.steps is not None:
        return [request.steps]
    low = FEWEST_STEPS[request.start]
    if request.sample_rate is None:
        most = max(int(request.compute.draws / (draws * SMALLEST_BATCH)), 1)
        low = min(low, most)
    else:
        records = request.sample_rate * request.records
        most = max(int(request.compute.draws / (draws * records)), low)
    rungs = math.floor(math.log2(min(most, MOST_STEPS) / low) * _RUNGS_PER_DOUBLING)
    steps = (low * 2 ** (rung / _RUNGS_PER_DOUBLING) for rung in range(rungs + 1))
    return sorted({two_digits(value) for value in steps})


def two_digits(value: float) -> int:
    """Round a number to two significant digits, for search and display."""
    return int(float(f"{value:.2g}"))
