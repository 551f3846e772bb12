"""The rule for embeddings: each record owns a copy of the table, mostly zeros."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffusion.engines.tape import Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """One use of an Embedding.

    Attributes:
        weight: (entries, d).
        padding_index: The entry that never learns, or None.
    """

    weight: Tensor
    padding_index: int | None

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the entries named by (K*B, *) indices; keep the indices."""
        return functional.embedding(x, self.weight.detach(), self.padding_index), (x,)

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the gradients of the table; indices have none."""
        (index,) = saved
        entries, d = self.weight.shape
        record = torch.arange(tape.records, device=g.device).repeat(tape.draws)
        slot = record.view(-1, *(1 for _ in index.shape[1:])) * entries + index
        table = g.new_zeros(tape.records * entries, d)
        table.index_add_(0, slot.flatten(), g.reshape(-1, d))
        gradients = table.view(tape.records, entries, d)
        if self.padding_index is not None:
            gradients[:, self.padding_index] = 0
        tape.write(self.weight, gradients)
        return None
