"""Other accountants, asked before a run whose plan holds no answer of theirs."""

from __future__ import annotations

from privplan import accounting, opinions
from privplan.canonical import text_down, text_up
from privplan.errors import PolicyError
from privplan.plan import Plan


def ask(plan: Plan) -> str | None:
    """Ask the other accountants about a plan; return what they say, on one line.

    Returns:
        None if the plan holds their answers already, or costs nothing.

    Raises:
        PolicyError: They disagree with each other or with the plan.
    """
    if plan.accounting.second_opinions or not plan.accounting.epsilon_upper > 0:
        return None
    budget = plan.budget.as_budget()
    own = accounting.epsilon(
        plan.event, delta=budget.target_delta, adjacency=budget.adjacency
    )
    found = opinions.besides(
        own.method, opinions.second_opinions(plan.event, delta=budget.target_delta)
    )
    if not opinions.agree(own.lower, own.upper, found):
        raise PolicyError(
            "the accountants disagree about this plan, so nothing can be claimed",
            hint="change --steps or --sample-rate a little, and report the case",
        )
    said = ", ".join(
        f"{other.name} {text_down(other.lower, 4)} to {text_up(other.upper, 4)}"
        for other in found
    )
    return f"epsilon by other accountants: {said or 'none can count this plan'}"
