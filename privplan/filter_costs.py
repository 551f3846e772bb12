"""What an event costs a filter, and how much of it a budget holds.

Each kind of cost adds up, and turns into an epsilon at the end:

    gdp    1 / z^2 per Gaussian; a sum of m is one Gaussian query of noise m^(-1/2)
    zcdp   rho: 1 / (2 z^2) per Gaussian, e^2 / 2 per pure query of epsilon e, which
           bound the Renyi divergence of every order a by a rho
    rdp    the Renyi divergence of one order (`renyi.py`)

Limits are rounded down: what they turn into is never above the target.

Source: Dong, Roth, Su 2022, arXiv:1905.02383 (gdp); Bun & Steinke 2016,
arXiv:1605.02065, propositions 1.4 and 1.6 (zcdp); Mironov 2017 (rdp).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from privplan import calibration, renyi
from privplan.budget import PrivacyBudget
from privplan.errors import InfeasibleBudgetError, PolicyError
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    phases,
)

if TYPE_CHECKING:
    from privplan.events import Event, Phase

_HALVINGS = 200
_SHRINK = 1 - 1e-12  # of a limit: more than its formulas can round


def gaussian(event: Event) -> float:
    """Return the sum of 1 / z^2 over plain Gaussian queries.

    Raises:
        PolicyError: Something else is among them.

    Example:
        >>> gaussian(GaussianEvent(noise_multiplier=2.0))
        0.25
    """
    terms = []
    for phase in phases(event):
        if not isinstance(phase.event, GaussianEvent):
            raise _no_bound("gdp", phase, "zcdp or rdp")
        terms.append(phase.count * (1 / phase.event.noise_multiplier) ** 2)
    return math.fsum(terms)


def concentrated(event: Event) -> float:
    """Return the rho of Gaussian and pure queries.

    Raises:
        PolicyError: A sampled query is among them, or one without noise.

    Example:
        >>> concentrated(RandomizedResponseEvent(epsilon=0.5))
        0.125
    """
    terms = []
    for phase in phases(event):
        match phase.event:
            case GaussianEvent(noise_multiplier=noise):
                rho = 0.5 * (1 / noise) ** 2
            case LaplaceEvent(noise_multiplier=noise):
                rho = min(1 / noise, 0.5 * (1 / noise) ** 2)
            case RandomizedResponseEvent(epsilon=epsilon):
                rho = min(epsilon, 0.5 * epsilon**2)
            case _:
                raise _no_bound("zcdp", phase, "rdp")
        terms.append(phase.count * rho)
    return math.fsum(terms)


@lru_cache(maxsize=256)
def gaussian_limit(epsilon: float, delta: float) -> float:
    """Return the most that plain Gaussian queries may sum to, six digits of noise.

    Example:
        >>> round(gaussian_limit(1.0, 1e-5), 6)
        0.071851
    """
    budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
    noise = calibration.noise_multiplier(
        lambda z: GaussianEvent(noise_multiplier=z), budget=budget
    )
    return (1 / noise) ** 2 * _SHRINK


def concentrated_epsilon(rho: float, delta: float) -> float:
    """Return the epsilon of a rho: the best order, to three digits; each is a proof.

    Example:
        >>> round(concentrated_epsilon(0.02, 1e-5), 4)
        0.7943
    """
    centre = 1 + math.sqrt(-math.log(delta) / rho) if rho > 0 else math.inf
    orders = (1 + (centre - 1) * 1.01**k for k in range(-90, 31))
    return min(
        (renyi.epsilon_at(a, rho * a, delta) for a in orders if 1 < a < math.inf),
        default=0.0,
    )


@lru_cache(maxsize=256)
def concentrated_limit(epsilon: float, delta: float) -> float:
    """Return a rho whose epsilon is at most the target, and hardly less.

    Example:
        >>> round(concentrated_limit(1.0, 1e-5), 5)
        0.03056
    """
    low, high = 0.0, epsilon
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if concentrated_epsilon(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
        if high - low < 1e-12 * high:
            break
    return low * _SHRINK


def renyi_limits(
    orders: tuple[float, ...], epsilon: float, delta: float
) -> tuple[float, ...]:
    """Return the most divergence of each committed order.

    Each is a proof of epsilon at its equal share of delta, see `filters.py`; 0 for an
    order that proves nothing at that share.

    Example:
        >>> one, = renyi_limits((16.0,), 1.0, 1e-5)
        >>> first, second = renyi_limits((16.0, 64.0), 1.0, 1e-5)
        >>> round(one, 4), round(first, 4), round(second, 4)
        (0.4818, 0.4356, 0.888)
    """
    share = delta / len(orders)
    found = [renyi.divergence_within(order, epsilon, share) for order in orders]
    return tuple(max(0.0, limit * _SHRINK) for limit in found)


def renyi_epsilon(
    orders: tuple[float, ...], limits: tuple[float, ...], delta: float
) -> float:
    """Return the epsilon of committed orders at their limits, those that have one."""
    share = delta / len(orders)
    pairs = zip(orders, limits, strict=True)
    return max(renyi.epsilon_at(a, limit, share) for a, limit in pairs if limit > 0)


def best_order(event: Event, budget: PrivacyBudget) -> float:
    """Choose the order to commit: the one that admits what is planned most often.

    The choice is made before the data is read, from a plan; what really runs may
    differ, and the filter holds at any order.

    Args:
        event: What is expected to run.
        budget: The target of the filter.

    Raises:
        InfeasibleBudgetError: The event does not fit once at any order.

    Example:
        >>> from privplan.events import PoissonSampledGaussianEvent, SelfComposedEvent
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=2.0)
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> best_order(SelfComposedEvent(event=step, count=200), budget)
        17.0
    """
    target, delta = budget.target_epsilon, budget.target_delta
    costs = renyi.curve(event)
    limits = [renyi.divergence_within(a, target, delta) for a in renyi.ORDERS]
    shares = [
        cost / limit if limit > 0 else math.inf
        for cost, limit in zip(costs, limits, strict=True)
    ]
    least = min(shares)
    if not least <= 1:
        needed = renyi.best(costs, delta=delta)
        raise InfeasibleBudgetError(
            f"what is planned costs epsilon {needed:.4g} by Renyi divergences, and the "
            f"filter's target is {target:g}",
            stage="filter",
            needed=needed,
            target=target,
            hint="add noise, run fewer steps, or raise the target",
        )
    return renyi.ORDERS[shares.index(least)]


def _no_bound(kind: str, phase: Phase, other: str) -> PolicyError:
    return PolicyError(
        f"a filter of kind '{kind}' has no bound for a {type(phase.event).__name__}",
        hint=f"use a filter of kind {other}, begun before the first run",
    )
