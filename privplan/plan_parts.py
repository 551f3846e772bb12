"""The parts of a plan: budget, data, stages, phases, training, accounting.

Strict, frozen models; `plan.Plan` puts them together and seals them. Everything here is
public: constants that were chosen, or facts that were declared.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from privplan import events, tuning
from privplan.borrowed import ElsewherePhase, PlanBorrowed, PlanText
from privplan.budget import Adjacency, PrivacyBudget, PrivacyUnit
from privplan.errors import DocumentError
from privplan.fields import Count, Digest, Document, EventField, Name, Number
from privplan.plan_network import PlanMixture, PlanNetwork
from privplan.stages import Sharing, Source, StageName

REPAIR = "repair"

QueryName = Literal["labels", "count", "mean", "moments", "scores", "select"]


def _is_usual(value: object) -> bool:
    return value is None or value == tuning.ALL


class PlanBudget(Document):
    """What this plan may spend, and what was spent on these data before it."""

    target_epsilon: Number
    target_delta: Number
    earlier_epsilon: Number
    earlier_delta: Number
    adjacency: Adjacency = Field(strict=False)
    unit: Name
    max_records_per_unit: Count

    def as_budget(self) -> PrivacyBudget:
        """Return the budget these fields describe."""
        return PrivacyBudget(
            target_epsilon=self.target_epsilon,
            target_delta=self.target_delta,
            adjacency=self.adjacency,
            unit=PrivacyUnit(name=self.unit, max_records=self.max_records_per_unit),
        )


class PlanShape(Document):
    """The form of images and labels."""

    channels: Count
    height: Count
    width: Count
    classes: Count

    @property
    def dimensions(self) -> int:
        """Numbers per image."""
        return self.channels * self.height * self.width


class PlanData(PlanShape):
    """What is declared about the data; all of it public.

    Where `unit_column` is named, `records` counts units, and a step samples and clips
    units. Where `caption_column` is, records have captions in the place of classes.
    A column that is not named is left out, so that older plans keep their digest.
    """

    records: Count
    records_status: Literal["public-by-declaration"]
    embedded: Literal["digits"] | None
    unit_column: Name | None = Field(default=None, exclude_if=_is_usual)
    caption_column: Name | None = Field(default=None, exclude_if=_is_usual)

    def unit(self, budget: PlanBudget) -> PrivacyUnit | None:
        """Return the unit that a step samples; None where it is a record."""
        return None if self.unit_column is None else budget.as_budget().unit


class PlanStage(Document):
    """One interval of sigma and its source."""

    name: StageName = Field(strict=False)
    source: Source = Field(strict=False)
    sigma_min: Number
    sigma_max: Number


class SyntheticPhase(Document):
    """Ordinary training on images that a program draws; reads no record.

    One named `REPAIR` comes after the private steps, and trains the synthetic stages
    alone.
    """

    kind: Literal["synthetic"]
    name: Name
    steps: Count
    event: EventField
    generator: Name
    seed: int
    batch_size: Count
    learning_rate: Number


class PublicPhase(Document):
    """Ordinary training on images declared public; reads no private record."""

    kind: Literal["public"]
    name: Name
    steps: Count
    event: EventField
    data_name: Name
    data_digest: Digest
    declared_by: Name
    batch_size: Count
    learning_rate: Number


FreePhase = Annotated[
    SyntheticPhase | PublicPhase | ElsewherePhase, Field(discriminator="kind")
]


class PretrainedPhase(Document):
    """Weights that were trained elsewhere on free images; reads no private record.

    The digest names one checkpoint and no other; the lineage says what it learned from,
    and who declared that public.
    """

    kind: Literal["pretrained"]
    name: Name
    steps: Literal[1]
    event: EventField
    checkpoint_digest: Digest
    lineage: tuple[FreePhase, ...] = Field(min_length=1)


class PlanLatent(Document):
    """The latent space records are brought to; then `data` is their shape there."""

    autoencoder_digest: Digest
    kind: Literal["kl", "vq", "AutoencoderKL"]
    scale: Number
    image_channels: Count
    image_height: Count
    image_width: Count
    lineage: tuple[FreePhase, ...] = Field(min_length=1)


class GaussianPhase(Document):
    """One noisy query of class sums, class counts and second moments."""

    kind: Literal["gaussian"]
    name: Name
    steps: Literal[1]
    event: EventField
    centre: Number
    radius: Number
    shares: tuple[Number, Number, Number]

    @property
    def noise_multiplier(self) -> float:
        """Noise of the query over its sensitivity.

        Raises:
            DocumentError: The event is not a Gaussian.
        """
        return _gaussian(self.name, self.event).noise_multiplier


class QueryPhase(Document):
    """One noisy sum over the records beside the training."""

    kind: Literal["query"]
    name: Name
    steps: Count
    event: EventField
    asks: QueryName
    asked_as: Name
    releases: Name

    @property
    def noise_multiplier(self) -> float:
        """Noise of the query over its sensitivity.

        Raises:
            DocumentError: The event is not a Gaussian.
        """
        return _gaussian(self.name, self.event).noise_multiplier


def _gaussian(name: str, event: events.Event) -> events.GaussianEvent:
    if isinstance(event, events.GaussianEvent):
        return event
    raise DocumentError(
        f"phase '{name}' is a query, but its event is "
        f"'{events.to_json(event)['type']}'",
        hint="make the plan again with privplan plan",
    )


class PlanAdaptive(Document):
    """How C follows the gradients: a noisy count inside each private step.

    The count and the gradients are one query of the step's noise multiplier z, so the
    gradients get z_g = (z^-2 - (2 count_noise)^-2)^(-1/2); Andrew et al. 2021,
    arXiv:1905.03871, theorem 1.
    """

    quantile: Number
    count_noise: Number
    learning_rate: Number


class PrivatePhase(Document):
    """DP-SGD on the private records."""

    kind: Literal["private"]
    name: Name
    steps: Count
    event: EventField
    expected_batch_size: Number
    noise_multiplicity: Count
    max_grad_norm: Number
    clipping: Literal["fixed", "normalised", "adaptive"]
    adaptive: PlanAdaptive | None
    learning_rate: Number
    synthetic_weight: Number

    @property
    def mechanism(self) -> events.StepEvent:
        """The event of one step.

        Raises:
            DocumentError: The event is not a Poisson-sampled Gaussian.
        """
        if isinstance(self.event, events.StepEvent):
            return self.event
        raise DocumentError(
            f"phase '{self.name}' trains on private records, but its event is "
            f"'{events.to_json(self.event)['type']}'",
            hint="make the plan again with privplan plan",
        )

    @property
    def in_whole_numbers(self) -> bool:
        """Whether sums and noise are whole steps of a grid."""
        return isinstance(self.event, events.PoissonSampledDiscreteGaussianEvent)


PlanPhase = Annotated[
    SyntheticPhase
    | PublicPhase
    | PretrainedPhase
    | GaussianPhase
    | QueryPhase
    | PrivatePhase,
    Field(discriminator="kind"),
]


def _is_nothing(value: object) -> bool:
    """Leave out what is not there: plans from before the field keep their digests."""
    return value is None


class PlanTraining(Document):
    """Network, loss and optimiser; public constants."""

    network: PlanNetwork | PlanBorrowed
    parameterisation: Literal["edm", "v", "vp", "ve", "gaussian", "timesteps"]
    sharing: Sharing = Field(strict=False)
    p_mean: Number
    p_std: Number
    sigma_data: Number
    sigma_min: Number
    sigma_max: Number
    mixture: PlanMixture | None
    flip: bool
    shift: int = Field(ge=0, lt=1024)
    label_dropout: Number
    ema_decay: Number
    tune: Name = Field(default=tuning.ALL, exclude_if=_is_usual)
    optimiser: Literal["adam", "adamw", "sgd"]
    latent: PlanLatent | None = Field(default=None, exclude_if=_is_nothing)
    text: PlanText | None = Field(default=None, exclude_if=_is_nothing)
