"""Does the machinery of privacy work here: noise, clipping, per-example gradients.

A new machine, driver or library can break what the tests of another machine showed.
These take a second or two and read no record: random pixels stand in.

    noise       two streams differ; mean, variance and tails are those of a normal
    engine      every fast engine gives the sum of the slow and plain one
    clipping    one record alone moves the sum by C at most
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffusion.blueprint import network_of
from diffusion.denoisers import loss_of
from diffusion.loss import draw_rows
from diffusion.parts import whole
from diffusion.per_example import Clipping, Rows, engine
from diffusion.randomness import RandomSource, SecureStream
from privplan.planner import PlanRequest, make_plan

_DRAWS = 200_000
_SIGMAS = 6.0  # a sound generator fails such a bound twice in 10^9 tries
_RECORDS, _MULTIPLICITY, _NORM = 3, 2, 0.01
_RELATIVE = 1e-3  # float32 sums of a few thousand terms
_ENGINES = ("folded", "vmap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """How a self-test ended.

    Attributes:
        name: What was tested.
        passed: Whether it holds.
        text: What was found, on one line.
    """

    name: str
    passed: bool
    text: str


def noise(one: SecureStream | None = None, other: SecureStream | None = None) -> Tested:
    """Test the normals of two streams; default two fresh ones.

    Example:
        >>> noise().passed
        True
    """
    drawn, again = (
        (stream or RandomSource().stream()).normals(_DRAWS) for stream in (one, other)
    )
    error = _SIGMAS / math.sqrt(_DRAWS)
    mean, variance = float(drawn.mean()), float(drawn.var())
    far = float(np.mean(np.abs(drawn) > 1.959963984540054))
    meet = float(np.mean(drawn * again))
    sound = (
        abs(mean) <= error
        and abs(variance - 1) <= error * math.sqrt(2)
        and abs(far - 0.05) <= error * math.sqrt(0.05 * 0.95)
        and abs(meet) <= error
    )
    text = (
        f"{_DRAWS:,} normals: mean {mean:+.4f}, variance {variance:.4f}, "
        f"{100 * far:.2f} % beyond 1.96, correlation of two streams {meet:+.4f}"
    )
    return Tested(name="noise", passed=sound, text=text)


def engines() -> tuple[Tested, ...]:
    """Test clipping, and every fast engine against the plain loop."""
    plain = _clipped("loop", records=_RECORDS)
    scale = _length(plain)
    found = []
    for name in _ENGINES:
        fast = _clipped(name, records=_RECORDS)
        pairs = zip(fast, plain, strict=True)
        off = _length([a - b for a, b in pairs]) / scale
        found.append(
            Tested(
                name=f"engine {name}",
                passed=off <= _RELATIVE,
                text=f"clipped sum differs from the plain loop by {off:.1e} of it",
            )
        )
    moved = _length(_clipped("auto", records=1)) / _NORM
    clipped = Tested(
        name="clipping",
        passed=moved <= 1 + _RELATIVE,
        text=f"one record moves the sum by {moved:.4f} C",
    )
    return (*found, clipped)


def _clipped(name: str, *, records: int) -> list[Tensor]:
    plan = make_plan(PlanRequest(target_epsilon=1.0))
    network = network_of(plan)
    loss = loss_of(plan, whole(plan))
    rows: Rows = draw_rows(
        torch.rand(records, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2
        - 1,
        torch.arange(records) % plan.data.classes,
        noise_multiplicity=_MULTIPLICITY,
        law=loss.law,
        label_dropout=0.0,
        null_label=loss.null_label,
        generator=torch.Generator().manual_seed(2),
    )
    return engine(name).clipped_sum(
        network,
        loss.row_loss,
        rows,
        records=records,
        noise_multiplicity=_MULTIPLICITY,
        clipping=Clipping(max_grad_norm=_NORM),
    )


def _length(parts: list[Tensor]) -> float:
    return math.sqrt(
        sum(float(part.detach().double().square().sum()) for part in parts)
    )
