"""What runs, in order, and what each part of it costs.

    queries      one noisy sum each: labels, count
    gaussian     one noisy sum: class means and second moments
    synthetic    ordinary training on images that a program draws
    public       ordinary training on images declared public
    private      DP-SGD, with the least noise that the rest of the budget allows
    repair       ordinary training again, at the sigmas of the synthetic stages, which
                 private steps on shared weights have moved

Everything that reads a record is calibrated together, so a query is paid for by a
little more noise in the private steps, and the sum is what the budget says.

The order costs nothing and helps: a query first can precondition the network, and
what was learned before the private steps need not be learned from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from privplan import (
    calibration,
    canonical,
    checks,
    events,
    line_grammar,
    plan,
)
from privplan.budget import PrivacyBudget
from privplan.errors import InfeasibleBudgetError, ParameterError
from privplan.free_phases import (
    PublicData,
    pretrained_phase,
    public_phase,
    synthetic_phase,
)
from privplan.presets import Pretraining, Wrapping
from privplan.pretrained import Pretrained
from privplan.recipes import Recipe
from privplan.stages import Sharing, Source, StageAllocation

NumberT = TypeVar("NumberT", int, float)


_STEPS: dict[str, type[events.StepEvent]] = {
    "float64": events.PoissonSampledGaussianEvent,
    "discrete": events.PoissonSampledDiscreteGaussianEvent,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a user pinned of the phases; None means "choose for me".

    Attributes:
        steps: Private steps.
        sample_rate: Probability of a record per step.
        noise_multiplicity: Noise draws per record.
        synthetic_steps: Steps on synthetic or public images.
        repair_steps: Steps on synthetic images after the private ones; None for none.
        prior_noise: Noise multiplier of the Gaussian query.
        queries: Other queries, before the training.
        public: The public images, where a stage learns from them.
        synthetic_weight: Weight of the synthetic gradient in a mixture.
        clipping: "fixed", "normalised", or "adaptive": C follows the median gradient
            by a noisy count inside each step.
        pretrained: The checkpoint that training begins from.
        learning_rate: Of the private steps.
        arithmetic: "float64", or "discrete": private steps in whole numbers.
    """

    steps: int | None = None
    sample_rate: float | None = None
    noise_multiplicity: int | None = None
    synthetic_steps: int | None = None
    repair_steps: int | None = None
    prior_noise: float | None = None
    queries: tuple[plan.QueryPhase, ...] = ()
    public: PublicData | None = None
    synthetic_weight: float = 1.0
    clipping: Literal["fixed", "normalised", "adaptive"] = "fixed"
    pretrained: Pretrained | None = None
    learning_rate: float | None = None
    arithmetic: Literal["float64", "discrete"] = "float64"

    def __post_init__(self) -> None:
        if self.steps is not None:
            checks.count(steps=self.steps)
        if self.sample_rate is not None:
            checks.rate(sample_rate=self.sample_rate)
        if self.noise_multiplicity is not None:
            checks.count(noise_multiplicity=self.noise_multiplicity)
        if self.synthetic_steps is not None:
            checks.count(synthetic_steps=self.synthetic_steps)
        if self.repair_steps is not None:
            checks.count(repair_steps=self.repair_steps)
        if self.prior_noise is not None:
            checks.positive(prior_noise=self.prior_noise)
        if self.learning_rate is not None:
            checks.positive(learning_rate=self.learning_rate)
        checks.positive(synthetic_weight=self.synthetic_weight)


def query_phases(texts: Sequence[str]) -> tuple[plan.QueryPhase, ...]:
    """Turn every `--query` into a phase of its own.

    Args:
        texts: As in `line_grammar`.

    Raises:
        ParameterError: One of them is not a query.

    Example:
        >>> [phase.name for phase in query_phases(["labels:50", "labels:9"])]
        ['labels', 'labels-2']
    """
    found: list[plan.QueryPhase] = []
    for text, line in zip(texts, line_grammar.parse_all(texts), strict=True):
        before = sum(phase.asks == line.name for phase in found)
        found.append(
            plan.QueryPhase(
                kind="query",
                name=line.name if not before else f"{line.name}-{before + 1}",
                steps=line.count,
                event=line.event,
                asks=cast("plan.QueryName", line.name),
                asked_as=text,
                releases=line.releases,
            )
        )
    return tuple(found)


def gaussian_phase(settings: Recipe, noise_multiplier: float) -> plan.GaussianPhase:
    """Return the query that gives a stage its denoiser in closed form."""
    return plan.GaussianPhase(
        kind="gaussian",
        name="gaussian",
        steps=1,
        event=events.GaussianEvent(noise_multiplier=noise_multiplier),
        centre=settings.prior_centre,
        radius=settings.prior_radius,
        shares=settings.prior_shares,
    )


