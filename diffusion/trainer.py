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

from diffusion.adaptive_clipping import COUNT_SENSITIVITY, AdaptiveClipping
from diffusion.augmentation import UNCHANGED, Augmentation
from diffusion.data import PrivateImages
from diffusion.ema import Ema
from diffusion.loss import RowLoss, Rows, draw_rows
from diffusion.noise_levels import SigmaLaw
from diffusion.per_example import Clipping, PerExampleEngine, accumulate
from diffusion.physical_batch import PhysicalBatch
from diffusion.poisson import poisson_batch
from diffusion.privatize import noisy_sum
from diffusion.randomness import RandomSource, SecureStream
from diffusion.record_rows import Showing, place_seeds, rows_at

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
        max_grad_norm: C of the next step where C is adaptive, and public like the
            weights; None before the first such step.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    ema: Ema
    learning_rate: float
    steps_done: int = 0
    max_grad_norm: float | None = None

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
        augmentation: How a record's picture changes from draw to draw.
    """

    row_loss: RowLoss
    law: SigmaLaw
    label_dropout: float
    null_label: int
    augmentation: Augmentation = UNCHANGED

    def showing(self, noise_multiplicity: int) -> Showing:
        """Return how a record of a private step is shown."""
        return Showing(
            noise_multiplicity=noise_multiplicity,
            law=self.law,
            label_dropout=self.label_dropout,
            null_label=self.null_label,
            augmentation=self.augmentation,
        )


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
        adaptive: How C follows the gradients, inside the same noise; None where it is
            fixed.
    """

    sample_rate: float
    noise_multiplier: float
    clipping: Clipping
    noise_multiplicity: int
    expected_batch_size: float
    beside: Callable[[Learner], Sequence[Tensor]] | None = None
    adaptive: AdaptiveClipping | None = None

    def clipping_now(self, learner: Learner) -> Clipping:
        """Return the clipping of the next step."""
        if self.adaptive is None:
            return self.clipping
        bound = learner.max_grad_norm or self.adaptive.initial
        return Clipping(max_grad_norm=bound, kind="adaptive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What makes a step faster or smaller and can never change the claim.

    Attributes:
        engine: Per-example gradients.
        physical_batch: Records per pass.
        device: Where the network lives.
    """

    engine: PerExampleEngine
    physical_batch: PhysicalBatch
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
    clipping = mechanism.clipping_now(learner)
    chosen = poisson_batch(
        random.stream(), records=len(images.labels), sample_rate=mechanism.sample_rate
    )
    pieces = _pieces(
        learner,
        images,
        chosen,
        seeds=place_seeds(random.stream(), len(chosen)),
        loss=loss,
        showing=loss.showing(mechanism.noise_multiplicity),
        performance=performance,
    )
    total = accumulate(
        performance.engine,
        learner.network,
        loss.row_loss,
        pieces,
        noise_multiplicity=mechanism.noise_multiplicity,
        clipping=clipping,
    )
    noisy = _noised(total, learner, mechanism, clipping, random.stream())
    mean = [value / mechanism.expected_batch_size for value in noisy]
    if mechanism.beside is not None:
        public = mechanism.beside(learner)
        mean = [m + value for m, value in zip(mean, public, strict=True)]
    for parameter, value in zip(_trainable(learner.network), mean, strict=True):
        parameter.grad = value.to(parameter.dtype)
    learner.update()
    learner.optimiser.zero_grad(set_to_none=True)


def _noised(
    total: list[Tensor],
    learner: Learner,
    mechanism: Mechanism,
    clipping: Clipping,
    stream: SecureStream,
) -> list[Tensor]:
    """Add the noise of one step; where C is adaptive, let it follow the noisy count."""
    rule, bound = mechanism.adaptive, clipping.max_grad_norm
    if rule is None:
        return noisy_sum(
            total,
            stream=stream,
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=bound,
        )
    *sums, balance = total
    noisy = noisy_sum(
        sums,
        stream=stream,
        noise_multiplier=rule.gradient_noise_multiplier(mechanism.noise_multiplier),
        max_grad_norm=bound,
    )
    (answer,) = noisy_sum(
        [balance],
        stream=stream,
        noise_multiplier=rule.count_noise_multiplier,
        max_grad_norm=COUNT_SENSITIVITY,
    )
    learner.max_grad_norm = rule.following(
        bound,
        noisy_balance=float(answer),
        expected_batch_size=mechanism.expected_batch_size,
    )
    return noisy


def _pieces(
    learner: Learner,
    images: PrivateImages,
    chosen: Int64[Tensor, " batch"],
    *,
    seeds: list[int],
    loss: LossSettings,
    showing: Showing,
    performance: Performance,
) -> Iterator[tuple[Rows, int]]:
    """Yield the rows of one physical batch after the other; none if none was chosen."""
    size = _records_per_pass(learner, images, loss, showing, performance)
    for start in range(0, len(chosen), size):
        part = slice(start, start + size)
        pictures, labels = images.batch(chosen[part])
        rows = rows_at(pictures, labels, seeds=seeds[part], showing=showing)
        yield tuple(row.to(performance.device) for row in rows), len(pictures)


def _records_per_pass(
    learner: Learner,
    images: PrivateImages,
    loss: LossSettings,
    showing: Showing,
    performance: Performance,
) -> int:
    """Ask for the size of a pass, showing no more than the declared image shape."""
    shape = images.shape
    blank = torch.zeros(1, shape.channels, shape.height, shape.width)
    label = torch.zeros(1, dtype=torch.int64)
    rows = rows_at(blank, label, seeds=[0], showing=showing)
    return performance.physical_batch.records(
        performance.engine,
        learner.network,
        loss.row_loss,
        tuple(row.to(performance.device) for row in rows),
        noise_multiplicity=showing.noise_multiplicity,
    )


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
