"""How well a plan uses its budget, and whether the budget is enough to learn from.

Two numbers, both computed from public constants alone.

**Efficiency.** Noise of standard deviation z C on a sum over T steps, each holding a
record with probability q, blurs the average gradient of n records by at least
C / (n mu), where mu is the Gaussian-DP parameter of the target. Every record in every
step reaches it; a small batch does not. The part that is reached is

    eta = q sqrt(T) / (z mu)                                     between 0 and 1

At equal epochs a large q with few steps reaches more, which is why large batches win.

**Feasibility.** A clipped gradient of length C competes with noise in sqrt(P) trained
parameters. Over the whole run the signal, were all gradients to agree, exceeds it by

    F = n mu eta / sqrt(P)

These are for search and display. Neither is a guarantee, and no guarantee uses them.

Units: noise multipliers in C; mu has none.
Source: Sander et al. 2023, arXiv:2210.03403 (total amount of noise); McKenna et al.
2025, arXiv:2501.18914 (noise-batch ratio); Dong, Roth, Su 2022, arXiv:1905.02383 (mu).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import accounting, canonical, checks, risk
from privplan.errors import InfeasibleBudgetError

if TYPE_CHECKING:
    from privplan.budget import PrivacyBudget
    from privplan.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class MuLeft:
    """The Gaussian-DP parameter of a budget, and what fixed events leave of it.

    Attributes:
        whole: mu of the target epsilon and delta.
        left: What is left for training; sqrt(whole^2 - fixed^2).
        fixed_share: The part of whole^2 that the fixed events take, 0 to 1.
    """

    whole: float
    left: float
    fixed_share: float


def mu_left(budget: PrivacyBudget, fixed: Event) -> MuLeft:
    """Return what a budget leaves for training after events that are already fixed.

    Independent Gaussian mechanisms add up in mu^2, so a query of noise multiplier z
    takes 1/z^2. Any other event counts as the Gaussian of the same epsilon.

    Args:
        budget: What may be spent in all.
        fixed: What else the plan or an earlier run does to the records.

    Raises:
        InfeasibleBudgetError: The fixed events alone exceed the budget.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.events import GaussianEvent
        >>> budget = PrivacyBudget(target_epsilon=10.0, target_delta=3.6e-4)
        >>> found = mu_left(budget, GaussianEvent(noise_multiplier=1.5))
        >>> round(found.whole, 3), round(found.left, 3), round(found.fixed_share, 3)
        (2.333, 2.236, 0.082)
    """
    delta = budget.target_delta
    whole = risk.gdp_mu(budget.target_epsilon, delta)
    cost = accounting.epsilon(fixed, delta=delta, adjacency=budget.adjacency).upper
    if not cost < budget.target_epsilon:
        raise InfeasibleBudgetError(
            f"what is fixed already costs epsilon {canonical.text_up(cost, 4)}, and "
            f"the whole budget is epsilon {budget.target_epsilon:g}",
            stage="fixed events",
            needed=cost,
            target=budget.target_epsilon,
            hint="raise --eps, or give the queries more noise",
        )
    taken = risk.gdp_mu(cost, delta) if cost > 0 else 0.0
    share = (taken / whole) ** 2
    return MuLeft(whole=whole, left=whole * math.sqrt(1 - share), fixed_share=share)


def efficiency(
    *, sample_rate: float, steps: int, noise_multiplier: float, mu: float
) -> float:
    """Return eta: the part of a budget's possible precision that training reaches.

    Args:
        sample_rate: q.
        steps: T.
        noise_multiplier: Noise standard deviation over C.
        mu: What is left for training, as `MuLeft.left`.

    Returns:
        Between 0 and 1. Where epsilon is next to nothing beside delta the ratio can
        pass 1 by a hair, and 1 is returned.

    Raises:
        ParameterError: A number is outside its range.

    Example:
        >>> eta = efficiency(
        ...     sample_rate=0.2, steps=200, noise_multiplier=1.397, mu=2.333
        ... )
        >>> round(eta, 3)
        0.868
    """
    checks.rate(sample_rate=sample_rate)
    checks.count(steps=steps)
    checks.positive(noise_multiplier=noise_multiplier, mu=mu)
    return min(1.0, sample_rate * math.sqrt(steps) / (noise_multiplier * mu))


def feasibility(
    *, records: int, mu: float, trained_parameters: int, efficiency: float = 1.0
) -> float:
    """Return F: the signal of all records over the noise in all parameters.

    Args:
        records: n, declared.
        mu: Of the budget, or of what is left of it.
        trained_parameters: P, the parameters that get noise.
        efficiency: eta; 1 gives F0, the most that any plan reaches.

    Raises:
        ParameterError: A number is outside its range.

    Example:
        >>> round(
        ...     feasibility(records=1347, mu=2.333, trained_parameters=58_600), 1
        ... )
        13.0
    """
    checks.count(records=records, trained_parameters=trained_parameters)
    checks.positive(mu=mu)
    checks.rate(efficiency=efficiency)
    return records * mu * efficiency / math.sqrt(trained_parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNoise:
    """The noise of one private step, over the length of one clipped gradient.

    Attributes:
        noise_std: Per coordinate of the averaged gradient, over C.
        noise_norm: Over all trained parameters, over C; the expected length.
        signal_to_noise: Length of the averaged gradient over that of the noise, if
            all clipped gradients agreed.
        expected_batch_size: Records per step, expected.
        participations: Steps that hold one record, expected.
    """

    noise_std: float
    noise_norm: float
    signal_to_noise: float
    expected_batch_size: float
    participations: float


def step_noise(
    *,
    records: int,
    sample_rate: float,
    steps: int,
    noise_multiplier: float,
    trained_parameters: int,
) -> StepNoise:
    """Return how the noise of one step compares with what it hides.

    Raises:
        ParameterError: A number is outside its range.

    Source:
        Abadi et al. 2016, Algorithm 1, arXiv:1607.00133: the step is the noisy sum
        over the expected batch, so the noise per coordinate is z C / (q n).

    Example:
        >>> found = step_noise(
        ...     records=1000, sample_rate=0.1, steps=50, noise_multiplier=2.0,
        ...     trained_parameters=10_000,
        ... )
        >>> found.noise_std, found.noise_norm, found.signal_to_noise
        (0.02, 2.0, 0.5)
    """
    checks.count(records=records, steps=steps, trained_parameters=trained_parameters)
    checks.rate(sample_rate=sample_rate)
    checks.positive(noise_multiplier=noise_multiplier)
    batch = sample_rate * records
    std = noise_multiplier / batch
    norm = std * math.sqrt(trained_parameters)
    return StepNoise(
        noise_std=std,
        noise_norm=norm,
        signal_to_noise=1 / norm,
        expected_batch_size=batch,
        participations=sample_rate * steps,
    )
