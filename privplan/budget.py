"""What is promised: to whom, how much, against which neighbour.

An epsilon means nothing alone. It belongs to a delta, to a neighbouring relation
(what may differ between two data sets that must be hard to tell apart) and to a unit
(whose presence is protected). The three travel together from the plan to the report.

Source: Dwork & Roth 2014, Definition 2.4; Ponomareva et al. 2023, section 5.3,
arXiv:2303.00654.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from privplan import canonical, checks
from privplan.errors import BudgetExceededError, ParameterError


class Adjacency(StrEnum):
    """Which two data sets count as neighbours."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    REPLACE_ONE = "replace-one"
    ZERO_OUT = "zero-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyUnit:
    """Whose presence is protected.

    Attributes:
        name: "record", or the name of the column that identifies a unit.
        max_records: The most records one unit contributes; public.
    """

    name: str = "record"
    max_records: int = 1

    def __post_init__(self) -> None:
        checks.count(max_records=self.max_records)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyBudget:
    """The most privacy a plan may spend.

    Attributes:
        target_epsilon: Upper end for epsilon; above 0.
        target_delta: Failure probability; between 0 and 1, and below 1/n.
        adjacency: Neighbouring relation of the promise.
        unit: Whose presence is protected.

    Example:
        >>> PrivacyBudget(target_epsilon=1.0, target_delta=1e-5).adjacency.value
        'add-or-remove-one'
    """

    target_epsilon: float
    target_delta: float
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE
    unit: PrivacyUnit = PrivacyUnit()

    def __post_init__(self) -> None:
        checks.positive(target_epsilon=self.target_epsilon)
        checks.probability(target_delta=self.target_delta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent on the same records before.

    Attributes:
        epsilon: At least 0.
        delta: At least 0, below 1.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        checks.non_negative(spent_epsilon=self.epsilon, spent_delta=self.delta)


NOTHING_SPENT = Spent(epsilon=0.0, delta=0.0)


def left_of(budget: PrivacyBudget, spent: Spent) -> PrivacyBudget:
    """Return what earlier runs leave of a budget; epsilons and deltas add.

    Basic composition is right also when the next run was chosen after seeing what the
    earlier ones gave.

    Args:
        budget: In all.
        spent: By earlier runs on the same records.

    Raises:
        BudgetExceededError: Nothing is left.

    Source:
        Dwork & Roth 2014, theorem 3.16.

    Example:
        >>> whole = PrivacyBudget(target_epsilon=2.0, target_delta=1e-5)
        >>> left_of(whole, Spent(epsilon=1.5, delta=5e-6)).target_epsilon
        0.5
    """
    if spent == NOTHING_SPENT:
        return budget
    epsilon = canonical.round_down(budget.target_epsilon - spent.epsilon, 12)
    delta = canonical.round_down(budget.target_delta - spent.delta, 12)
    if not (epsilon > 0 and delta > 0):
        raise BudgetExceededError(
            f"earlier runs spent ({spent.epsilon:g}, {spent.delta:g}) of "
            f"({budget.target_epsilon:g}, {budget.target_delta:g}), so nothing is left",
            stage="plan",
            needed=spent.epsilon,
            target=budget.target_epsilon,
            hint="raise --eps or --delta, if whoever granted the budget agrees",
        )
    return replace(budget, target_epsilon=epsilon, target_delta=delta)


def default_delta(records: int) -> float:
    """Return n^-1.1, rounded down to two digits: below 1/n for every n above 1.

    Args:
        records: n, the declared number of records; at least 2.

    Raises:
        ParameterError: `records` is below 2.

    Source:
        The usual choice delta < 1/n; exponent 1.1 as in Ponomareva et al. 2023,
        section 5.3.2.

    Example:
        >>> default_delta(60000)
        5.5e-06
    """
    checks.count(records=records)
    if records < 2:
        raise ParameterError(
            "n is 1, and one record cannot hide among others",
            hint="declare at least 2 records, in practice thousands",
        )
    return canonical.round_down(math.pow(records, -1.1), 2)


def check_delta(target_delta: float, records: int) -> None:
    """Refuse a delta at which releasing one random record whole would be allowed.

    Raises:
        ParameterError: `target_delta` is not below 1/n.
    """
    checks.probability(target_delta=target_delta)
    if not target_delta * records < 1:
        raise ParameterError(
            f"target_delta is {target_delta!r}, but with n = {records:,} it must be "
            f"below 1/n = {1 / records:.3g}",
            hint=f"give --delta {default_delta(max(records, 2))!r}, the default",
        )
