"""Plans side by side: one row per thing, one text per plan, and whether they differ.

Numbers keep all their digits: two plans that differ in the last digit of a noise
multiplier are two plans. Epsilon is rounded up, at the sixth digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privplan import events, plan_size, plan_words
from privplan.canonical import decimal_text, text_up
from privplan.plan import Plan, PlanPhase
from privplan.plan_choice import choice_of
from privplan.summary import PhaseCost, phase_costs
from privplan.tables import Table

ABSENT = "-"

Facts = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing in which plans may differ.

    Attributes:
        name: What it is.
        values: One text per plan; "-" where a plan has no such thing.
    """

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the texts are not all the same."""
        return len(set(self.values)) > 1


def compare(
    plans: Sequence[Plan], seconds: Sequence[Mapping[str, float]] = ()
) -> tuple[Row, ...]:
    """Return what some plans say, row by row, in the order in which a plan is read.

    Args:
        plans: At least one.
        seconds: Of each plan, what each phase would take; empty if not measured.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> one, two = (make_plan(PlanRequest(target_epsilon=e)) for e in (1.0, 2.0))
        >>> [row.values for row in compare([one, two]) if row.name == "target epsilon"]
        [('1.0', '2.0')]
        >>> any(row.differs for row in compare([one, one]))
        False
    """
    times = seconds or [{} for _ in plans]
    facts = [_facts(plan, took) for plan, took in zip(plans, times, strict=True)]
    names = _merged([list(found) for found in facts])
    return tuple(
        Row(name=name, values=tuple(found.get(name, ABSENT) for found in facts))
        for name in names
    )


def differences(plans: Mapping[str, Plan]) -> Table:
    """Return in what some plans differ, as a table: one column per plan.

    Args:
        plans: By the name that stands above the column; at least one.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> asked = {f"at {e}": PlanRequest(target_epsilon=e) for e in (1.0, 2.0)}
        >>> found = differences({name: make_plan(one) for name, one in asked.items()})
        >>> found.titles, found.rows[0]
        (('', 'at 1.0', 'at 2.0'), ('target epsilon', '1.0', '2.0'))
    """
    rows = compare(list(plans.values()))
    return Table(
        caption=f"Where {len(plans)} plans differ",
        titles=("", *plans),
        rows=tuple((row.name, *row.values) for row in rows if row.differs),
    )


def _merged(orders: Sequence[Sequence[str]]) -> list[str]:
    """Return all names; one that only a later plan has comes after its predecessor."""
    names: list[str] = []
    for order in orders:
        place = 0
        for name in order:
            if name in names:
                place = names.index(name) + 1
            else:
                names.insert(place, name)
                place += 1
    return names


def _facts(plan: Plan, seconds: Mapping[str, float]) -> Facts:
    trained = plan_size.trained_parameters(plan.data, plan.training)
    facts = _promise(plan)
    for stage in plan.stages:
        name = stage.name.value
        facts[f"{name}: learns from"] = stage.source.value
        facts[f"{name}: sigma"] = f"{stage.sigma_min:g} - {stage.sigma_max:g}"
    costs = phase_costs(plan, trained_parameters=trained)
    for phase, cost in zip(plan.phases, costs, strict=True):
        facts |= _phase(phase, cost, seconds.get(phase.name))
    facts["epsilon, whole plan"] = text_up(plan.accounting.epsilon_upper, 6)
    facts["found of 100, at most"] = text_up(100 * plan_words.found_at_most(plan), 2)
    facts |= _training(plan, trained)
    return facts | _outlook(plan)


def _promise(plan: Plan) -> Facts:
    budget, data = plan.budget, plan.data
    facts = {
        "target epsilon": decimal_text(budget.target_epsilon),
        "delta": decimal_text(budget.target_delta),
        "neighbours": budget.adjacency.value,
        "unit": budget.unit,
        "n": f"{data.records:,}",
        "image": f"{data.channels} x {data.height} x {data.width}",
        "classes": str(data.classes),
    }
    if budget.earlier_epsilon or budget.earlier_delta:
        facts["spent earlier"] = (
            f"{decimal_text(budget.earlier_epsilon)}, "
            f"{decimal_text(budget.earlier_delta)}"
        )
    return facts


def _phase(phase: PlanPhase, cost: PhaseCost, seconds: float | None) -> Facts:
    name = phase.name
    facts = {f"{name}: steps": f"{phase.steps:,}"}
    match phase.event:
        case (
            events.PoissonSampledGaussianEvent()
            | events.PoissonSampledDiscreteGaussianEvent()
        ) as event:
            facts[f"{name}: sample rate"] = decimal_text(event.sample_rate)
            facts[f"{name}: noise"] = decimal_text(event.noise_multiplier)
        case events.GaussianEvent() as event:
            facts[f"{name}: noise"] = decimal_text(event.noise_multiplier)
        case _:
            pass
    if cost.reads_private_records:
        facts[f"{name}: epsilon alone"] = text_up(cost.alone, 6)
    if cost.noise_to_signal is not None:
        facts[f"{name}: noise/signal"] = f"{cost.noise_to_signal:.3g}"
    if seconds is not None:
        facts[f"{name}: seconds"] = f"{seconds:,.1f}"
    return facts


def _training(plan: Plan, trained: int) -> Facts:
    training = plan.training
    facts = {
        "parameterisation": training.parameterisation,
        "sharing": training.sharing.value,
        "optimiser": training.optimiser,
        "trained parameters": f"{trained:,}",
    }
    for phase in plan.private_phases:
        facts["noise draws per record"] = str(phase.noise_multiplicity)
        facts["clipping"] = f"{phase.clipping}, C {phase.max_grad_norm:g}"
    return facts


def _outlook(plan: Plan) -> Facts:
    choice = choice_of(plan, seconds_per_draw=None)
    if choice is None:
        return {}
    chosen = choice.chosen
    return {
        "draws": f"{chosen.draws:,.0f}",
        "privacy efficiency": f"{100 * chosen.efficiency:.1f} %",
        "feasibility F": f"{chosen.feasibility:.3g}",
    }
