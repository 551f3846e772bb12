"""Whole tables at once: epsilon, or the least noise, over arrays of settings.

Arrays are broadcast against each other as numpy does, and each distinct setting is
counted once. A setting that costs at least as much as another (no more noise, no lower
rate, no fewer steps) bounds it, so the arrays never go the wrong way along an axis, not
even in the last digit.

Poisson-sampled Gaussian steps only, as in DP-SGD. A calibration begins at the Gaussian
that resembles the run, which is at once near the answer: beginning it at a neighbour's
answer would save nothing.

Source: a mechanism at a lower rate is a mixture of the one at a higher rate and of
nothing, so it costs no more (joint convexity of the hockey-stick divergence).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privplan import accounting, calibration, checks, profile
from privplan.batches import dp_sgd
from privplan.budget import Adjacency
from privplan.profile import Bounds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from privplan.budget import PrivacyBudget
    from privplan.profile import Reals


def epsilons(
    noise_multiplier: ArrayLike,
    sample_rate: ArrayLike,
    steps: ArrayLike,
    *,
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Reals:
    """Return what each setting costs: upper ends of epsilon, the ones to claim.

    Args:
        noise_multiplier: Noise over clipping norm; each above 0.
        sample_rate: Probability of a record per step; each in (0, 1].
        steps: Private steps; whole numbers of at least 1.
        delta: Between 0 and 1.
        adjacency: Which data sets count as neighbours.

    Returns:
        Upper ends in the broadcast shape.

    Raises:
        ParameterError: An entry is not allowed; its index is named.
        PolicyError: No route is right for sampled steps under this adjacency.

    Example:
        >>> table = epsilons([[1.0], [2.0]], 0.02, [100, 1000], delta=1e-5)
        >>> table.round(4).tolist()
        [[1.4273, 3.8991], [0.4047, 1.3297]]
    """
    return epsilon_bounds(
        noise_multiplier, sample_rate, steps, delta=delta, adjacency=adjacency
    ).upper


def epsilon_bounds(
    noise_multiplier: ArrayLike,
    sample_rate: ArrayLike,
    steps: ArrayLike,
    *,
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bounds:
    """Bound what each setting costs, from both sides.

    Args:
        noise_multiplier: As in `epsilons`.
        sample_rate: As in `epsilons`.
        steps: As in `epsilons`.
        delta: Between 0 and 1.
        adjacency: Which data sets count as neighbours.

    Raises:
        ParameterError: An entry is not allowed; its index is named.
        PolicyError: No route is right for sampled steps under this adjacency.
    """
    checks.probability(delta=delta)
    noises = np.asarray(noise_multiplier, dtype=np.float64)
    allowed = (noises > 0) & (noises < np.inf)
    profile.require(noises, "noise_multiplier", allowed, "above 0")
    rates, counts = _settings(sample_rate, steps)
    table = np.broadcast_arrays(noises, rates, counts)
    rows, places = _distinct(*table)
    found = [
        accounting.epsilon(
            dp_sgd(sample_rate=rate, noise_multiplier=noise, steps=int(count)),
            delta=delta,
            adjacency=adjacency,
        )
        for noise, rate, count in rows.tolist()
    ]
    order = rows * (-1.0, 1.0, 1.0)
    lower = -_ordered(-order, np.array([-bracket.lower for bracket in found]))
    upper = _ordered(order, np.array([bracket.upper for bracket in found]))
    shape = table[0].shape
    return Bounds(lower[places].reshape(shape), upper[places].reshape(shape))


def noise_multipliers(
    sample_rate: ArrayLike, steps: ArrayLike, *, budget: PrivacyBudget
) -> Reals:
    """Return the least noise multiplier that keeps each setting inside a budget.

    Args:
        sample_rate: Probability of a record per step; each in (0, 1].
        steps: Private steps; whole numbers of at least 1.
        budget: What may be spent by each setting alone.

    Returns:
        Six digits, rounded up, in the broadcast shape.

    Raises:
        ParameterError: An entry is not allowed; its index is named.
        InfeasibleBudgetError: No noise is enough for one of them.
        PolicyError: No route is right for sampled steps under this adjacency.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> budget = PrivacyBudget(target_epsilon=2.0, target_delta=1e-5)
        >>> noise_multipliers([0.01, 0.05], 500, budget=budget).tolist()
        [0.851899, 2.40295]
    """
    rates, counts = _settings(sample_rate, steps)
    table = np.broadcast_arrays(rates, counts)
    rows, places = _distinct(*table)
    found = [_noise_multiplier(rate, int(n), budget) for rate, n in rows.tolist()]
    least = _ordered(rows, np.array(found))
    return least[places].reshape(table[0].shape)


def _noise_multiplier(rate: float, steps: int, budget: PrivacyBudget) -> float:
    return calibration.noise_multiplier(
        lambda noise: dp_sgd(sample_rate=rate, noise_multiplier=noise, steps=steps),
        budget=budget,
    )


def _settings(sample_rate: ArrayLike, steps: ArrayLike) -> tuple[Reals, Reals]:
    rates = np.asarray(sample_rate, dtype=np.float64)
    profile.require(rates, "sample_rate", (rates > 0) & (rates <= 1), "in (0, 1]")
    counts = np.asarray(steps, dtype=np.float64)
    whole = (counts >= 1) & (counts < 2**53) & (np.floor(counts) == counts)
    profile.require(counts, "steps", whole, "a whole number of at least 1")
    return rates, counts


def _distinct(*columns: Reals) -> tuple[Reals, NDArray[np.intp]]:
    """Return each setting once, as rows, and where each place finds its own."""
    rows = np.stack([column.reshape(-1) for column in columns], axis=1)
    found, places = np.unique(rows, axis=0, return_inverse=True)
    return found, places.reshape(-1)


def _ordered(rows: Reals, upper: Reals) -> Reals:
    """Lower each bound to the least among settings that cost at least as much.

    Args:
        rows: Settings, shape (settings, numbers); larger numbers cost more.
        upper: Upper bounds, shape (settings,).
    """
    return np.array([upper[(rows >= row).all(axis=1)].min() for row in rows])
