"""The planner: a budget and a stage allocation in, a sealed plan out.

    target epsilon, delta, n, shape ──> recipe ──> events(noise_multiplier)
                                                        │ calibrate
                                                        v
                                    smallest noise inside the budget ──> Plan

The planner sees declared numbers only and never opens the data. It calibrates against
the event tree of the whole plan, so phases that read no record take part as what they
are: events that cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from privplan import (
    declared,
    free_phases,
    plan,
    plan_checks,
    plan_costs,
    plan_phases,
    plan_size,
    plan_training,
    prior_noise,
    risk,
    whole_numbers,
)
from privplan.budget import (
    NOTHING_SPENT,
    PrivacyBudget,
    PrivacyUnit,
    Spent,
    check_delta,
    default_delta,
    left_of,
)
from privplan.candidates import ChoiceRequest, Compute
from privplan.choice import choose
from privplan.declared import DIGITS, DeclaredData
from privplan.errors import ParameterError
from privplan.free_phases import PublicData
from privplan.plan_choice import start_of
from privplan.plan_phases import Wishes
from privplan.plan_training import TrainingWishes
from privplan.presets import Preset, resolve
from privplan.stage_text import parse
from privplan.stages import Source, StageAllocation
from privplan.version import __version__

__all__ = [
    "DIGITS",
    "DeclaredData",
    "PlanRequest",
    "PublicData",
    "Spent",
    "TrainingWishes",
    "Wishes",
    "make_plan",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a user asks of the planner; None means "choose for me".

    Attributes:
        target_epsilon: Upper end for epsilon.
        target_delta: Default n^-1.1.
        earlier: What was spent on these data before, out of the same target.
        data: Declared facts.
        stages: Text of `--stages`: a preset or an allocation; None means every stage
            is private.
        training: What is pinned of networks, loss and optimiser.
        wishes: What is pinned of the phases.
        compute: What the private steps may compute; None means as much as the recipe
            for this size of image, with its steps, rate and draws.
        second_opinions: Whether to ask the other accountants now; if not, they are
            asked before training.
    """

    target_epsilon: float
    target_delta: float | None = None
    earlier: Spent = NOTHING_SPENT
    data: DeclaredData = DIGITS
    stages: str | None = None
    training: TrainingWishes = field(default_factory=TrainingWishes)
    wishes: Wishes = field(default_factory=Wishes)
    compute: Compute | None = None
    second_opinions: bool = False


def make_plan(request: PlanRequest) -> plan.Plan:
    """Return the plan that spends the budget on the allocation asked for.

    Raises:
        ParameterError: A number or the stage text is not allowed.
        InfeasibleBudgetError: No amount of noise keeps the plan inside the budget.
        PolicyError: The accountants disagree, or a unit of several records meets a
            query.

    Example:
        >>> drawn = "coarse=synthetic,context=synthetic,cleaning=synthetic"
        >>> free = make_plan(PlanRequest(target_epsilon=1.0, stages=drawn))
        >>> free.accounting.epsilon_upper
        0.0
    """
    data, budget = request.data, _budget(request)
    settings = plan_training.recipe_for(
        declared.document(data), data.records, request.wishes.pretrained
    )
    preset = resolve(request.stages)
    allocation = parse(
        preset.stages_for(settings.gaussian_above),
        dimensions=data.channels * data.height * data.width,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
    )
    training = plan_training.training_of(
        request.training,
        preset,
        allocation,
        settings,
        declared.document(data),
        begin=request.wishes.pretrained,
    )
    if request.wishes.arithmetic == "discrete":
        whole_numbers.check_clipping(request.wishes.clipping)
    phases = _phases(request, preset, allocation, training, budget)
    whole_numbers.check(declared.document(data), training, phases)
    plan_training.check_latent(declared.document(data), phases, training)
    plan_training.check_text(declared.document(data), phases, training)
    draft = plan.Plan(
        format=plan.FORMAT,
        privplan_version=__version__,
        budget=_written(budget, request.earlier),
        data=declared.document(data),
        stages=_stages(allocation),
        phases=phases,
        training=training,
        accounting=plan_costs.account(phases, budget, others=request.second_opinions),
        digest="0" * 64,
    )
    plan_checks.check_unit(draft.budget, draft.data, draft.phases)
    plan_checks.check(draft.data, draft.stages, draft.phases, draft.training)
    return plan.seal(draft)