def before(
    allocation: StageAllocation,
    settings: Recipe,
    wishes: Wishes,
    pretraining: Pretraining | None,
) -> tuple[plan.SyntheticPhase | plan.PublicPhase | plan.PretrainedPhase, ...]:
    """Return the phases that read no record.

    Raises:
        ParameterError: A stage learns from public images, but none were named.
    """
    found: list[plan.SyntheticPhase | plan.PublicPhase | plan.PretrainedPhase] = []
    if wishes.pretrained is not None:
        found.append(pretrained_phase(wishes.pretrained))
    steps = _chosen(wishes.synthetic_steps, settings.synthetic_steps)
    if allocation.intervals(Source.SYNTHETIC) or pretraining == "synthetic":
        found.append(
            synthetic_phase(settings, settings.generator, steps=steps),
        )
    stage = bool(allocation.intervals(Source.PUBLIC))
    learned = wishes.pretrained is not None and wishes.public is None
    if (stage and not learned) or pretraining == "public":
        found.append(_public_phase(settings, wishes, steps))
    return tuple(found)


def _public_phase(settings: Recipe, wishes: Wishes, steps: int) -> plan.PublicPhase:
    if wishes.public is None:
        raise ParameterError(
            "a stage learns from public images, but none are named",
            hint="name them with --public FOLDER, use synthetic instead, or begin from "
            "a checkpoint with --from",
        )
    return public_phase(settings, wishes.public, steps=steps)


def private_phase(
    settings: Recipe,
    wishes: Wishes,
    budget: PrivacyBudget,
    *,
    records: int,
    fixed: Sequence[plan.PlanPhase],
    parameterisation: Wrapping,
    sharing: Sharing,
) -> plan.PrivatePhase:
    """Calibrate the private steps beside everything else that reads records.

    Args:
        settings: What is filled in where nothing is pinned.
        wishes: What is pinned.
        budget: Of the whole plan.
        records: n, as declared.
        fixed: The other phases; their cost is counted jointly.
        parameterisation: A network that corrects a Gaussian learns at another rate.
        sharing: Whether synthetic gradients are mixed in.

    Raises:
        InfeasibleBudgetError: The fixed phases alone exceed the budget.
    """
    steps = _chosen(wishes.steps, settings.steps)
    rate = _chosen(wishes.sample_rate, settings.sample_rate)
    rest = plan.whole_event(fixed)

    kind = _STEPS[wishes.arithmetic]

    def step(noise_multiplier: float) -> events.StepEvent:
        return kind(sample_rate=rate, noise_multiplier=noise_multiplier)

    def whole(noise_multiplier: float) -> events.Event:
        steps_of = events.SelfComposedEvent(event=step(noise_multiplier), count=steps)
        return events.ComposedEvent(events=(rest, steps_of))

    try:
        noise_multiplier = calibration.noise_multiplier(whole, budget=budget)
    except InfeasibleBudgetError as error:
        raise _fixed_alone(fixed, error) from error
    mixed = sharing is Sharing.MIXTURE
    return plan.PrivatePhase(
        kind="private",
        name="private",
        steps=steps,
        event=step(noise_multiplier),
        expected_batch_size=rate * records,
        noise_multiplicity=_chosen(
            wishes.noise_multiplicity, settings.noise_multiplicity
        ),
        max_grad_norm=settings.max_grad_norm,
        clipping=wishes.clipping,
        adaptive=_rule(rate * records, noise_multiplier, wishes.clipping),
        learning_rate=_chosen(
            wishes.learning_rate,
            settings.prior_learning_rate
            if parameterisation == "gaussian"
            else settings.learning_rate,
        ),
        synthetic_weight=wishes.synthetic_weight if mixed else 0.0,
    )


def _rule(
    expected_batch_size: float, noise_multiplier: float, clipping: str
) -> plan.PlanAdaptive | None:
    """Let C follow the median; B / 20, and never so little that gradients starve."""
    if clipping != "adaptive":
        return None
    noise = max(expected_batch_size / 20, noise_multiplier, 1.0)
    return plan.PlanAdaptive(
        quantile=0.5, count_noise=canonical.round_up(noise, 3), learning_rate=0.2
    )


def _fixed_alone(
    fixed: Sequence[plan.PlanPhase], error: InfeasibleBudgetError
) -> InfeasibleBudgetError:
    """Say which phases leave nothing for the private steps."""
    charged = [p.name for p in fixed if not isinstance(p.event, events.NoOpEvent)]
    if not charged:
        return error
    return InfeasibleBudgetError(
        f"{' and '.join(charged)} alone would cost epsilon "
        f"{canonical.text_up(error.needed, 4)}, and the whole budget is epsilon "
        f"{error.target:g}",
        stage="plan",
        needed=error.needed,
        target=error.target,
        hint="raise --eps, ask with more noise (--prior-noise, --query), or ask less",
    )


def _chosen(asked: NumberT | None, otherwise: NumberT) -> NumberT:
    return otherwise if asked is None else asked
