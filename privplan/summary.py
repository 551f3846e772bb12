"""A plan summed up for a reader: what each stage costs, and the numbers of a step.

Every cost is recomputed from events here, also the zero of a stage that reads no
record: its event is a no-op, and the accountant says 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import accounting, events
from privplan.plan import Plan, PrivatePhase, SyntheticPhase
from privplan.stages import Source, StageName


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage and what training it costs.

    Attributes:
        name: Which stage.
        source: What it learns from.
        sigma_min: Lower end, in data units.
        sigma_max: Upper end, in data units.
        reads_private_records: Whether its phase touches a private record.
        phase: Name of the phase that trains it.
        steps: Steps of that phase.
        epsilon: Upper bound of what that phase costs alone. Stages of one phase are
            trained together and share this cost; it is not added up.
    """

    name: StageName
    source: Source
    sigma_min: float
    sigma_max: float
    reads_private_records: bool
    phase: str
    steps: int
    epsilon: float


def stage_costs(plan: Plan) -> tuple[StageCost, ...]:
    """Return what each stage of a plan costs, recomputed from its event.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> plan = make_plan(
        ...     PlanRequest(target_epsilon=1.0, stages="", second_opinions=False)
        ... )
        >>> [(cost.name.value, cost.epsilon > 0) for cost in stage_costs(plan)]
        [('coarse', False), ('context', True), ('cleaning', False)]
    """
    by_source = {_source(phase): phase for phase in plan.phases}
    costs = []
    for stage in plan.stages:
        phase = by_source[stage.source]
        costs.append(
            StageCost(
                name=stage.name,
                source=stage.source,
                sigma_min=stage.sigma_min,
                sigma_max=stage.sigma_max,
                reads_private_records=isinstance(phase, PrivatePhase),
                phase=phase.name,
                steps=phase.steps,
                epsilon=_alone(plan, phase),
            )
        )
    return tuple(costs)


def _source(phase: PrivatePhase | SyntheticPhase) -> Source:
    return Source.PRIVATE if isinstance(phase, PrivatePhase) else Source.SYNTHETIC


def _alone(plan: Plan, phase: PrivatePhase | SyntheticPhase) -> float:
    budget = plan.budget.as_budget()
    event = events.SelfComposedEvent(event=phase.event, count=phase.steps)
    return accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    ).upper


def spent(plan: Plan, counted: dict[str, int]) -> float:
    """Return the epsilon of some steps of each phase, an upper bound.

    Args:
        plan: The plan.
        counted: Steps begun, by phase; phases not named count as none.
    """
    budget = plan.budget.as_budget()
    parts = tuple(
        events.SelfComposedEvent(event=phase.event, count=counted[phase.name])
        for phase in plan.phases
        if counted.get(phase.name)
    )
    return accounting.epsilon(
        events.ComposedEvent(events=parts),
        delta=budget.target_delta,
        adjacency=budget.adjacency,
    ).upper


def as_json(plan: Plan) -> dict[str, object]:
    """Return the summary as JSON values, with numbers as numbers."""
    private = plan.private_phases[0] if plan.private_phases else None
    step = None if private is None else private.mechanism
    return {
        "digest": plan.digest,
        "epsilon": {
            "target": plan.budget.target_epsilon,
            "lower": plan.accounting.epsilon_lower,
            "upper": plan.accounting.epsilon_upper,
        },
        "delta": plan.budget.target_delta,
        "adjacency": plan.budget.adjacency.value,
        "n": plan.data.records,
        "noise_multiplier": None if step is None else step.noise_multiplier,
        "sample_rate": None if step is None else step.sample_rate,
        "steps": 0 if private is None else private.steps,
        "expected_batch_size": None if private is None else private.expected_batch_size,
        "stages": [_stage_json(cost) for cost in stage_costs(plan)],
        "accountants": _accountants_json(plan),
    }


def _stage_json(cost: StageCost) -> dict[str, object]:
    return {
        "name": cost.name.value,
        "source": cost.source.value,
        "sigma_min": cost.sigma_min,
        "sigma_max": cost.sigma_max,
        "reads_private_records": cost.reads_private_records,
        "phase": cost.phase,
        "steps": cost.steps,
        "epsilon": cost.epsilon,
    }


def _accountants_json(plan: Plan) -> list[dict[str, object]]:
    own: dict[str, object] = {
        "name": "privplan",
        "version": plan.privplan_version,
        "method": plan.accounting.method,
        "lower": plan.accounting.epsilon_lower,
        "upper": plan.accounting.epsilon_upper,
    }
    others: list[dict[str, object]] = [
        {
            "name": other.name,
            "version": other.version,
            "method": other.method,
            "lower": other.lower,
            "upper": other.upper,
        }
        for other in plan.accounting.second_opinions
    ]
    return [own, *others]
