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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from privplan import accounting, calibration, canonical, checks, events, opinions, plan
from privplan.budget import PrivacyBudget, check_delta, default_delta
from privplan.errors import BudgetExceededError, PolicyError
from privplan.recipes import Recipe, recipe
from privplan.stages import (
    ALL_PRIVATE,
    Source,
    StageAllocation,
    parse,
)
from privplan.version import __version__

NumberT = TypeVar("NumberT", int, float)

SYNTHETIC_SEED = 20240601
NETWORK_SEED = 20240602


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredData:
    """What is declared about the data; all of it becomes public.

    Attributes:
        records: n.
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
        classes: Number of labels.
        embedded: "digits" when the data are the embedded set.
    """

    records: int
    channels: int
    height: int
    width: int
    classes: int
    embedded: Literal["digits"] | None = None

    def __post_init__(self) -> None:
        checks.count(
            records=self.records,
            channels=self.channels,
            height=self.height,
            width=self.width,
            classes=self.classes,
        )


DIGITS = DeclaredData(
    records=1437, channels=1, height=8, width=8, classes=10, embedded="digits"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a user asks of the planner; None means "choose for me".

    Attributes:
        target_epsilon: Upper end for epsilon.
        target_delta: Default n^-1.1.
        data: Declared facts.
        stages: Text of `--stages`; None means every stage is private.
        steps: Private steps.
        sample_rate: Probability of a record per step.
        noise_multiplicity: Noise draws per record.
        synthetic_steps: Steps on synthetic images, where a stage uses them.
        second_opinions: Whether to ask the other accountants.
    """

    target_epsilon: float
    target_delta: float | None = None
    data: DeclaredData = DIGITS
    stages: str | None = None
    steps: int | None = None
    sample_rate: float | None = None
    noise_multiplicity: int | None = None
    synthetic_steps: int | None = None
    second_opinions: bool = True


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
    allocation = parse(
        ALL_PRIVATE if request.stages is None else request.stages,
        dimensions=data.channels * data.height * data.width,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
    )
    phases = _phases(request, settings, allocation, budget)
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
        data=_declared(data),
        stages=_stages(allocation),
        phases=phases,
        training=_training(settings),
        accounting=_accounting(phases, budget, others=request.second_opinions),
        digest="0" * 64,
    )
    return plan.seal(draft)


def _declared(data: DeclaredData) -> plan.PlanData:
    return plan.PlanData(
        records=data.records,
        records_status="public-by-declaration",
        channels=data.channels,
        height=data.height,
        width=data.width,
        classes=data.classes,
        embedded=data.embedded,
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
    settings: Recipe,
    allocation: StageAllocation,
    budget: PrivacyBudget,
) -> tuple[plan.SyntheticPhase | plan.PrivatePhase, ...]:
    phases: list[plan.SyntheticPhase | plan.PrivatePhase] = []
    if allocation.intervals(Source.SYNTHETIC):
        phases.append(_synthetic_phase(request, settings))
    if allocation.intervals(Source.PRIVATE):
        phases.append(_private_phase(request, settings, budget))
    return tuple(phases)


def _synthetic_phase(request: PlanRequest, settings: Recipe) -> plan.SyntheticPhase:
    steps = _chosen(request.synthetic_steps, settings.synthetic_steps)
    checks.count(synthetic_steps=steps)
    return plan.SyntheticPhase(
        kind="synthetic",
        name="synthetic",
        steps=steps,
        event=events.NoOpEvent(),
        generator=settings.generator,
        seed=SYNTHETIC_SEED,
        batch_size=settings.synthetic_batch_size,
        learning_rate=settings.synthetic_learning_rate,
    )


def _private_phase(
    request: PlanRequest, settings: Recipe, budget: PrivacyBudget
) -> plan.PrivatePhase:
    steps = _chosen(request.steps, settings.steps)
    rate = _chosen(request.sample_rate, settings.sample_rate)
    draws = _chosen(request.noise_multiplicity, settings.noise_multiplicity)
    checks.count(steps=steps, noise_multiplicity=draws)
    checks.rate(sample_rate=rate)

    def step(noise_multiplier: float) -> events.PoissonSampledGaussianEvent:
        return events.PoissonSampledGaussianEvent(
            sample_rate=rate, noise_multiplier=noise_multiplier
        )

    noise_multiplier = calibration.noise_multiplier(
        lambda z: events.SelfComposedEvent(event=step(z), count=steps), budget=budget
    )
    return plan.PrivatePhase(
        kind="private",
        name="private",
        steps=steps,
        event=step(noise_multiplier),
        expected_batch_size=rate * request.data.records,
        noise_multiplicity=draws,
        max_grad_norm=settings.max_grad_norm,
        clipping="fixed",
        learning_rate=settings.learning_rate,
    )


def _chosen(asked: NumberT | None, otherwise: NumberT) -> NumberT:
    return otherwise if asked is None else asked


def _training(settings: Recipe) -> plan.PlanTraining:
    return plan.PlanTraining(
        network=plan.PlanNetwork(
            base_width=settings.base_width,
            width_multipliers=settings.width_multipliers,
            blocks=settings.blocks,
            attention_resolutions=settings.attention_resolutions,
            seed=NETWORK_SEED,
        ),
        parameterisation="edm",
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
    phases: Sequence[plan.SyntheticPhase | plan.PrivatePhase],
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
