"""A plan in sentences: what the epsilon lets anybody find out, and why it is less.

Each sentence is computed from the plan's events, and rounds to the side on which a
reader who believes it is safe.
"""

from __future__ import annotations

from collections.abc import Sequence

from privplan import canonical, discrete_cost, events, renyi, risk
from privplan.plan import Plan
from privplan.summary import PhaseCost

FALSE_ALARMS = 0.01


def in_words(plan: Plan) -> str:
    """Say what an attacker can do at one false alarm in a hundred.

    Args:
        plan: The plan; its noise bounds every attack, whatever else is known.

    Source:
        `risk.true_positive_rate`: the bound by the plan's whole privacy profile.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> in_words(make_plan(PlanRequest(target_epsilon=1.0)))[:60]
        'Who accepts 1 false alarm in 100 finds at most 2.39 of 100 m'
    """
    members = canonical.text_up(100 * found_at_most(plan), 2)
    return (
        f"Who accepts 1 false alarm in 100 finds at most {members} of 100 members, "
        "whatever else is known."
    )


def found_at_most(plan: Plan) -> float:
    """Return the most members that can be found at one false alarm in a hundred."""
    if not events.phases(plan.event):
        return FALSE_ALARMS
    return risk.true_positive_rate(plan.event, false_positive_rate=FALSE_ALARMS)


def by_renyi(plan: Plan) -> str | None:
    """Say what Renyi DP would claim for the same noise; None where it is the claim.

    Args:
        plan: The plan; one that reads nothing, or whose noise is discrete, has none.

    Source:
        `renyi.epsilon_upper`; the default of many libraries, shown for comparison.
    """
    found = events.phases(plan.event)
    if not found or discrete_cost.occurs(found):
        return None
    claimed = canonical.text_up(renyi_epsilon(plan), 4)
    return f"By Renyi DP, the usual looser bound, the same noise would cost {claimed}."


def renyi_epsilon(plan: Plan) -> float:
    """Return epsilon by Renyi DP, an upper bound, never below the truth."""
    return renyi.epsilon_upper(plan.event, delta=plan.budget.target_delta)


def why_not_add_up(plan: Plan, costs: Sequence[PhaseCost]) -> str | None:
    """Say what the phases would sum to; None where only one of them costs anything.

    Args:
        plan: The plan.
        costs: Of its phases.
    """
    charged = [cost.alone for cost in costs if cost.reads_private_records]
    if len(charged) < 2:
        return None
    upper = plan.accounting.epsilon_upper
    return (
        f"One by one the phases would sum to {canonical.text_up(sum(charged), 4)}; "
        f"composed jointly they cost {canonical.text_up(upper, 4)}."
    )
