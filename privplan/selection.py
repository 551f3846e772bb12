"""What choosing the best of several private runs costs.

To train k times and keep the best looks at the data k times, and paying for all k runs
is much. Two cheaper ways are counted here.

*Repeat and select.* Draw a random number of runs K, run the same private mechanism K
times, release the best run and nothing of the others. The score must be part of what
one run releases, so its cost belongs to the run's event; K must be drawn afresh and
stay secret, the clock included. With divergences r(a) of one run:

    truncated negative binomial, shape s > -1, stopping g
        r'(a) = r(a) + (1+s) min_b [(1 - 1/b) r(b) + log(1/g) / b] + log(E K) / (a-1)
    Poisson, mean m
        r'(a) = r(a) + m delta(log(1 + 1/(a-1))) + log(m) / (a-1)

A pure run of epsilon e costs (2+s) e in all, however many runs are expected.

*A noisy maximum* over k finished candidates whose scores a record moves by at most 1
each: pure, at any k; or noise on every score, which releases all of them.

Source: Papernot & Steinke 2022, arXiv:2110.03620, definition 1, theorems 2 and 6,
corollary 3. Noisy maximum: McSherry & Talwar 2007, with Gumbel noise; any pure
mechanism is no worse than `RandomizedResponseEvent` (Kairouz et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import accounting, canonical, checks, renyi
from privplan.budget import Adjacency
from privplan.errors import InfeasibleBudgetError, PolicyError
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    phases,
)
from privplan.run_counts import NegativeBinomialRuns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privplan.budget import PrivacyBudget
    from privplan.events import Event
    from privplan.run_counts import PoissonRuns, Runs

_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e6
_DIGITS = 4
_SAFETY = 1 + 1e-12


def epsilon_upper(event: Event, runs: Runs, *, delta: float) -> float:
    """Bound epsilon of releasing the best of a random number of runs.

    Args:
        event: One run, its score included.
        runs: How many runs there are.
        delta: Between 0 and 1.

    Returns:
        An upper end, under add-or-remove-one; infinite where there is none.

    Raises:
        ParameterError: `delta` is not strictly between 0 and 1.

    Example:
        >>> run = RandomizedResponseEvent(epsilon=0.1)
        >>> few = NegativeBinomialRuns.expecting(1000.0, shape=0.0)
        >>> round(epsilon_upper(run, few, delta=1e-12), 9)
        0.2
    """
    checks.probability(delta=delta)
    if not phases(event):
        return 0.0
    one = renyi.curve(event)
    if isinstance(runs, NegativeBinomialRuns):
        found = renyi.best(_negative_binomial(one, runs, event), delta=delta)
        return min(found, (2 + runs.shape) * _pure(event) * _SAFETY)
    return _poisson(one, runs, event, delta)


def noise_multiplier(
    make: Callable[[float], Event], runs: Runs, *, budget: PrivacyBudget
) -> float:
    """Find the least noise with which selecting among runs keeps a budget.

    Args:
        make: From a noise multiplier to the event of one run; more noise must not cost
            more.
        runs: How many runs there are.
        budget: What may be spent in all.

    Returns:
        Four significant digits, rounded up; recounted to be inside the budget.

    Raises:
        InfeasibleBudgetError: No noise is enough.
        PolicyError: The budget is under replace-one, which is not bounded here.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> runs = NegativeBinomialRuns.expecting(10.0, shape=0.0)
        >>> noise_multiplier(
        ...     lambda z: GaussianEvent(noise_multiplier=z), runs, budget=budget
        ... )
        7.018
    """
    if budget.adjacency is Adjacency.REPLACE_ONE:
        raise PolicyError(
            "selection among runs has no replace-one epsilon here",
            hint="state the claim under add-or-remove-one",
        )

    def cost(noise: float) -> float:
        return epsilon_upper(make(noise), runs, delta=budget.target_delta)

    if not cost(_MOST_NOISE) <= budget.target_epsilon:
        raise InfeasibleBudgetError(
            "even with very much noise, selecting costs more than the budget of "
            f"epsilon {budget.target_epsilon:g}",
            stage="selection",
            needed=cost(_MOST_NOISE),
            target=budget.target_epsilon,
            hint="expect fewer runs, or raise --eps",
        )
    low, high = math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
    while high - low > 1e-5:
        middle = 0.5 * (low + high)
        if cost(math.exp(middle)) <= budget.target_epsilon:
            high = middle
        else:
            low = middle
    found = canonical.round_up(math.exp(high), _DIGITS)
    while not cost(found) <= budget.target_epsilon:
        found = canonical.round_up(math.nextafter(found, math.inf), _DIGITS)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyMaximum:
    """Choose one of several finished candidates by the largest score plus Gumbel noise.

    A record added or removed moves each score by at most 1, in any direction. The
    choice is then the exponential mechanism, and pure; no score is released. What the
    candidates themselves cost is counted elsewhere.

    Attributes:
        epsilon: The cost of the choice; above 0.
        candidates: How many there are; does not change the cost.

    Example:
        >>> pick = NoisyMaximum(epsilon=0.05, candidates=8)
        >>> pick.noise_scale, pick.event
        (40.0, RandomizedResponseEvent(epsilon=0.05))
    """

    epsilon: float
    candidates: int

    def __post_init__(self) -> None:
        checks.positive(epsilon=self.epsilon)
        checks.count(candidates=self.candidates)

    @property
    def noise_scale(self) -> float:
        """Return the scale of the Gumbel noise, in units of the score."""
        return 2 / self.epsilon

    @property
    def event(self) -> RandomizedResponseEvent:
        """Return the worst of all pure mechanisms of this epsilon."""
        return RandomizedResponseEvent(epsilon=self.epsilon)

    def shortfall(self, chance: float) -> float:
        """Return how far the chosen score may be below the best, but for a chance.

        Source: Dwork & Roth 2014, theorem 3.11.

        Example:
            >>> round(NoisyMaximum(epsilon=0.05, candidates=8).shortfall(0.05), 1)
            203.0
        """
        checks.probability(chance=chance)
        return self.noise_scale * math.log(self.candidates / chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyScores:
    """Release the scores of several candidates, each with Gaussian noise.

    A record moves each score by at most 1, so all of them, as one vector, by at most
    the root of their number. Choosing, and looking at all scores, is then free.

    Attributes:
        noise_std: Standard deviation on each score, in units of the score.
        candidates: How many there are.

    Example:
        >>> NoisyScores(noise_std=60.0, candidates=9).event
        GaussianEvent(noise_multiplier=20.0)
    """

    noise_std: float
    candidates: int

    def __post_init__(self) -> None:
        checks.positive(noise_std=self.noise_std)
        checks.count(candidates=self.candidates)

    @property
    def event(self) -> GaussianEvent:
        """Return the one Gaussian query that this is."""
        noise_multiplier = self.noise_std / math.sqrt(self.candidates)
        return GaussianEvent(noise_multiplier=noise_multiplier)


def _negative_binomial(
    one: Sequence[float], runs: NegativeBinomialRuns, event: Event
) -> list[float]:
    """Theorem 2, with the inner order anywhere from 1 to infinity."""
    log_stop = -math.log(runs.stopping)
    inner = [
        (1 - 1 / b) * r + log_stop / b for b, r in zip(renyi.ORDERS, one, strict=True)
    ]
    fixed = (1 + runs.shape) * min(*inner, log_stop, _pure(event))
    more = math.log(runs.mean)
    return [
        (r + fixed + more / (a - 1)) * _SAFETY
        for a, r in zip(renyi.ORDERS, one, strict=True)
    ]


def _poisson(
    one: Sequence[float], runs: PoissonRuns, event: Event, delta: float
) -> float:
    """Theorem 6: with a loose delta at every order, then upward with an exact one.

    The exact delta lets larger orders in, so the walk goes up from the best order and
    ends where epsilon grows again. Every order is a proof of its own.
    """

    def epsilon(i: int, lost: float) -> float:
        a = renyi.ORDERS[i]
        extra = runs.mean * lost + math.log(runs.mean) / (a - 1)
        whole = one[i] + extra + 1e-12 * (one[i] + abs(extra))
        return renyi.epsilon_at(a, max(whole, 0.0), delta)

    touch = [math.log1p(1 / (a - 1)) for a in renyi.ORDERS]
    loose = [epsilon(i, _loose_delta(one, x)) for i, x in enumerate(touch)]
    best = min(loose)
    if not best < math.inf:
        return math.inf
    for i in range(loose.index(best), len(touch)):
        lost = accounting.delta(event, epsilon=touch[i]).upper
        found = epsilon(i, lost)
        if not found < best and i > loose.index(min(loose)):
            break
        best = min(best, found)
    return best


def _loose_delta(one: Sequence[float], epsilon: float) -> float:
    """Return delta of one run by its divergences: `renyi.epsilon_at`, solved for it."""
    logs = (
        (a - 1) * (r - epsilon + math.log1p(-1 / a)) - math.log(a)
        for a, r in zip(renyi.ORDERS, one, strict=True)
    )
    return math.exp(min(0.0, *logs)) * _SAFETY


def _pure(event: Event) -> float:
    """Return the sum of pure epsilons, infinite if anything is not pure."""
    total = 0.0
    for phase in phases(event):
        match phase.event:
            case LaplaceEvent(noise_multiplier=noise):
                total += phase.count / noise
            case RandomizedResponseEvent(epsilon=epsilon):
                total += phase.count * epsilon
            case _:
                return math.inf
    return total
