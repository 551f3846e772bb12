"""One step of training, private or public; no files, no ledger, no plan.

    private_step                                public_step
      spend()          <- before any record       synthetic or public images
      Poisson batch                                ordinary gradient
      clip each record, sum                        optimiser, averaged weights
      noise on the sum
      divide by a constant
      (a mixture: add a public gradient)
      optimiser, averaged weights

`spend` comes in from outside and is called before a record is touched; if it raises,
nothing has happened. Everything else a private step knows about its records dies in
this file: no batch size, loss or norm is returned, logged or kept.

Source: Abadi et al. 2016, Algorithm 1, arXiv:1607.00133; Dockhorn et al. 2023,
Algorithm 1, arXiv:2210.09929.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from diffusion.data import PrivateImages
from diffusion.ema import Ema
from diffusion.loss import RowLoss, Rows, draw_rows
from diffusion.noise_levels import SigmaLaw
from diffusion.per_example import Clipping, PerExampleEngine, accumulate
from diffusion.poisson import poisson_batch
from diffusion.privatize import noisy_sum
from diffusion.randomness import RandomSource

WARM_UP_STEPS = 10


@dataclass(slots=True, kw_only=True)
class Learner:
    """What training changes.

    Attributes:
        network: The denoising network.
        optimiser: Its optimiser.
        ema: Its averaged weights.
        learning_rate: After warm-up.
        steps_done: Steps of the present phase; drives the warm-up.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    ema: Ema
    learning_rate: float
    steps_done: int = 0

    def update(self) -> None:
        """Take one optimiser step on the gradients in place."""
        self.steps_done += 1
        warm = min(1.0, self.steps_done / WARM_UP_STEPS)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate * warm
        self.optimiser.step()
        self.ema.update()


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """How rows are drawn and judged.

    Attributes:
        row_loss: Loss of each row.
        law: Law of sigma of this phase.
        label_dropout: Probability that a record is shown without its label.
        null_label: The label that then stands in.
    """

    row_loss: RowLoss
    law: SigmaLaw
    label_dropout: float
    null_label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """The private step, as the plan fixes it.

    Attributes:
        sample_rate: Probability of a record.
        noise_multiplier: Noise standard deviation over C.
        clipping: C and the kind of clipping.
        noise_multiplicity: Noise draws per record, averaged before clipping.
        expected_batch_size: The divisor; sample_rate times the declared n.
        beside: What a mixture adds to the noised mean; None for nothing. It is given
            the learner and never the batch.
    """

    sample_rate: float
    noise_multiplier: float
    clipping: Clipping
    noise_multiplicity: int
    expected_batch_size: float
    beside: Callable[[Learner], Sequence[Tensor]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What makes a step faster or smaller and can never change the claim.

    Attributes:
        engine: Per-example gradients.
        physical_batch_size: Records per pass.
        device: Where the network lives.
    """

    engine: PerExampleEngine
    physical_batch_size: int
    device: torch.device


def private_step(
    learner: Learner,
    images: PrivateImages,
    *,
    mechanism: Mechanism,
    loss: LossSettings,
    performance: Performance,
    random: RandomSource,
    spend: Callable[[], None],
) -> None:
    """Take one step of DP-SGD.

    Args:
        learner: Changed in place.
        images: The private records.
        mechanism: What the plan fixes.
        loss: How rows are drawn and judged.
        performance: Never changes the result, beyond float rounding.
        random: Fresh randomness.
        spend: Called before any record is touched; durable when it returns.

    Raises:
        PrivplanError: `spend` refused; nothing was touched.
    """
    spend()
    chosen = poisson_batch(
        random.stream(), records=len(images.labels), sample_rate=mechanism.sample_rate
    )
    total = accumulate(
        performance.engine,
        learner.network,
        loss.row_loss,
        _pieces(images, chosen, mechanism, loss, performance, random),
        noise_multiplicity=mechanism.noise_multiplicity,
        clipping=mechanism.clipping,
    )
    noisy = noisy_sum(
        total,
        stream=random.stream(),
        noise_multiplier=mechanism.noise_multiplier,
        max_grad_norm=mechanism.clipping.max_grad_norm,
    )
    mean = [value / mechanism.expected_batch_size for value in noisy]
    if mechanism.beside is not None:
        public = mechanism.beside(learner)
        mean = [m + value for m, value in zip(mean, public, strict=True)]
    for parameter, value in zip(_trainable(learner.network), mean, strict=True):
        parameter.grad = value.to(parameter.dtype)
    learner.update()
    learner.optimiser.zero_grad(set_to_none=True)


def _pieces(
    images: PrivateImages,
    chosen: Int64[Tensor, " batch"],
    mechanism: Mechanism,
    loss: LossSettings,
    performance: Performance,
    random: RandomSource,
) -> Iterator[tuple[Rows, int]]:
    """Yield the rows of one physical batch after the other; none if none was chosen."""
    generator = random.generator()
    for start in range(0, len(chosen), performance.physical_batch_size):
        part = chosen[start : start + performance.physical_batch_size]
        pictures, labels = images.batch(part)
        rows = draw_rows(
            pictures,
            labels,
            noise_multiplicity=mechanism.noise_multiplicity,
            law=loss.law,
            label_dropout=loss.label_dropout,
            null_label=loss.null_label,
            generator=generator,
        )
        yield tuple(row.to(performance.device) for row in rows), len(part)


def public_step(
    learner: Learner,
    pictures: Float[Tensor, "batch channels height width"],
    labels: Int64[Tensor, " batch"],
    *,
    loss: LossSettings,
    random: RandomSource,
    device: torch.device,
) -> None:
    """Take one ordinary step on synthetic or public images; reads no record.

    Args:
        learner: Changed in place.
        pictures: Synthetic or public images in [-1, 1].
        labels: Their labels or pseudo-labels.
        loss: How rows are drawn and judged.
        random: Randomness of the loss.
        device: Where the network lives.
    """
    rows = draw_rows(
        pictures,
        labels,
        noise_multiplicity=1,
        law=loss.law,
        label_dropout=loss.label_dropout,
        null_label=loss.null_label,
        generator=random.generator(),
    )
    learner.optimiser.zero_grad(set_to_none=True)
    rows = tuple(row.to(device) for row in rows)
    torch.autograd.backward(loss.row_loss(learner.network, rows).mean())
    learner.update()
    learner.optimiser.zero_grad(set_to_none=True)


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]
