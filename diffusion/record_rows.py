"""The rows of a private step: what is drawn for a record belongs to that record.

Each record of the data set has a seed of its own in every step, whether it is chosen
or not, and everything that is drawn for it, noise levels, noise, a dropped label,
flips and shifts, comes from that seed:

    step      ──one stream──>  seed of record 0, 1, 2, ... n - 1
    record i  ──its seed──>    dropped?  K sigmas  K noises  K flips and shifts

So cutting the batch into physical batches of another size changes nothing but float
rounding, memory does not depend on how many records were chosen, and taking one record
out of the data leaves what is drawn for every other one as it was.

Where several records belong to one unit of privacy, the unit has the seed and its K
draws; the records take turns in them (`member_turns`), before the one clip.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from diffusion.augmentation import UNCHANGED, Augmentation, changed
from diffusion.loss import Rows
from diffusion.noise_levels import SigmaLaw
from diffusion.randomness import SecureStream
from privplan import checks
from privplan.errors import ParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """How a record is shown to the network; public constants.

    Attributes:
        noise_multiplicity: K, draws per record.
        law: The law of sigma.
        label_dropout: Probability that a record is shown without its label, in all of
            its draws alike.
        null_label: The label that then stands in.
        augmentation: How the picture changes from draw to draw.

    Raises:
        ParameterError: `noise_multiplicity` is below one or `label_dropout` outside
            [0, 1].
    """

    noise_multiplicity: int
    law: SigmaLaw
    label_dropout: float
    null_label: int
    augmentation: Augmentation = UNCHANGED

    def __post_init__(self) -> None:
        checks.count(noise_multiplicity=self.noise_multiplicity)
        if not 0 <= self.label_dropout <= 1:
            raise ParameterError(
                f"label_dropout is {self.label_dropout!r}, but it must be between 0 "
                "and 1",
                hint="give label_dropout a value such as 0.1",
            )


def record_seeds(
    stream: SecureStream, chosen: Int64[Tensor, " batch"], *, records: int
) -> list[int]:
    """Draw one 63-bit seed for each record, and return those of the chosen ones.

    Args:
        stream: Fresh randomness of this step.
        chosen: Which records are in the batch; private, may be empty.
        records: How many there are in all.

    Example:
        >>> from diffusion.randomness import RandomSource
        >>> stream = RandomSource().stream()
        >>> len(record_seeds(stream, torch.tensor([1, 4]), records=5))
        2
    """
    words = stream.words(records)
    return [int(words[index]) >> 1 for index in chosen.tolist()]


def member_turns(seed: int, *, draws: int, members: int) -> list[int]:
    """Choose which of a unit's records each draw shows: all in turn, in random order.

    Args:
        seed: Of the unit, from `record_seeds`; the order is drawn apart from what
            `rows_at` draws.
        draws: K.
        members: Records of the unit; at least 1.

    Example:
        >>> member_turns(7, draws=3, members=1)
        [0, 0, 0]
        >>> sorted(member_turns(7, draws=4, members=2))
        [0, 0, 1, 1]
    """
    apart = hashlib.sha256(b"privplan unit order" + seed.to_bytes(8, "big")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(apart[:8], "big") >> 1)
    order = torch.randperm(members, generator=generator).tolist()
    return [order[draw % members] for draw in range(draws)]


def rows_at(
    images: Float[Tensor, "shown channels height width"],
    labels: Int64[Tensor, " shown"],
    *,
    seeds: Sequence[int],
    showing: Showing,
) -> Rows:
    """Draw the rows of some records from their seeds.

    Args:
        images: Clean images in [-1, 1], on the CPU; one for each seed, or, K-major, one
            for each draw of each seed.
        labels: Their classes.
        seeds: One for each record or unit, from `record_seeds`; at least one.
        showing: How they are shown.

    Returns:
        `(clean, noisy, sigma, labels)`, each with K * records rows, K-major, as from
        `diffusion.loss.draw_rows`.

    Example:
        >>> from diffusion.noise_levels import LogNormal
        >>> showing = Showing(
        ...     noise_multiplicity=2, law=LogNormal(), label_dropout=0.0, null_label=9
        ... )
        >>> pair, labels = torch.zeros(2, 1, 8, 8), torch.tensor([3, 4])
        >>> both = rows_at(pair, labels, seeds=[5, 6], showing=showing)
        >>> second = rows_at(pair[1:], labels[1:], seeds=[6], showing=showing)
        >>> bool((both[1][1::2] == second[1]).all())
        True
    """
    draws = showing.noise_multiplicity
    noise = torch.empty(draws, len(seeds), *images.shape[1:], dtype=images.dtype)
    uniform = torch.empty(draws, len(seeds), dtype=torch.float64)
    chance = torch.empty(len(seeds))
    moves = torch.zeros(draws, len(seeds), 3)
    generator = torch.Generator()
    for place, seed in enumerate(seeds):
        generator.manual_seed(seed)
        chance[place] = torch.rand((), generator=generator)
        uniform[:, place] = torch.rand(draws, generator=generator, dtype=torch.float64)
        noise[:, place] = torch.randn(
            draws, *images.shape[1:], generator=generator, dtype=images.dtype
        )
        if showing.augmentation.changes:
            moves[:, place] = showing.augmentation.draw(draws, generator)
    repeats = draws if len(images) == len(seeds) else 1
    clean = images.repeat(repeats, 1, 1, 1)
    if showing.augmentation.changes:
        clean = changed(clean, moves.flatten(0, 1))
    sigma = showing.law.quantile(uniform.flatten()).float()
    noisy = torch.addcmul(clean, sigma[:, None, None, None], noise.flatten(0, 1))
    dropped = (chance < showing.label_dropout).repeat(draws)
    shown = torch.where(dropped, showing.null_label, labels.repeat(repeats))
    return clean, noisy, sigma, shown
