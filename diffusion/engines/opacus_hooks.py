"""The Opacus engine: gradients of every row by Opacus' hooks, averaged over draws.

Kept as a second opinion by other authors. It stores the gradient of every row before
the K draws of a record are averaged, as DPDM does, so it needs K times the memory.

Opacus 1.6 reads the strides of a convolution's input as if it were contiguous, and is
silently wrong where it is not. So inputs are made contiguous here before its hooks see
them. Importing Opacus takes seconds; it is imported on first use.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffusion.clipping import Clipping
from diffusion.engines.record_gradients import Dense, clip_and_sum, empty_sum
from diffusion.engines.refusals import (
    Probed,
    check_rows_stand_alone,
    missing_gradient,
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
from privplan.errors import ParameterError

_LEFT_BEHIND = (
    "activations",
    "max_batch_len",
    "grad_sample",
    "_current_grad_sample",
    "_forward_counter",
)


class OpacusEngine:
    """Opacus' GradSampleModule around the model for one call."""

    name = "opacus"

    def __init__(self) -> None:
        self._probed = Probed()

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
        shapes = [parameter.shape for _, parameter in named]
        if records == 0:
            return empty_sum((p for _, p in named), clipping)
        if not model.training:
            raise ParameterError(
                "the model is in eval mode, where Opacus records no gradients",
                hint="call model.train() first, or choose another engine",
            )
        with unchanged_state(model), torch.enable_grad():
            if not self._probed.knows(model, row_loss):
                check_rows_stand_alone(model, row_loss, rows)
                self._probed.remember(model, row_loss)
            with _hooked(model):
                losses = row_loss(model, rows)
                loss = record_losses(
                    losses, records=records, noise_multiplicity=noise_multiplicity
                ).sum()
                inputs = [parameter for _, parameter in named]
                torch.autograd.grad(loss, inputs, allow_unused=True)
                found = [getattr(p, "grad_sample", None) for p in inputs]
        missing = [name for (name, _), g in zip(named, found, strict=True) if g is None]
        if missing:
            raise missing_gradient(missing)
        return clip_and_sum(
            [Dense(by_draw(g, records).sum(0)) for g in found if isinstance(g, Tensor)],
            shapes,
            clipping,
        )


@contextmanager
def _hooked(model: nn.Module) -> Iterator[None]:
    """Hang Opacus' hooks on the model, and leave it as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus import GradSampleModule  # noqa: PLC0415  slow to import

        try:
            wrapped = GradSampleModule(model, loss_reduction="sum")
        except NotImplementedError as error:
            raise ParameterError(
                "Opacus has no rule for some layer of this model",
                hint="choose the engine 'auto', 'vmap' or 'loop'",
            ) from error
        handles = [
            module.register_forward_pre_hook(_contiguous, prepend=True)
            for module in model.modules()
            if isinstance(module, nn.Conv2d)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            wrapped.remove_hooks()
            _forget(model)


def _forget(model: nn.Module) -> None:
    """Delete what the hooks hung on layers and parameters; private, all of it."""
    owners: list[nn.Module | nn.Parameter] = [*model.modules(), *model.parameters()]
    for owner in owners:
        for left in _LEFT_BEHIND:
            if left in vars(owner):
                delattr(owner, left)


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)
