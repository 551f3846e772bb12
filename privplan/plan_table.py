"""A plan as a table, for a notebook or a text file; no terminal library needed.

The same columns as `privplan plan` prints, from the same costs. Everything is public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privplan import events, plan_size, plan_words
from privplan.canonical import text_down, text_up
from privplan.summary import PhaseCost, phase_costs
from privplan.tables import Table

if TYPE_CHECKING:
    from privplan.plan import Plan

_TITLES = (
    "phase", "does", "steps", "noise", "eps alone", "so far", "back", "noise/signal",
)  # fmt: skip


def table(plan: Plan) -> Table:
    """Return a plan as a table.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> made = table(make_plan(PlanRequest(target_epsilon=1.0, stages="")))
        >>> [row[0] for row in made.rows], made.rows[1][4]
        (['synthetic', 'private'], '1.0000')
    """
    budget = plan.budget
    trained = plan_size.trained_parameters(plan.data, plan.training)
    costs = phase_costs(plan, trained_parameters=trained)
    upper = text_up(plan.accounting.epsilon_upper, 4)
    notes = (
        f"whole plan: epsilon {upper} of {budget.target_epsilon:g}",
        plan_words.why_not_add_up(plan, costs),
        plan_words.in_words(plan),
    )
    return Table(
        caption=f"Plan {plan.digest[:12]}: epsilon {budget.target_epsilon:g}, delta "
        f"{budget.target_delta:g}, {budget.adjacency.value}, unit {budget.unit}, "
        f"n = {plan.data.records:,}",
        titles=_TITLES,
        rows=tuple(_row(cost) for cost in costs),
        notes=tuple(note for note in notes if note is not None),
        words=2,  # the phase, and what it does
    )


def _row(cost: PhaseCost) -> tuple[str, ...]:
    reads, ratio = cost.reads_private_records, cost.noise_to_signal
    return (
        cost.name,
        cost.what,
        f"{cost.steps:,}",
        _noise(cost.event),
        text_up(cost.alone, 4) if reads else "0",
        text_up(cost.so_far, 4) if cost.so_far > 0 else "0",
        text_down(cost.given_back, 4) if reads else "0",
        "-" if ratio is None else f"{ratio:.3g}",
    )


def _noise(event: events.Event) -> str:
    match event:
        case (
            events.PoissonSampledGaussianEvent()
            | events.PoissonSampledDiscreteGaussianEvent()
        ) | events.GaussianEvent():
            return f"{event.noise_multiplier:g}"
        case _:
            return "-"
