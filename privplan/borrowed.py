"""A network of another library, as a plan writes it down: configuration, time, layers.

    configuration   the library's own words for the network's shape, as canonical JSON
    schedule        which timestep stands for which sigma, and what is predicted
    layers          every layer with parameters, one line each

Nothing here imports that library. The plan holds the layers, so that anyone can count
what private steps change; who builds the network compares it with them first.

    line of a layer     name kind width-in width-out size bias|plain part
    example             net.mid_block.attentions.0.to_q linear 16 16 1 bias attention

A network that counts noise in timesteps is shown x / sqrt(1 + sigma^2) at the t with

    sigma(t)^2 = (1 - a(t)) / a(t),      a(t) = product of 1 - beta(s) over s <= t

Between whole timesteps ln sigma is taken to be linear in t.

Units: sigma in data units; t in steps, from 0.
Source: Ho et al. 2020, arXiv:2006.11239, equation 4; Nichol & Dhariwal 2021,
arXiv:2102.09672, equation 17 (cosine); Karras et al. 2022, arXiv:2206.00364, table 1.
"""

from __future__ import annotations

import math
from typing import Literal, cast

from pydantic import Field

from privplan.errors import DocumentError
from privplan.fields import Count, Digest, Document, EventField, Name, Number
from privplan.parameter_count import KINDS, Layer, LayerKind

Prediction = Literal["epsilon", "v_prediction", "sample"]
BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
BorrowedKind = Literal["UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel"]
TextKind = Literal["CLIPTextModel", "T5EncoderModel"]
PUBLIC_TEXTS = 2
"""Rows that a table of encodings has before any caption: of some text, and of none."""
_MOST_BETA = 0.999
_WORDS = 7


class PlanSchedule(Document):
    """Which timestep stands for which sigma, and what the network predicts there."""

    timesteps: int = Field(ge=2, le=100_000)
    betas: BetaSchedule
    beta_start: Number
    beta_end: Number
    prediction: Prediction


class PlanBorrowed(Document):
    """A network of another library."""

    library: Literal["diffusers"]
    kind: BorrowedKind
    config: str = Field(min_length=2, max_length=100_000)
    schedule: PlanSchedule
    layers: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    seed: Count


class ElsewherePhase(Document):
    """Training that somebody else did, on images that nobody here has seen.

    Only the weights that came of it can be named by digest.
    """

    kind: Literal["elsewhere"]
    name: Name
    steps: Literal[1]
    event: EventField
    data_name: Name
    weights_digest: Digest
    declared_by: Name


class PlanText(Document):
    """The frozen encoder that turns a caption into what a network is shown beside it.

    A record then has a caption and no class, and `classes` is 1. The encoder is a map
    applied to each caption alone and learns nothing from records.
    """

    library: Literal["transformers"]
    kind: TextKind
    name: Name
    encoder_digest: Digest
    tokens: Count
    width: Count
    lineage: tuple[ElsewherePhase, ...] = Field(min_length=1)


def layer_text(layer: Layer) -> str:
    """Write a layer as a plan holds it.

    Example:
        >>> layer_text(Layer(name="net.out", kind="linear", width_in=2, width_out=3))
        'net.out linear 2 3 1 bias -'
    """
    bias = "bias" if layer.bias else "plain"
    sizes = f"{layer.width_in} {layer.width_out} {layer.size}"
    return f"{layer.name} {layer.kind} {sizes} {bias} {layer.part or '-'}"


def layer_of(text: str) -> Layer:
    """Read a layer back.

    Raises:
        DocumentError: It is no line of a layer.

    Example:
        >>> layer_of("net.out conv 2 3 3 plain -").parameters
        {'net.out.weight': 54}
    """
    words = text.split(" ")
    if len(words) == _WORDS:
        name, kind, *sizes, bias, part = words
        numbers = [int(s) for s in sizes if s.isascii() and s.isdecimal()]
        known = kind in KINDS and bias in {"bias", "plain"} and name and part
        if known and len(numbers) == len(sizes) and min(numbers) > 0:
            return Layer(
                name=name,
                kind=cast("LayerKind", kind),
                width_in=numbers[0],
                width_out=numbers[1],
                size=numbers[2],
                bias=bias == "bias",
                part="" if part == "-" else part,
            )
    raise DocumentError(
        f"'{text[:60]}' does not describe a layer",
        hint="make the checkpoint and the plan again",
    )


def sigmas(schedule: PlanSchedule) -> tuple[float, ...]:
    """Return sigma at every whole timestep, in increasing order.

    Raises:
        DocumentError: The schedule does not add noise at every step.

    Example:
        >>> usual = PlanSchedule(
        ...     timesteps=1000, betas="linear", beta_start=1e-4, beta_end=0.02,
        ...     prediction="epsilon",
        ... )
        >>> found = sigmas(usual)
        >>> len(found), round(found[0], 5), round(found[-1], 2)
        (1000, 0.01, 157.41)
    """
    left, found = 1.0, []
    for step in range(schedule.timesteps):
        beta = _beta(schedule, step)
        if not 0 < beta < 1:
            raise DocumentError(
                f"the noise schedule has beta {beta:g} at step {step}",
                hint="give a schedule whose betas lie between 0 and 1",
            )
        left *= 1 - beta
        found.append(math.sqrt((1 - left) / left))
    return tuple(found)


def _beta(schedule: PlanSchedule, step: int) -> float:
    start, end = schedule.beta_start, schedule.beta_end
    along = step / (schedule.timesteps - 1)
    match schedule.betas:
        case "linear":
            return start + along * (end - start)
        case "scaled_linear":
            if not min(start, end) > 0:
                return 0.0
            root = math.sqrt(start) + along * (math.sqrt(end) - math.sqrt(start))
            return root**2
        case "squaredcos_cap_v2":
            now, then = (
                _cosine((step + ahead) / schedule.timesteps) for ahead in (0, 1)
            )
            return min(1 - then / now, _MOST_BETA)


def _cosine(time: float) -> float:
    return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
