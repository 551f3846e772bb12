"""The rows of a private step: what is drawn for a record belongs to that record.

Each record of the data set has a seed of its own in every step, whether it is chosen
or not, and everything that is drawn for it, noise levels, noise, a dropped label,
flips and shifts, comes from that seed:

    step      ──one stream──>  seed of record 0, 1, 2, ... n - 1
    record i  ──its seed──>    dropped?  K sigmas  K noises  K flips and shifts

So cutting the batch into physical batches of another size changes nothing but float
rounding, memory does not depend on how many records were chosen, and taking one record
out of the data leaves what is drawn for every other one as it was.
"""

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


def rows_at(
    images: Float[Tensor, "records channels height width"],
    labels: Int64[Tensor, " records"],
    *,
    seeds: Sequence[int],
    showing: Showing,
) -> Rows:
    """Draw the rows of some records from their seeds.

    Args:
        images: Clean images in [-1, 1], on the CPU; at least one.
        labels: Their classes.
        seeds: One for each record, from `record_seeds`.
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
    noise = torch.empty(draws, *images.shape, dtype=images.dtype)
    uniform = torch.empty(draws, len(images), dtype=torch.float64)
    chance = torch.empty(len(images))
    moves = torch.zeros(draws, len(images), 3)
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
    clean = images.repeat(draws, 1, 1, 1)
    if showing.augmentation.changes:
        clean = changed(clean, moves.flatten(0, 1))
    sigma = showing.law.quantile(uniform.flatten()).float()
    noisy = torch.addcmul(clean, sigma[:, None, None, None], noise.flatten(0, 1))
    shown = torch.where(chance < showing.label_dropout, showing.null_label, labels)
    return clean, noisy, sigma, shown.repeat(draws)
