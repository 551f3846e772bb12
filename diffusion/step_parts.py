"""What a step of training is made of: learner, loss, mechanism, means.

    Learner        what training changes
    LossSettings   how rows are drawn and judged
    Mechanism      the private step, as the plan fixes it
    Performance    what makes it faster or smaller, and never changes the claim

Privacy and performance never share a class: whatever is in `Performance` can be chosen
by anybody, at any time, for any reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffusion.adaptive_clipping import AdaptiveClipping
from diffusion.augmentation import UNCHANGED, Augmentation
from diffusion.ema import Ema
from diffusion.integer_grid import IntegerGrid
from diffusion.loss import RowLoss, Rows
from diffusion.noise_levels import SigmaLaw
from diffusion.per_example import Clipping, PerExampleEngine
from diffusion.physical_batch import PhysicalBatch
from diffusion.ranks import ALONE, Ranks
from diffusion.record_rows import Showing
from privplan.errors import ParameterError

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
        grid: Sums and noise in whole numbers; None for float64 on a grid. What a step
            then costs is in `privplan.discrete_cost`.

    Raises:
        ParameterError: The grid is for another mechanism.
    """

    sample_rate: float
    noise_multiplier: float
    clipping: Clipping
    noise_multiplicity: int
    expected_batch_size: float
    beside: Callable[[Learner], Sequence[Tensor]] | None = None
    adaptive: AdaptiveClipping | None = None
    grid: IntegerGrid | None = None

    def __post_init__(self) -> None:
        charged = (self.noise_multiplier, self.clipping.max_grad_norm)
        grid = self.grid
        if grid and (grid.noise_multiplier, grid.max_grad_norm) != charged:
            raise ParameterError(
                "the grid is for another noise multiplier or C than the mechanism",
                hint="make the grid from the mechanism's own numbers",
            )

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
        ranks: The processes that share the records of a batch out among them.
    """

    engine: PerExampleEngine
    physical_batch: PhysicalBatch
    device: torch.device
    ranks: Ranks = ALONE


def public_gradient(
    network: nn.Module,
    row_loss: RowLoss,
    rows: Rows,
    *,
    device: torch.device,
    ranks: Ranks,
) -> list[Tensor]:
    """Return the gradient of the mean loss over public rows; reads no record.

    Every process takes its share of the rows, and all return the same gradient, to the
    last bit.

    Args:
        network: Its trained parameters are differentiated; none may be left out.
        row_loss: Loss of each row.
        rows: All of them, on every process; at least one.
        device: Where the network lives.
        ranks: Who shares the rows out.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    own = tuple(row[ranks.share].to(device) for row in rows)
    gradient = [torch.zeros_like(parameter) for parameter in trained]
    if len(own[0]):
        mean = row_loss(network, own).sum() / len(rows[0])
        gradient = list(torch.autograd.grad(mean, trained))
    if ranks.count == 1:
        return gradient
    whole = ranks.total(gradient, drawn=b"public")
    return ranks.published(lambda: whole, like=gradient)
