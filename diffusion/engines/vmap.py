"""The vmap engine: `torch.func` takes the gradient of every record at once.

It has no rule for any layer, so it takes any model that `torch.func.vmap` can trace,
at the price of slower kernels. It is what "auto" falls back to.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from diffusion.clipping import Clipping
from diffusion.engines.record_gradients import Dense, clip_and_sum, empty_sum
from diffusion.engines.refusals import (
    Named,
    missing_gradient,
    probe_rows,
    reached,
    trainable,
    unchanged_state,
)
from diffusion.engines.rows import (
    RowLoss,
    Rows,
    by_draw,
    check_rows,
    record_losses,
)


class VmapEngine:
    """One vectorised gradient over the records.

    Attributes:
        note: Why this engine was chosen, where "auto" chose it; else empty.
    """

    name = "vmap"

    def __init__(self, note: str = "") -> None:
        self.note = note

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
        if records == 0:
            return empty_sum((p for _, p in named), clipping)
        _check_all_used(model, row_loss, rows, named)
        bound = _Bound(model, row_loss, noise_multiplicity)
        weights = {f"model.{name}": parameter.detach() for name, parameter in named}

        def loss(weights: dict[str, Tensor], *row: Tensor) -> Tensor:
            value: Tensor = functional_call(bound, weights, row)
            return value

        by_record = tuple(by_draw(tensor, records) for tensor in rows)
        axes = (None, *(1 for _ in rows))
        with torch.enable_grad(), unchanged_state(model):
            found = vmap(grad(loss), in_dims=axes, randomness="different")(
                weights, *by_record
            )
        return clip_and_sum(
            [Dense(found[f"model.{name}"]) for name, _ in named],
            [parameter.shape for _, parameter in named],
            clipping,
        )


class _Bound(nn.Module):
    """The mean loss of one record's rows, as a module that can be given weights."""

    def __init__(self, model: nn.Module, row_loss: RowLoss, draws: int) -> None:
        super().__init__()
        self.model, self.row_loss, self.draws = model, row_loss, draws
        self.training = model.training

    def forward(self, *rows: Tensor) -> Tensor:
        losses = self.row_loss(self.model, rows)
        return record_losses(losses, records=1, noise_multiplicity=self.draws).sum()


def _check_all_used(
    model: nn.Module, row_loss: RowLoss, rows: Rows, named: Named
) -> None:
    """`torch.func.grad` answers zero for an unused parameter, so ask the graph."""
    with torch.enable_grad(), torch.random.fork_rng(), unchanged_state(model):
        losses = row_loss(model, probe_rows(rows, records=1))
        used = reached(record_losses(losses, records=1, noise_multiplicity=1), named)
    missing = [name for name, _ in named if name not in used]
    if missing:
        raise missing_gradient(missing)
