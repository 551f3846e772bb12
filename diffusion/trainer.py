"""One step of training, private or public; no files, no ledger, no plan.

    private_step                                public_step
      spend()          <- before any record       synthetic or public images
      Poisson batch                                ordinary gradient
      clip each record, sum                        optimiser, averaged weights
      add up over the processes
      noise on the sum, once
      divide by a constant
      (a mixture: add a public gradient)
      optimiser, averaged weights

`spend` comes in from outside and is called before a record is touched; if it raises,
nothing has happened. Everything else a private step knows about its records dies in
this file: no batch size, loss or norm is returned, logged or kept.

Source: Abadi et al. 2016, Algorithm 1, arXiv:1607.00133; Dockhorn et al. 2023,
Algorithm 1, arXiv:2210.09929.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from diffusion.adaptive_clipping import COUNT_SENSITIVITY
from diffusion.data import PrivateImages
from diffusion.integer_grid import GridEngine, noisy_grid_sum
from diffusion.loss import Rows, draw_rows
from diffusion.per_example import Clipping, accumulate
from diffusion.poisson import poisson_batch
from diffusion.privatize import noisy_sum
from diffusion.randomness import RandomSource, SecureStream
from diffusion.ranks import ALONE, Ranks
from diffusion.record_rows import Showing, record_seeds, rows_at
from diffusion.step_parts import (
    Learner,
    LossSettings,
    Mechanism,
    Performance,
    public_gradient,
)

__all__ = [
    "Learner",
    "LossSettings",
    "Mechanism",
    "Performance",
    "private_step",
    "public_step",
]


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
    ranks, clipping = performance.ranks, mechanism.clipping_now(learner)
    chosen = poisson_batch(
        ranks.stream(random),
        records=images.contributors,
        sample_rate=mechanism.sample_rate,
    )
    seeds = record_seeds(ranks.stream(random), chosen, records=images.contributors)
    pieces = _pieces(
        learner,
        images,
        chosen[ranks.share],
        seeds=seeds[ranks.share],
        loss=loss,
        showing=loss.showing(mechanism.noise_multiplicity),
        performance=performance,
    )
    grid = mechanism.grid
    total = accumulate(
        performance.engine if grid is None else GridEngine(grid, performance.engine),
        learner.network,
        loss.row_loss,
        pieces,
        noise_multiplicity=mechanism.noise_multiplicity,
        clipping=clipping,
    )
    drawn = _drawn(chosen, seeds, clipping, learner)
    total = ranks.total(total, drawn=drawn)
    noisy = ranks.published(
        lambda: _noised(total, mechanism, clipping, random.stream()), like=total
    )
    noisy = _following(noisy, learner, mechanism, clipping)
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
    mechanism: Mechanism,
    clipping: Clipping,
    stream: SecureStream,
) -> list[Tensor]:
    """Add the noise of one step: to the sum, and to the count where C is adaptive."""
    rule, bound = mechanism.adaptive, clipping.max_grad_norm
    if mechanism.grid is not None:
        return noisy_grid_sum(total, stream=stream, grid=mechanism.grid)
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
    answer = noisy_sum(
        [balance],
        stream=stream,
        noise_multiplier=rule.count_noise_multiplier,
        max_grad_norm=COUNT_SENSITIVITY,
    )
    return [*noisy, *answer]


def _following(
    noisy: list[Tensor], learner: Learner, mechanism: Mechanism, clipping: Clipping
) -> list[Tensor]:
    """Let an adaptive C follow the noisy count; return the noisy gradient alone."""
    rule = mechanism.adaptive
    if rule is None:
        return noisy
    *noisy, answer = noisy
    learner.max_grad_norm = rule.following(
        clipping.max_grad_norm,
        noisy_balance=float(answer),
        expected_batch_size=mechanism.expected_batch_size,
    )
    return noisy


def _drawn(
    chosen: Int64[Tensor, " batch"],
    seeds: list[int],
    clipping: Clipping,
    learner: Learner,
) -> bytes:
    """Say what this step is, for the processes to compare; private."""
    words = np.array([learner.steps_done, *chosen.tolist(), *seeds], dtype=np.int64)
    return words.tobytes() + np.float64(clipping.max_grad_norm).tobytes()


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
        shown = images.shown(
            chosen[part], seeds=seeds[part], draws=showing.noise_multiplicity
        )
        rows = rows_at(*images.batch(shown), seeds=seeds[part], showing=showing)
        yield tuple(row.to(performance.device) for row in rows), len(seeds[part])


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
    ranks: Ranks = ALONE,
) -> None:
    """Take one ordinary step on synthetic or public images; reads no record.

    Args:
        learner: Changed in place.
        pictures: Synthetic or public images in [-1, 1].
        labels: Their labels or pseudo-labels.
        loss: How rows are drawn and judged.
        random: Randomness of the loss.
        device: Where the network lives.
        ranks: The processes that share the images out.
    """
    rows = draw_rows(
        pictures,
        labels,
        noise_multiplicity=1,
        law=loss.law,
        label_dropout=loss.label_dropout,
        null_label=loss.null_label,
        generator=ranks.generator(random),
    )
    gradient = public_gradient(
        learner.network, loss.row_loss, rows, device=device, ranks=ranks
    )
    for parameter, value in zip(_trainable(learner.network), gradient, strict=True):
        parameter.grad = value.to(parameter.dtype)
    learner.update()
    learner.optimiser.zero_grad(set_to_none=True)


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]