def _budget(request: PlanRequest) -> PrivacyBudget:
    """Return what is left to spend."""
    records, delta = request.data.records, request.target_delta
    if delta is None:
        delta = default_delta(records)
    check_delta(delta, records)
    whole = PrivacyBudget(
        target_epsilon=request.target_epsilon,
        target_delta=delta,
        unit=request.data.unit or PrivacyUnit(),
    )
    return left_of(whole, request.earlier)


def _written(budget: PrivacyBudget, earlier: Spent) -> plan.PlanBudget:
    return plan.PlanBudget(
        target_epsilon=budget.target_epsilon,
        target_delta=budget.target_delta,
        earlier_epsilon=earlier.epsilon,
        earlier_delta=earlier.delta,
        adjacency=budget.adjacency,
        unit=budget.unit.name,
        max_records_per_unit=budget.unit.max_records,
    )


def _stages(allocation: StageAllocation) -> tuple[plan.PlanStage, ...]:
    return tuple(
        plan.PlanStage(
            name=stage.name,
            source=stage.source,
            sigma_min=stage.sigma_min,
            sigma_max=stage.sigma_max,
        )
        for stage in allocation.stages
    )


def _phases(
    request: PlanRequest,
    preset: Preset,
    allocation: StageAllocation,
    training: plan.PlanTraining,
    budget: PrivacyBudget,
) -> tuple[plan.PlanPhase, ...]:
    data, wishes = request.data, request.wishes
    settings = plan_training.recipe_for(
        declared.document(data), data.records, wishes.pretrained
    )
    found: list[plan.PlanPhase] = list(wishes.queries)
    trains = bool(allocation.intervals(Source.PRIVATE))
    if _asks_gaussian(allocation, training):
        noise = wishes.prior_noise or prior_noise.gaussian_noise(
            budget,
            feasibility=_feasibility(data, training, budget),
            last=not trains and not found,
        )
        found.append(plan_phases.gaussian_phase(settings, noise))
    pretraining = request.training.pretraining or preset.pretraining
    found += plan_phases.before(allocation, settings, wishes, pretraining)
    plan_training.check_sharing(
        request.training.sharing, allocation, found, clipping=wishes.clipping
    )
    if trains:
        found.append(
            plan_phases.private_phase(
                settings,
                _chosen(request, found, training, budget),
                budget,
                records=data.records,
                fixed=found,
                parameterisation=training.parameterisation,
                sharing=request.training.sharing,
            )
        )
    if wishes.repair_steps is not None:
        found.append(
            free_phases.repair_phase(
                settings, wishes.repair_steps, allocation, request.training.sharing
            )
        )
    plan_training.check_used(wishes, found, request.training)
    return tuple(found)


def _chosen(
    request: PlanRequest,
    fixed: Sequence[plan.PlanPhase],
    training: plan.PlanTraining,
    budget: PrivacyBudget,
) -> Wishes:
    """Choose steps, rate and noise draws, where there is a compute budget to fill."""
    wishes, data = request.wishes, declared.document(request.data)
    if request.compute is None:
        return wishes
    pinned = (wishes.steps, wishes.sample_rate, wishes.noise_multiplicity)
    if None not in pinned:
        raise ParameterError(
            "steps, sample rate and noise draws are all pinned, so --compute or "
            "--draws has nothing to choose",
            hint="leave one of them away",
        )
    found = choose(
        ChoiceRequest(
            budget=budget,
            records=data.records,
            trained_parameters=plan_size.trained_parameters(data, training),
            compute=request.compute,
            fixed=plan.whole_event(fixed),
            start=start_of(fixed),
            steps=wishes.steps,
            sample_rate=wishes.sample_rate,
            noise_multiplicity=wishes.noise_multiplicity,
        )
    ).chosen
    return replace(
        wishes,
        steps=found.steps,
        sample_rate=found.sample_rate,
        noise_multiplicity=found.noise_multiplicity,
    )


def _asks_gaussian(allocation: StageAllocation, training: plan.PlanTraining) -> bool:
    stage = bool(allocation.intervals(Source.GAUSSIAN))
    return stage or training.parameterisation == "gaussian"


def _feasibility(
    data: DeclaredData, training: plan.PlanTraining, budget: PrivacyBudget
) -> float:
    """Return F = n mu / sqrt(trained parameters); public, and a guide only."""
    mu = risk.gdp_mu(budget.target_epsilon, budget.target_delta)
    trained = plan_size.trained_parameters(declared.document(data), training)
    return data.records * mu / math.sqrt(trained)
