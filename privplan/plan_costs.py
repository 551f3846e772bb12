"""What the phases of a plan cost together, by our accountant and by others."""

from __future__ import annotations

from collections.abc import Sequence

from privplan import accounting, canonical, opinions, plan
from privplan.budget import PrivacyBudget
from privplan.errors import BudgetExceededError, PolicyError


def account(
    phases: Sequence[plan.PlanPhase],
    budget: PrivacyBudget,
    *,
    others: bool,
) -> plan.PlanAccounting:
    """Bound the cost of some phases, and ask for second opinions.

    Args:
        phases: What will be done to the records.
        budget: What it may cost.
        others: Whether to ask the other accountants.

    Raises:
        BudgetExceededError: The phases cost more than the budget.
        PolicyError: The accountants disagree.
    """
    event = plan.whole_event(phases)
    bracket = accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    )
    if not bracket.upper <= budget.target_epsilon:
        raise BudgetExceededError(
            f"the plan would cost epsilon {canonical.text_up(bracket.upper, 4)}, but "
            f"its budget is epsilon {budget.target_epsilon:g}",
            stage="plan",
            needed=bracket.upper,
            target=budget.target_epsilon,
            hint="raise --eps, or lower --steps or --sample-rate",
        )
    found = (
        opinions.besides(
            bracket.method, opinions.second_opinions(event, delta=budget.target_delta)
        )
        if others
        else ()
    )
    if not opinions.agree(bracket.lower, bracket.upper, found):
        raise PolicyError(
            "the accountants disagree about this plan, so nothing can be claimed",
            hint="change --steps or --sample-rate a little, and report the case",
        )
    return plan.PlanAccounting(
        epsilon_lower=bracket.lower,
        epsilon_upper=bracket.upper,
        method=bracket.method,
        composition="committed",
        second_opinions=tuple(
            plan.PlanOpinion(
                name=opinion.name,
                version=opinion.version,
                method=opinion.method,
                lower=opinion.lower,
                upper=opinion.upper,
            )
            for opinion in found
        ),
    )
