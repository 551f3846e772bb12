"""The text of `--stages`, and the boundaries it leaves open.

The grammar is `NAME=SOURCE[@SIGMA],...`. `@SIGMA` is the boundary with the context:
coarse is above it, cleaning below it. Context takes what is left.

Default boundaries come from public facts alone. At noise level sigma the marginal of an
image set whose mean is off by ||dm|| differs from the truth by a KL divergence of
||dm||^2 / (2 sigma^2); images live in [-1, 1]^d, so ||dm|| = sqrt(d)/2 is a public
guess, and above that sigma a wrong mean hardly shows. A Gaussian with the right mean
and covariance reaches further down: on 8x8 images to sigma = 1, and by the same count
of noise per image to sqrt(d)/8 elsewhere.

Units: sigma is in data units, for images in [-1, 1].
Source: the grammar and the rules are our own.
"""

from __future__ import annotations

import math

from privplan import checks
from privplan.errors import ParameterError
from privplan.stages import (
    CLEANING_BELOW,
    SIGMA_MAX,
    SIGMA_MIN,
    Source,
    Stage,
    StageAllocation,
    StageName,
)


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
    "syngen-cleaning, syngen-finetune, finetune-mixture or best"
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
        raise ParameterError(
            f"--stages has '{part[:40]}', which is not a stage", hint=_GRAMMAR
        )
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
