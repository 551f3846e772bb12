"""The network itself: rows that see each other, tensors that never learn, hidden state.

What an engine refuses by type is found here by behaviour, so a layer nobody has heard
of is found too. Each finding names the layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.loss import RowLoss, Rows
from diffusion.preflight.findings import Check, none_of

_SAME = 1e-6  # relative; a row beside other rows may be rounded otherwise, in float64

_MIXES = "use GroupNorm or LayerNorm, and no layer that looks along the batch"
_KEEPS = "remove layers that keep statistics, or freeze them with eval()"
_FREEZE = "freeze what the loss does not use with requires_grad_(False)"


def check(network: nn.Module, row_loss: RowLoss, rows: Rows) -> list[Check]:
    """Look for rows that mix, state that follows the rows, and dead tensors.

    Args:
        network: A float64 copy that may be changed.
        row_loss: A loss for float64 rows.
        rows: Made-up rows, float64, at least two.
    """
    return [_mixing(network, row_loss, rows), *_state(network, row_loss, rows)]


def _mixing(network: nn.Module, row_loss: RowLoss, rows: Rows) -> Check:
    """Change every row but the first; the first row's outputs must stay, everywhere."""
    others = tuple(_others_changed(row) for row in rows)
    before, after = (_first_rows(network, row_loss, shown) for shown in (rows, others))
    culprits = [
        name for name, value in before.items() if _differs(value, after.get(name))
    ]
    return none_of(
        "isolation",
        culprits,
        "layers whose output for one row depends on other rows",
        problem="layer {layer} lets one record see another",
        cure=_MIXES,
    )


def _state(network: nn.Module, row_loss: RowLoss, rows: Rows) -> list[Check]:
    """Run forward and backward; nothing but gradients may change."""
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    held = {n: t.detach().clone() for n, t in network.state_dict().items()}
    with torch.enable_grad():
        losses = row_loss(network, rows)
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            losses.sum(), [p for _, p in trained], allow_unused=True
        )
    dead = [
        name
        for (name, _), gradient in zip(trained, gradients, strict=True)
        if gradient is None or not bool((gradient != 0).any())
    ]
    return [
        none_of(
            "state",
            _changed(held, network),
            "weights and buffers that a forward pass changes",
            problem="{layer} changes in the forward pass, and no noise protects it",
            cure=_KEEPS,
        ),
        none_of(
            "dead tensors",
            dead,
            "trained tensors that no row gives a gradient",
            problem="no gradient reaches {layer}, so its noise would be all it learns",
            cure=_FREEZE,
        ),
    ]


def _changed(held: dict[str, Tensor], network: nn.Module) -> list[str]:
    now = network.state_dict()
    return [
        name
        for name, before in held.items()
        if name not in now or not torch.equal(before, now[name])
    ] + [name for name in now if name not in held]


def _first_rows(network: nn.Module, row_loss: RowLoss, rows: Rows) -> dict[str, Tensor]:
    """Return the first row of every module's output, in order, and of the loss."""
    found: dict[str, Tensor] = {}
    count = len(rows[0])
    with torch.no_grad(), torch.random.fork_rng(), _noted(network, found, count):
        torch.manual_seed(0)
        found["loss"] = row_loss(network, rows)[0].clone()
    return found


@contextmanager
def _noted(network: nn.Module, found: dict[str, Tensor], count: int) -> Iterator[None]:
    """Note the first row of what each module returns while the block runs."""

    def note(name: str) -> Any:  # noqa: ANN401 - torch's hook type
        def hook(_module: nn.Module, _given: object, out: object) -> None:
            if isinstance(out, Tensor) and out.ndim > 0 and len(out) == count:
                found.setdefault(name or "model", out[0].detach().clone())

        return hook

    handles = [m.register_forward_hook(note(n)) for n, m in network.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _differs(first: Tensor, second: Tensor | None) -> bool:
    if second is None or first.shape != second.shape:
        return True
    a, b = first.double(), second.double()
    gap = torch.linalg.vector_norm(a - b)
    return not bool(gap <= _SAME * torch.linalg.vector_norm(a).clamp(min=1e-300))


def _others_changed(row: Tensor) -> Tensor:
    other = row.clone()
    if row.is_floating_point():
        other[1:] = 3 * other[1:].flip(0) + 0.5
    return other
