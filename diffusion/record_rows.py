"""The rows of a private step: what is drawn for a record depends on its place alone.

Each place in the logical batch has its own seed, drawn for the whole batch before the
first record is looked at, and everything that is drawn for the record in that place,
noise levels, noise, a dropped label, flips and shifts, comes from that seed:

    step  ──one stream──>  seed of place 0, 1, 2, ...     whole batch, in order
    place b  ──its seed──>  dropped?  K sigmas  K noises  K flips and shifts

So cutting the batch into physical batches of another size changes nothing but float
rounding, and memory does not depend on how many records were chosen.

Privacy does not rest on these draws: they choose which function of a record is clipped,
and the clip bounds it whatever they are.
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


def place_seeds(stream: SecureStream, places: int) -> list[int]:
    """Draw one 63-bit seed for each place in a logical batch.

    Args:
        stream: Fresh randomness of this step.
        places: How many records were chosen; private, may be 0.

    Example:
        >>> from diffusion.randomness import RandomSource
        >>> len(place_seeds(RandomSource().stream(), 3))
        3
    """
    return [int(word) >> 1 for word in stream.words(places)]


def rows_at(
    images: Float[Tensor, "records channels height width"],
    labels: Int64[Tensor, " records"],
    *,
    seeds: Sequence[int],
    showing: Showing,
) -> Rows:
    """Draw the rows of some records from the seeds of their places.

    Args:
        images: Clean images in [-1, 1], on the CPU; at least one.
        labels: Their classes.
        seeds: One for each record, from `place_seeds`.
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
