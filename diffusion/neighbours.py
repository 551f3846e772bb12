"""Made-up data sets and their neighbours, chosen to expose what random ones hide.

A neighbour has one record more, its last one. Random pictures alone miss faults: a
batch that is divided by its size shows least where all records are alike, a clip that
is left out shows only where something is long. So the last record is ordinary, like all
the others, blank, tiny, huge, infinite, not a number, or all contrast, among ordinary
records, among copies of itself and among huge ones.

Pictures are bytes and cannot be infinite. A loss can: `hostile` multiplies the loss of
constant pictures of certain greys by factors that are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.data import PrivateImages
from diffusion.loss import RowLoss
from diffusion.readers.latent_set import made_up
from diffusion.rehearsal import pictures, times
from privplan.plan import PlanData

_BLANK, _INFINITE, _NAN = 128, 40, 217
_TINY, _HUGE = 0, 255
_SHARES = {"huge": 1.0, "infinite": 0.0, "not a number": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two neighbouring data sets.

    Attributes:
        name: What is special about the last record, or about the others.
        larger: With the last record.
        smaller: Without it.
        share: What the last record adds to clipped gradients over C, where that is
            known: 1 for a huge one, 0 for one whose gradient is not finite.
    """

    name: str
    larger: PrivateImages
    smaller: PrivateImages
    share: float | None = None


def hostile(row_loss: RowLoss) -> RowLoss:
    """Multiply the loss of constant pictures by 1e-30, 1e30, infinity or NaN."""

    def factor(clean: Tensor) -> Tensor:
        mean = clean.mean(dim=(1, 2, 3))
        one = torch.ones_like(mean)
        scaled = torch.where(mean > 0.9, 1e30 * one, one)
        scaled = torch.where(mean < -0.9, 1e-30 * one, scaled)
        scaled = torch.where((mean > 0.5) & (mean <= 0.9), math.nan * one, scaled)
        return torch.where((mean < -0.5) & (mean >= -0.9), math.inf * one, scaled)

    return times(row_loss, factor)


def pairs(data: PlanData, *, others: int = 3) -> Iterator[Pair]:
    """Make neighbouring data sets of a declared shape.

    Args:
        data: The shape; the number of records is not looked at.
        others: Records that both have.
    """
    base = pictures(
        others + 1,
        channels=data.channels,
        height=data.height,
        width=data.width,
        classes=data.classes,
    )
    greys = _greys(base)
    last = greys[-1:]
    flat = torch.full_like(last, _BLANK)
    rows, columns = torch.arange(data.height), torch.arange(data.width)
    board = ((rows[:, None] + columns) % 2 * 255).to(torch.uint8)
    records = {
        "ordinary": last,
        "blank": flat,
        "alternating": board.expand_as(last).clone(),
        "tiny": torch.full_like(last, _TINY),
        "huge": torch.full_like(last, _HUGE),
        "infinite": torch.full_like(last, _INFINITE),
        "not a number": torch.full_like(last, _NAN),
    }
    for name, record in records.items():
        share = _SHARES.get(name)
        yield _pair(name, greys[:-1], record, base.labels, data, share=share)
    same = base.labels[:1].expand(others + 1).clone()
    copies = last.repeat(others, 1, 1, 1)
    yield _pair("identical", copies, last, same, data)
    huge = torch.full_like(copies, _HUGE)
    yield _pair("tiny among huge", huge, records["tiny"], same, data)


def _greys(images: PrivateImages) -> Tensor:
    """Return made-up pictures as bytes, also where they stand for latents."""
    found = images.images
    if found.dtype == torch.uint8:
        return found
    return ((found + 1) * 127.5).round().to(torch.uint8)


def _pair(
    name: str,
    others: Tensor,
    record: Tensor,
    labels: Tensor,
    data: PlanData,
    *,
    share: float | None = None,
) -> Pair:
    return Pair(
        name=name,
        larger=made_up(torch.cat([others, record]), labels, data.classes),
        smaller=made_up(others, labels[:-1], data.classes),
        share=share,
    )
