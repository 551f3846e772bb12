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
    plan,
    plan_costs,
    plan_phases,
    plan_size,
    prior_noise,
    risk,
)
from privplan.budget import (
    NOTHING_SPENT,
    PrivacyBudget,
    Spent,
    check_delta,
    default_delta,
    left_of,
)
from privplan.candidates import ChoiceRequest, Compute
from privplan.choice import choose
from privplan.declared import DIGITS, DeclaredData
from privplan.errors import ParameterError
from privplan.plan_choice import start_of
from privplan.plan_phases import PublicData, Wishes
from privplan.presets import Parameterisation, Preset, Pretraining, resolve
from privplan.recipes import Recipe, recipe
from privplan.stage_text import parse
from privplan.stages import Sharing, Source, StageAllocation
from privplan.version import __version__

__all__ = [
    "DIGITS",
    "DeclaredData",
    "PlanRequest",
    "PublicData",
    "Spent",
    "Wishes",
    "make_plan",
]

NETWORK_SEED = 20240602


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
        sharing: What the networks of the stages have in common.
        pretraining: What the network learns from before any record.
        parameterisation: What the network is wrapped in.
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
    sharing: Sharing = Sharing.SEQUENTIAL
    pretraining: Pretraining | None = None
    parameterisation: Parameterisation | None = None
    wishes: Wishes = field(default_factory=Wishes)
    compute: Compute | None = None
    second_opinions: bool = False


def make_plan(request: PlanRequest) -> plan.Plan:
    """Return the plan that spends the budget on the allocation asked for.

    Raises:
        ParameterError: A number or the stage text is not allowed.
        InfeasibleBudgetError: No amount of noise keeps the plan inside the budget.
        PolicyError: The accountants disagree.

    Example:
        >>> drawn = "coarse=synthetic,context=synthetic,cleaning=synthetic"
        >>> free = make_plan(PlanRequest(target_epsilon=1.0, stages=drawn))
        >>> free.accounting.epsilon_upper
        0.0
    """
    data = request.data
    delta = request.target_delta
    if delta is None:
        delta = default_delta(data.records)
    check_delta(delta, data.records)
    budget = left_of(
        PrivacyBudget(target_epsilon=request.target_epsilon, target_delta=delta),
        request.earlier,
    )
    settings = recipe(records=data.records, height=data.height, width=data.width)
    preset = resolve(request.stages)
    allocation = parse(
        preset.stages,
        dimensions=data.channels * data.height * data.width,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
    )
    training = _training(request, preset, allocation, settings)
    phases = _phases(request, preset, allocation, training, budget)
    draft = plan.Plan(
        format=plan.FORMAT,
        privplan_version=__version__,
        budget=plan.PlanBudget(
            target_epsilon=budget.target_epsilon,
            target_delta=budget.target_delta,
            earlier_epsilon=request.earlier.epsilon,
            earlier_delta=request.earlier.delta,
            adjacency=budget.adjacency,
            unit=budget.unit.name,
            max_records_per_unit=budget.unit.max_records,
        ),
        data=declared.document(data),
        stages=_stages(allocation),
        phases=phases,
        training=training,
        accounting=plan_costs.account(phases, budget, others=request.second_opinions),
        digest="0" * 64,
    )
    return plan.seal(draft)


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
    settings = recipe(records=data.records, height=data.height, width=data.width)
    found: list[plan.PlanPhase] = list(wishes.queries)
    trains = bool(allocation.intervals(Source.PRIVATE))
    if _asks_gaussian(allocation, training):
        noise = wishes.prior_noise or prior_noise.gaussian_noise(
            budget,
            feasibility=_feasibility(data, training, budget),
            last=not trains and not found,
        )
        found.append(plan_phases.gaussian_phase(settings, noise))
    pretraining = request.pretraining or preset.pretraining
    found += plan_phases.before(allocation, settings, wishes, pretraining)
    _check_sharing(request.sharing, allocation, found)
    if trains:
        found.append(
            plan_phases.private_phase(
                settings,
                _chosen(request, found, training, budget),
                budget,
                records=data.records,
                fixed=found,
                parameterisation=training.parameterisation,
                sharing=request.sharing,
            )
        )
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


def _check_sharing(
    sharing: Sharing, allocation: StageAllocation, before: Sequence[plan.PlanPhase]
) -> None:
    """Refuse a sharing mode that has nothing to share.

    Raises:
        ParameterError: No phase or stage is there for it.
    """
    drawn = any(isinstance(phase, plan.SyntheticPhase) for phase in before)
    if sharing is Sharing.MIXTURE and not drawn:
        raise ParameterError(
            "a mixture needs synthetic images, and no stage learns from any",
            hint="add --pretrain synthetic, or use --share sequential",
        )
    public = (Source.SYNTHETIC, Source.PUBLIC)
    apart = any(allocation.intervals(source) for source in public)
    if sharing in {Sharing.GATED, Sharing.EXPERTS} and not apart:
        raise ParameterError(
            f"--share {sharing} keeps public stages apart, and there is none",
            hint="let a stage learn from synthetic or public images, as in --stages "
            "syngen-cleaning",
        )


def _feasibility(
    data: DeclaredData, training: plan.PlanTraining, budget: PrivacyBudget
) -> float:
    """Return F = n mu / sqrt(trained parameters); public, and a guide only."""
    mu = risk.gdp_mu(budget.target_epsilon, budget.target_delta)
    trained = plan_size.trained_parameters(declared.document(data), training)
    return data.records * mu / math.sqrt(trained)


def _training(
    request: PlanRequest,
    preset: Preset,
    allocation: StageAllocation,
    settings: Recipe,
) -> plan.PlanTraining:
    found = request.parameterisation or preset.parameterisation
    if found is None:
        found = "gaussian" if allocation.intervals(Source.GAUSSIAN) else "edm"
    return plan.PlanTraining(
        network=plan.PlanNetwork(
            base_width=settings.base_width,
            width_multipliers=settings.width_multipliers,
            blocks=settings.blocks,
            attention_resolutions=settings.attention_resolutions,
            seed=NETWORK_SEED,
        ),
        parameterisation=found,
        sharing=request.sharing,
        p_mean=settings.p_mean,
        p_std=settings.p_std,
        sigma_data=0.5,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
        label_dropout=0.1,
        ema_decay=settings.ema_decay,
        optimiser="adam",
    )
