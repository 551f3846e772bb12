"""A plan summed up for a reader: what each stage learns from, what each phase costs.

Every cost is recomputed from events here, also the zero of a phase that reads no
record: its event is a no-op, and the accountant says 0.

    alone       the epsilon of that phase, if it were all that is done
    so far      of all phases up to it, composed jointly
    given back  what would be free again if only that phase were dropped

The column `alone` does not add up to the whole, because epsilons do not add: noise
drawn for one phase also hides what another did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privplan import accounting, events
from privplan.borrowed import ElsewherePhase
from privplan.phase_source import source_of
from privplan.plan import (
    GaussianPhase,
    Plan,
    PlanPhase,
    PretrainedPhase,
    PrivatePhase,
    PublicPhase,
    QueryPhase,
    SyntheticPhase,
    whole_event,
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """One phase, in the order in which it runs.

    Attributes:
        name: Which phase.
        what: What it does, in a few words.
        event: What one step of it puts in the ledger.
        steps: How often.
        alone: Epsilon of this phase alone, an upper bound.
        so_far: Epsilon of all phases up to this one, an upper bound.
        given_back: What dropping it would free, rounded to the safe side: a lower
            bound.
        noise_to_signal: Norm of the noise over the largest norm of a batch's sum,
            noise_multiplier * sqrt(P) / (sample_rate * n); None without training.
    """

    name: str
    what: str
    event: events.Event
    steps: int
    alone: float
    so_far: float
    given_back: float
    noise_to_signal: float | None

    @property
    def reads_private_records(self) -> bool:
        """Whether a private record is touched."""
        return not isinstance(self.event, events.NoOpEvent)


def stage_costs(plan: Plan) -> tuple[StageCost, ...]:
    """Return what each stage of a plan costs, recomputed from its event.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> plan = make_plan(PlanRequest(target_epsilon=1.0, stages=""))
        >>> [(cost.name.value, cost.epsilon > 0) for cost in stage_costs(plan)]
        [('coarse', False), ('context', True), ('cleaning', False)]
    """
    costs = []
    for stage in plan.stages:
        phase = next(p for p in plan.phases if source_of(p) is stage.source)
        costs.append(
            StageCost(
                name=stage.name,
                source=stage.source,
                sigma_min=stage.sigma_min,
                sigma_max=stage.sigma_max,
                reads_private_records=stage.source.reads_private_records,
                phase=phase.name,
                steps=phase.steps,
                epsilon=_upper(plan, [phase]),
            )
        )
    return tuple(costs)


def phase_costs(plan: Plan, *, trained_parameters: int) -> tuple[PhaseCost, ...]:
    """Return what each phase costs alone, up to it, and on top of the others.

    Args:
        plan: The plan.
        trained_parameters: P, of the private steps; public.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> plan = make_plan(PlanRequest(target_epsilon=1.0, stages="best"))
        >>> for cost in phase_costs(plan, trained_parameters=10_000):
        ...     print(cost.name, cost.given_back < cost.alone <= cost.so_far)
        gaussian True
        synthetic False
        private True
    """
    whole = _lower(plan, plan.phases)
    return tuple(
        PhaseCost(
            name=phase.name,
            what=_what(phase),
            event=phase.event,
            steps=phase.steps,
            alone=_upper(plan, [phase]),
            so_far=_upper(plan, plan.phases[: index + 1]),
            given_back=max(whole - _upper(plan, _without(plan, index)), 0.0),
            noise_to_signal=_noise_to_signal(phase, trained_parameters),
        )
        for index, phase in enumerate(plan.phases)
    )


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


def _without(plan: Plan, index: int) -> tuple[PlanPhase, ...]:
    return plan.phases[:index] + plan.phases[index + 1 :]


def _bracket(plan: Plan, phases: Sequence[PlanPhase]) -> accounting.Bracket:
    budget = plan.budget.as_budget()
    return accounting.epsilon(
        whole_event(phases), delta=budget.target_delta, adjacency=budget.adjacency
    )


def _upper(plan: Plan, phases: Sequence[PlanPhase]) -> float:
    return _bracket(plan, phases).upper


def _lower(plan: Plan, phases: Sequence[PlanPhase]) -> float:
    return _bracket(plan, phases).lower


def _what(phase: PlanPhase) -> str:
    match phase:
        case PrivatePhase():
            return "DP-SGD"
        case SyntheticPhase():
            return f"images drawn by '{phase.generator}'"
        case PublicPhase():
            return f"public images {phase.data_name}"
        case PretrainedPhase():
            return f"weights trained on {_learned_from(phase)}"
        case GaussianPhase():
            return "class means and second moments"
        case QueryPhase():
            return phase.releases


def _learned_from(phase: PretrainedPhase) -> str:
    """Say what pretrained weights learned from, in a few words."""
    found = []
    for part in phase.lineage:
        match part:
            case PublicPhase():
                found.append(f"public images {part.data_name}")
            case ElsewherePhase():
                found.append(f"{part.data_name}, elsewhere")
            case SyntheticPhase():
                found.append(f"images drawn by '{part.generator}'")
    return " and ".join(found)


def _noise_to_signal(phase: PlanPhase, trained_parameters: int) -> float | None:
    if not isinstance(phase, PrivatePhase):
        return None
    noise = phase.mechanism.noise_multiplier * math.sqrt(trained_parameters)
    return noise / phase.expected_batch_size
