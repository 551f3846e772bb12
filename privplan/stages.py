"""Stages: which part of the denoising is learned from which source.

A diffusion model denoises from sigma_max down to sigma_min. The range splits into
three stages, and each may learn from another source:

    sigma_max |   coarse   |   context   |   cleaning   | sigma_min
              where things     what they       edges and
              are, roughly     look like       texture

A stage whose source is `synthetic` is trained on images that a program draws. It
reads no private record, so it costs exactly nothing; so does one that learns from
`public` images. A stage whose source is `private` is trained by DP-SGD. A stage whose
source is `gaussian` is not trained at all: one noisy query of class means and second
moments gives its denoiser in closed form. Stages do not make a private step cheaper:
they change what it is spent on.

The grammar of `--stages` is `NAME=SOURCE[@SIGMA],...`. `@SIGMA` is the boundary with
the context: coarse is above it, cleaning below it. Context takes what is left.

The default boundaries come from public facts alone. At noise level sigma the marginal
of an image set whose mean is off by ||dm|| differs from the truth by a KL divergence
of ||dm||^2 / (2 sigma^2); images live in [-1, 1]^d, so ||dm|| = sqrt(d)/2 is a public
guess, and above that sigma a wrong mean hardly shows. A Gaussian with the right mean
and covariance reaches further down: on 8x8 images to sigma = 1, and by the same count
of noise per image to sqrt(d)/8 elsewhere.

What the sources have to do with one another is the sharing mode:

    sequential  one network for every sigma: public steps first, then private ones
    mixture     the same, and each private step also takes a synthetic gradient
    gated       private steps train a copy, used at the private sigmas alone
    experts     one network per source, each trained at its own sigmas alone

Units: sigma is in data units, for images in [-1, 1].
Source: stages after DP-SynGen, arXiv:2412.09842 (its thresholds are not known to us;
these are ours); the grammar is our own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from privplan import checks
from privplan.errors import ParameterError

SIGMA_MIN = 0.002
SIGMA_MAX = 80.0
CLEANING_BELOW = 0.2


class StageName(StrEnum):
    """The three stages, from the most noise to the least."""

    COARSE = "coarse"
    CONTEXT = "context"
    CLEANING = "cleaning"


class Source(StrEnum):
    """What a stage learns from."""

    PRIVATE = "private"
    SYNTHETIC = "synthetic"
    PUBLIC = "public"
    GAUSSIAN = "gaussian"

    @property
    def reads_private_records(self) -> bool:
        """Whether learning from this source touches a private record."""
        return self in {Source.PRIVATE, Source.GAUSSIAN}


class Sharing(StrEnum):
    """What the networks of the stages have in common."""

    SEQUENTIAL = "sequential"
    MIXTURE = "mixture"
    GATED = "gated"
    EXPERTS = "experts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One interval of sigma and what it learns from.

    Attributes:
        name: Which stage.
        source: What it learns from.
        sigma_min: Lower end, in data units; above 0.
        sigma_max: Upper end, in data units; above `sigma_min`.
    """

    name: StageName
    source: Source
    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        checks.positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        if not self.sigma_min < self.sigma_max:
            raise ParameterError(
                f"stage '{self.name}' reaches from sigma {self.sigma_min:g} to "
                f"{self.sigma_max:g}, which is empty",
                hint="put the coarse boundary above the cleaning boundary, as in "
                "coarse=synthetic@4.0,context=private,cleaning=synthetic@0.1",
            )

    @property
    def reads_private_records(self) -> bool:
        """Whether training this stage touches a private record."""
        return self.source.reads_private_records


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAllocation:
    """Every stage of a plan, from the highest sigma down, without gap or overlap.

    Attributes:
        stages: One to three stages; neighbours share a boundary.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ParameterError("there is no stage", hint=_GRAMMAR)
        names = [stage.name for stage in self.stages]
        if names != [name for name in StageName if name in names]:
            raise ParameterError(
                f"the stages are {', '.join(names)}, out of order or twice",
                hint="name each at most once, in the order coarse, context, cleaning",
            )
        for above, below in itertools.pairwise(self.stages):
            if above.sigma_min != below.sigma_max:
                raise ParameterError(
                    f"stage '{above.name}' ends at sigma {above.sigma_min:g}, but "
                    f"'{below.name}' begins at {below.sigma_max:g}",
                    hint="let neighbouring stages share one boundary",
                )

    def intervals(self, source: Source) -> tuple[tuple[float, float], ...]:
        """Return the sigma intervals of one source; touching ones are joined.

        Example:
            >>> parse("coarse=synthetic@2.0,context=private", dimensions=64).intervals(
            ...     Source.PRIVATE
            ... )
            ((0.002, 2.0),)
        """
        return join_intervals(
            (stage.sigma_min, stage.sigma_max)
            for stage in self.stages
            if stage.source is source
        )


def join_intervals(
    intervals: Iterable[tuple[float, float]],
) -> tuple[tuple[float, float], ...]:
    """Join intervals that share a boundary; given from the highest sigma down.

    Example:
        >>> join_intervals([(2.0, 80.0), (0.1, 2.0)])
        ((0.1, 80.0),)
    """
    joined: list[tuple[float, float]] = []
    for low, high in intervals:
        if joined and joined[-1][0] == high:
            joined[-1] = (low, joined[-1][1])
        else:
            joined.append((low, high))
    return tuple(joined)


def default_coarse_boundary(
    dimensions: int,
    *,
    sigma_max: float = SIGMA_MAX,
    source: Source = Source.SYNTHETIC,
) -> float:
    """Return the sigma above which the coarse stage may do without training.

    sqrt(d)/2, where a wrong mean hardly shows; sqrt(d)/8 for a Gaussian with the
    right mean and covariance.

    Args:
        dimensions: Numbers per image: channels times height times width.
        sigma_max: The highest sigma; the boundary is at most half of it.
        source: What the coarse stage learns from.

    Example:
        >>> default_coarse_boundary(64), default_coarse_boundary(784)
        (4.0, 14.0)
        >>> default_coarse_boundary(64, source=Source.GAUSSIAN)
        1.0
    """
    checks.count(dimensions=dimensions)
    part = 8 if source is Source.GAUSSIAN else 2
    return min(max(round(math.sqrt(dimensions) / part, 1), 1.0), sigma_max / 2)


DEFAULT = "coarse=synthetic,context=private,cleaning=synthetic"
ALL_PRIVATE = "coarse=private,context=private,cleaning=private"
_GRAMMAR = (
    f"write NAME=SOURCE[@SIGMA],... as in {DEFAULT}, or dpdm, syngen-coarse, "
    "syngen-cleaning, syngen-finetune or best"
)


def parse(
    text: str,
    *,
    dimensions: int,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
) -> StageAllocation:
    """Read the text of `--stages`.

    Args:
        text: `NAME=SOURCE[@SIGMA],...`; empty means the default allocation, coarse
            and cleaning synthetic, context private.
        dimensions: Numbers per image, for the default boundary of coarse.
        sigma_min: The lowest sigma, in data units.
        sigma_max: The highest sigma, in data units.

    Raises:
        ParameterError: An unknown name or source, a stage twice or missing,
            boundaries that overlap or are not numbers.

    Example:
        >>> for stage in parse("", dimensions=64).stages:
        ...     print(stage.name, stage.source, stage.sigma_min, stage.sigma_max)
        coarse synthetic 4.0 80.0
        context private 0.2 4.0
        cleaning synthetic 0.002 0.2
    """
    chosen: dict[StageName, tuple[Source, float | None]] = {}
    for part in (text.strip() or DEFAULT).split(","):
        name, source, boundary = _part(part.strip(), (sigma_min, sigma_max))
        if name in chosen:
            raise ParameterError(
                f"stage '{name}' is named twice", hint="name each stage once"
            )
        chosen[name] = (source, boundary)
    if StageName.CONTEXT not in chosen:
        raise ParameterError(
            "stage 'context' is missing, so a range of sigma would be left untrained",
            hint="add context=private",
        )
    return _allocation(chosen, dimensions, (sigma_min, sigma_max))


def _allocation(
    chosen: dict[StageName, tuple[Source, float | None]],
    dimensions: int,
    reach: tuple[float, float],
) -> StageAllocation:
    low, high = reach
    if StageName.COARSE in chosen:
        source, boundary = chosen[StageName.COARSE]
        high = boundary or default_coarse_boundary(
            dimensions, sigma_max=high, source=source
        )
    if StageName.CLEANING in chosen:
        low = chosen[StageName.CLEANING][1] or CLEANING_BELOW
    ends = {
        StageName.COARSE: (high, reach[1]),
        StageName.CONTEXT: (low, high),
        StageName.CLEANING: (reach[0], low),
    }
    if not low < high:
        raise ParameterError(
            f"stages 'coarse' and 'cleaning' overlap: cleaning reaches up to sigma "
            f"{low:g}, coarse down to {high:g}",
            hint="put the coarse boundary above the cleaning boundary",
        )
    return StageAllocation(
        stages=tuple(
            Stage(
                name=name,
                source=chosen[name][0],
                sigma_min=ends[name][0],
                sigma_max=ends[name][1],
            )
            for name in StageName
            if name in chosen
        )
    )


def _part(
    part: str, reach: tuple[float, float]
) -> tuple[StageName, Source, float | None]:
    name, equals, rest = part.partition("=")
    source, at, sigma = rest.partition("@")
    if not equals:
        raise ParameterError(f"'{part[:40]}' is not a stage", hint=_GRAMMAR)
    if name not in list(StageName):
        raise ParameterError(
            f"stage '{name[:40]}' is unknown",
            hint="stages are coarse, context and cleaning",
        )
    if source not in list(Source):
        raise ParameterError(
            f"stage '{name}' has the unknown source '{source[:40]}'",
            hint="sources are private, synthetic, public and gaussian",
        )
    boundary = _boundary(name, sigma, reach) if at else None
    return StageName(name), Source(source), boundary


def _boundary(name: str, text: str, reach: tuple[float, float]) -> float:
    if name == StageName.CONTEXT:
        raise ParameterError(
            "stage 'context' has a boundary of its own",
            hint="give the boundary to its neighbour: coarse=...@4.0 is above it, "
            "cleaning=...@0.1 below it",
        )
    try:
        sigma = float(text)
    except ValueError:
        sigma = math.nan
    if not reach[0] < sigma < reach[1]:
        raise ParameterError(
            f"stage '{name}' has the boundary '{text[:20]}', which is no sigma between "
            f"{reach[0]:g} and {reach[1]:g}",
            hint=f"write it like {name}=synthetic@2.0",
        )
    return sigma
