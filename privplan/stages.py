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
            raise ParameterError(
                "there is no stage",
                hint="name at least the context, as context=private",
            )
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
            >>> from privplan.stage_text import parse
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
