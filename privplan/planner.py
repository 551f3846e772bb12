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
from dataclasses import dataclass, field

from privplan import (
    accounting,
    canonical,
    declared,
    opinions,
    plan,
    plan_phases,
    plan_size,
    risk,
)
from privplan.budget import PrivacyBudget, check_delta, default_delta
from privplan.declared import DIGITS, DeclaredData
from privplan.errors import BudgetExceededError, ParameterError, PolicyError
from privplan.plan_phases import PublicData, Wishes
from privplan.presets import Parameterisation, Preset, Pretraining, resolve
from privplan.recipes import Recipe, recipe
from privplan.stages import Sharing, Source, StageAllocation, parse
from privplan.version import __version__

__all__ = ["DIGITS", "DeclaredData", "PlanRequest", "PublicData", "Wishes", "make_plan"]

NETWORK_SEED = 20240602


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a user asks of the planner; None means "choose for me".

    Attributes:
        target_epsilon: Upper end for epsilon.
        target_delta: Default n^-1.1.
        data: Declared facts.
        stages: Text of `--stages`: a preset or an allocation; None means every stage
            is private.
        sharing: What the networks of the stages have in common.
        pretraining: What the network learns from before any record.
        parameterisation: What the network is wrapped in.
        wishes: What is pinned of the phases.
        second_opinions: Whether to ask the other accountants now; if not, they are
            asked before training.
    """

    target_epsilon: float
    target_delta: float | None = None
    data: DeclaredData = DIGITS
    stages: str | None = None
    sharing: Sharing = Sharing.SEQUENTIAL
    pretraining: Pretraining | None = None
    parameterisation: Parameterisation | None = None
    wishes: Wishes = field(default_factory=Wishes)
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
    budget = PrivacyBudget(target_epsilon=request.target_epsilon, target_delta=delta)
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
            adjacency=budget.adjacency,
            unit=budget.unit.name,
            max_records_per_unit=budget.unit.max_records,
        ),
        data=declared.document(data),
        stages=_stages(allocation),
        phases=phases,
        training=training,
        accounting=_accounting(phases, budget, others=request.second_opinions),
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
        noise = wishes.prior_noise or plan_phases.gaussian_noise(
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
                wishes,
                budget,
                records=data.records,
                fixed=found,
                parameterisation=training.parameterisation,
                sharing=request.sharing,
            )
        )
    return tuple(found)


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


def _accounting(
    phases: Sequence[plan.PlanPhase],
    budget: PrivacyBudget,
    *,
    others: bool,
) -> plan.PlanAccounting:
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
