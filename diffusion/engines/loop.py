"""The loop engine: each record alone, by plain autograd.

Nothing here is clever, so it is the truth that the other engines are tested against.
One record's K rows form an ordinary batch; on a CPU with K of 8 or more it is only
about a tenth slower than the folded engine, and it needs the least memory of all.
"""

import torch
from torch import Tensor, nn

from diffusion.clipping import Clipping
from diffusion.engines.record_gradients import empty_sum
from diffusion.engines.refusals import missing_gradient, trainable, unchanged_state
from diffusion.engines.rows import (
    RowLoss,
    Rows,
    check_rows,
    record_losses,
    rows_of,
)


class LoopEngine:
    """One forward and one backward per record; any model, any layer."""

    name = "loop"

    def clipped_sum(
        self,
        model: nn.Module,
        row_loss: RowLoss,
        rows: Rows,
        *,
        records: int,
        noise_multiplicity: int,
        clipping: Clipping,
    ) -> list[Tensor]:
        """See `diffusion.per_example.PerExampleEngine.clipped_sum`."""
        named = trainable(model)
        check_rows(rows, records=records, noise_multiplicity=noise_multiplicity)
        parameters = [parameter for _, parameter in named]
        total = empty_sum(parameters, clipping)
        for record in range(records):
            with torch.enable_grad(), unchanged_state(model):
                losses = row_loss(model, rows_of(rows, record, records=records))
                loss = record_losses(
                    losses, records=1, noise_multiplicity=noise_multiplicity
                ).sum()
            found: tuple[Tensor | None, ...] = torch.autograd.grad(
                loss, parameters, allow_unused=True
            )
            gradients = [gradient for gradient in found if gradient is not None]
            if len(gradients) < len(parameters):
                pairs = zip(named, found, strict=True)
                raise missing_gradient([pair[0] for pair, g in pairs if g is None])
            _add_clipped(total, gradients, clipping)
        return total


def _add_clipped(
    total: list[Tensor], gradients: list[Tensor], clipping: Clipping
) -> None:
    wide = [gradient.to(torch.float64) for gradient in gradients]
    parts = torch.stack([torch.linalg.vector_norm(gradient) for gradient in wide])
    norm = torch.linalg.vector_norm(parts)
    counted = clipping.balance(norm[None])
    clipped = [torch.zeros_like(gradient) for gradient in wide]
    if norm.isfinite():
        factor = clipping.factors(norm)
        clipped = [factor * gradient for gradient in wide]
    for accumulator, part in zip(total, clipped + counted, strict=True):
        accumulator.add_(part)
