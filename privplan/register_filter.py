"""A data set's budget as a Renyi filter: more runs than epsilons that add up allow.

    basic        epsilon_1 + epsilon_2 + ... <= epsilon     each run at its own delta
    rdp-filter   at one committed order a at least,
                 D_a(run 1) + D_a(run 2) + ... <= B(a)      delta of the grant, once

The officer signs the orders with the grant, before the first run, and they never change
while any run is charged: an order chosen afterwards would be chosen by the results. Why
the sum may grow adaptively, why room at one order is enough, and where B(a) comes from
is said in `filters`.

A run in progress is charged whole. Once it is settled it is charged for the steps its
ledger counted: a sum of divergences may stop whenever it likes, so an early end needs
no second delta here. Runs at the same time interleave their steps, and the steps are
one sequence, each chosen after those before it: that is what the filter is about.

Source: Feldman & Zrnic 2021, arXiv:2008.11193; Lecuyer 2021, arXiv:2103.01379.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from privplan import renyi
from privplan.budget import PrivacyBudget
from privplan.errors import ParameterError, PolicyError
from privplan.events import Event
from privplan.filters import FilterKind, PrivacyFilter
from privplan.grants import RDP_FILTER, Grant, check_composition

_LADDER = (0.5, 0.71, 1.0, 1.41, 2.0)


def default_orders(budget: PrivacyBudget) -> tuple[float, ...]:
    """Return five orders around the one at which a Gaussian would fill the budget.

    A Gaussian of concentration rho proves its epsilon best at 1 + sqrt(log(1/delta) /
    rho); subsampled runs differ from it, hence a ladder. Five orders cost log(5) /
    (a - 1) of epsilon beside one order that happened to be right.

    Example:
        >>> default_orders(PrivacyBudget(target_epsilon=4.0, target_delta=1e-5))
        (4.11, 5.42, 7.22, 9.77, 13.44)
    """
    chance = math.log(1 / budget.target_delta)
    root = math.sqrt(chance + budget.target_epsilon) - math.sqrt(chance)
    best = math.sqrt(chance) / root
    return tuple(round(1 + best * factor, 2) for factor in _LADDER)


def chosen_orders(
    composition: str, orders: tuple[float, ...], budget: PrivacyBudget
) -> tuple[float, ...]:
    """Return the orders a grant commits to: those asked for, or the default ones.

    Raises:
        ParameterError: Orders are given without the filter, or are none.
        PolicyError: The composition is unknown, or the filter does not hold under this
            adjacency.
        InfeasibleBudgetError: No order has any room.
    """
    check_composition(composition)
    if composition != RDP_FILTER:
        if orders:
            raise ParameterError(
                "Renyi orders are for a grant with composition rdp-filter",
                hint="add --composition rdp-filter, or leave --order away",
            )
        return ()
    chosen = orders or default_orders(budget)
    PrivacyFilter(kind=FilterKind.RDP, budget=budget, orders=chosen)
    return chosen


def check_terms(grant: Grant, before: Grant | None) -> None:
    """Require that a grant's way of adding up is whole, and the one that runs have.

    Args:
        grant: The new grant.
        before: The grant in force, if runs are charged to it already.

    Raises:
        PrivplanError: The orders do not fit the composition, or either has changed.
    """
    committed = chosen_orders(grant.composition, grant.orders, grant.as_budget())
    if committed != grant.orders:
        raise PolicyError(
            "a grant with composition rdp-filter names no orders",
            hint="sign a grant with privplan budget grant --composition rdp-filter",
        )
    if before is not None and (before.composition, before.orders) != (
        grant.composition,
        grant.orders,
    ):
        raise PolicyError(
            f"runs are charged to data set '{grant.data_set}' by composition "
            f"{before.composition}, and a grant cannot change that or its orders",
            hint="amend epsilon and delta alone; how runs add up is fixed before the "
            "first of them",
        )


def filter_of(grant: Grant, charged: Iterable[Event]) -> PrivacyFilter:
    """Return the filter of a grant, with what was charged to it so far."""
    return PrivacyFilter(
        kind=FilterKind.RDP,
        budget=grant.as_budget(),
        orders=grant.orders,
        admitted=tuple(charged),
    )


def shown_epsilon(found: PrivacyFilter) -> float:
    """Return the epsilon that what was charged would prove, at the grant's delta.

    For the screen: what may be claimed of a data set is the grant, until it is empty.
    At most the grant's epsilon if and only if the filter has admitted all of it.
    """
    if not any(found.spent):
        return 0.0
    share = found.budget.target_delta / len(found.orders)
    pairs = zip(found.orders, found.spent, strict=True)
    return min(renyi.epsilon_at(order, spent, share) for order, spent in pairs)
