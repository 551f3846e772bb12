"""What runs, in order, and what each part of it costs.

    queries      one noisy sum each: labels, count
    gaussian     one noisy sum: class means and second moments
    synthetic    ordinary training on images that a program draws
    public       ordinary training on images declared public
    private      DP-SGD, with the least noise that the rest of the budget allows

Everything that reads a record is calibrated together, so a query is paid for by a
little more noise in the private steps, and the sum is what the budget says.

The order costs nothing and helps: a query first can precondition the network, and
what was learned before the private steps need not be learned from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from privplan import calibration, canonical, checks, events, plan, risk
from privplan.budget import PrivacyBudget
from privplan.errors import ParameterError
from privplan.presets import Parameterisation, Pretraining
from privplan.recipes import Recipe
from privplan.stages import Sharing, Source, StageAllocation

NumberT = TypeVar("NumberT", int, float)

SYNTHETIC_SEED = 20240601
_LEAST_SHARE, _MOST_SHARE = 0.02, 0.67
_SHARE_SLOPE = 1.135
_MOST_AT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicData:
    """Images declared public, as a plan names them.

    Attributes:
        name: What they are called.
        digest: SHA-256 of their content.
        declared_by: Who says they are public.
    """

    name: str
    digest: str
    declared_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a user pinned of the phases; None means "choose for me".

    Attributes:
        steps: Private steps.
        sample_rate: Probability of a record per step.
        noise_multiplicity: Noise draws per record.
        synthetic_steps: Steps on synthetic or public images.
        prior_noise: Noise multiplier of the Gaussian query.
        queries: Other queries, before the training.
        public: The public images, where a stage learns from them.
        synthetic_weight: Weight of the synthetic gradient in a mixture.
    """

    steps: int | None = None
    sample_rate: float | None = None
    noise_multiplicity: int | None = None
    synthetic_steps: int | None = None
    prior_noise: float | None = None
    queries: tuple[plan.QueryPhase, ...] = ()
    public: PublicData | None = None
    synthetic_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.steps is not None:
            checks.count(steps=self.steps)
        if self.sample_rate is not None:
            checks.rate(sample_rate=self.sample_rate)
        if self.noise_multiplicity is not None:
            checks.count(noise_multiplicity=self.noise_multiplicity)
        if self.synthetic_steps is not None:
            checks.count(synthetic_steps=self.synthetic_steps)
        if self.prior_noise is not None:
            checks.positive(prior_noise=self.prior_noise)
        checks.positive(synthetic_weight=self.synthetic_weight)


def gaussian_share(feasibility: float) -> float:
    """Return the share of mu^2 that the Gaussian query takes; a public rule.

    Two thirds where hardly anything else can be learned (F at most 2), 8 % at F = 13,
    and 2 % where data are plenty. A straight line in logarithms between two measured
    points.

    Args:
        feasibility: F = n mu / sqrt(trained parameters).

    Example:
        >>> [round(gaussian_share(f), 2) for f in (1.0, 1.9, 13.0, 500.0)]
        [0.67, 0.67, 0.08, 0.02]
    """
    checks.positive(feasibility=feasibility)
    share = _MOST_SHARE * math.pow(_MOST_AT / feasibility, _SHARE_SLOPE)
    return min(max(share, _LEAST_SHARE), _MOST_SHARE)


def gaussian_noise(
    budget: PrivacyBudget, *, feasibility: float, last: bool = False
) -> float:
    """Choose the noise multiplier of the Gaussian query, before anything else is known.

    Args:
        budget: Of the whole plan.
        feasibility: F = n mu / sqrt(trained parameters).
        last: Whether nothing private follows, so that it may take everything.
    """
    if last:
        return calibration.noise_multiplier(
            lambda z: events.GaussianEvent(noise_multiplier=z), budget=budget
        )
    mu = risk.gdp_mu(budget.target_epsilon, budget.target_delta)
    return canonical.round_up(1 / (mu * math.sqrt(gaussian_share(feasibility))), 3)


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
) -> tuple[plan.SyntheticPhase | plan.PublicPhase, ...]:
    """Return the phases that read no record.

    Raises:
        ParameterError: A stage learns from public images, but none were named.
    """
    found: list[plan.SyntheticPhase | plan.PublicPhase] = []
    steps = _chosen(wishes.synthetic_steps, settings.synthetic_steps)
    if allocation.intervals(Source.SYNTHETIC) or pretraining == "synthetic":
        found.append(
            plan.SyntheticPhase(
                kind="synthetic",
                name="synthetic",
                steps=steps,
                event=events.NoOpEvent(),
                generator=settings.generator,
                seed=SYNTHETIC_SEED,
                batch_size=settings.synthetic_batch_size,
                learning_rate=settings.synthetic_learning_rate,
            )
        )
    if allocation.intervals(Source.PUBLIC) or pretraining == "public":
        if wishes.public is None:
            raise ParameterError(
                "a stage learns from public images, but none are named",
                hint="name them with --public FOLDER, or use synthetic instead",
            )
        found.append(
            plan.PublicPhase(
                kind="public",
                name="public",
                steps=steps,
                event=events.NoOpEvent(),
                data_name=wishes.public.name,
                data_digest=wishes.public.digest,
                declared_by=wishes.public.declared_by,
                batch_size=settings.synthetic_batch_size,
                learning_rate=settings.synthetic_learning_rate,
            )
        )
    return tuple(found)


def private_phase(
    settings: Recipe,
    wishes: Wishes,
    budget: PrivacyBudget,
    *,
    records: int,
    fixed: Sequence[plan.PlanPhase],
    parameterisation: Parameterisation,
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

    def step(noise_multiplier: float) -> events.PoissonSampledGaussianEvent:
        return events.PoissonSampledGaussianEvent(
            sample_rate=rate, noise_multiplier=noise_multiplier
        )

    def whole(noise_multiplier: float) -> events.Event:
        steps_of = events.SelfComposedEvent(event=step(noise_multiplier), count=steps)
        return events.ComposedEvent(events=(rest, steps_of))

    noise_multiplier = calibration.noise_multiplier(whole, budget=budget)
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
        clipping="fixed",
        learning_rate=(
            settings.prior_learning_rate
            if parameterisation == "gaussian"
            else settings.learning_rate
        ),
        synthetic_weight=wishes.synthetic_weight if mixed else 0.0,
    )


def _chosen(asked: NumberT | None, otherwise: NumberT) -> NumberT:
    return otherwise if asked is None else asked
