"""The tape: where the rules of one pass leave their per-record gradients.

A rule computes a layer's output without letting autograd see the layer's parameters.
On the way back it receives the gradient at the output, writes the per-record gradient
of each parameter on the tape, and returns the gradient at the input. So one forward and
one backward are enough, and no ordinary weight gradient is ever formed:

    forward     x ──rule──> y                 autograd knows x and y only
    backward    g_x <──rule── g_y
                        └──> tape: (records, *shape) of weight and bias

Each rule sees rows in K-major order. A contiguous (K*B, C, ...) tensor is then also a
(K, B*C, ...) tensor, at no cost: K images whose channels are grouped by record. Kernels
that sum a weight gradient over images, one group of channels at a time, return the
gradient of every record, already summed over its K draws.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd import Function

from diffusion.engines.record_gradients import (
    Again,
    Dense,
    Outer,
    RecordGradient,
    squared_norms,
)


class Tape:
    """The per-record gradients of one forward and backward pass.

    Attributes:
        records: B, the records in the pass.
        draws: K, the rows of each record.
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, records: int, draws: int
    ) -> None:
        self.records, self.draws = records, draws
        self.anchor = torch.zeros((), requires_grad=True, device=parameters[0].device)
        self._uses = {id(parameter): 0 for parameter in parameters}
        self._found: dict[int, RecordGradient] = {}

    @property
    def rows(self) -> int:
        """K * B, the leading size of every tensor that holds rows."""
        return self.records * self.draws

    def trains(self, tensor: object) -> bool:
        """Whether this very tensor is one of the trainable parameters."""
        return id(tensor) in self._uses

    def use(self, *tensors: Tensor | None) -> None:
        """Count one use of each trainable parameter among `tensors`."""
        for tensor in tensors:
            if self.trains(tensor):
                self._uses[id(tensor)] += 1

    def used_once(self, parameter: Tensor) -> bool:
        """Whether the forward pass used this parameter in one place only."""
        return self._uses[id(parameter)] == 1

    def write(self, parameter: Tensor, gradients: Tensor) -> None:
        """Add per-record gradients, (records, *shape); shared parameters add up."""
        if self.used_once(parameter):
            found = Dense(gradients, squared_norms(gradients))
        else:
            earlier = self._found.get(id(parameter))
            if isinstance(earlier, Dense):
                gradients = earlier.gradients + gradients
            found = Dense(gradients)
        self._found[id(parameter)] = found

    def write_outer(self, parameter: Tensor, left: Tensor, right: Tensor) -> None:
        """Keep left^T right unformed; only for a parameter that is used once."""
        self._found[id(parameter)] = Outer(left, right)

    def write_again(self, parameter: Tensor, gradient: Again) -> None:
        """Keep what a gradient is formed of; only for a parameter used once."""
        self._found[id(parameter)] = gradient

    def read(self, parameter: Tensor) -> RecordGradient | None:
        """Return what the pass found for a parameter, if anything."""
        return self._found.get(id(parameter))

    def forget(self) -> None:
        """Drop what was written.

        An unformed product may hold a layer's input, which knows the graph, whose nodes
        know this tape: a circle that Python's collector does not see.
        """
        self._found.clear()

    def sum_draws(self, rows: Tensor) -> Tensor:
        """Add up the draws of each record: (K*B, *) to (B, *), always a new tensor."""
        return rows.reshape(self.draws, self.records, *rows.shape[1:]).sum(0)

    def by_record(self, rows: Tensor) -> Tensor:
        """Regroup (K*B, n, d) into (B, K*n, d): one block per record."""
        folded = rows.view(self.draws, self.records, *rows.shape[1:]).transpose(0, 1)
        return folded.reshape(self.records, -1, rows.shape[-1])

    def products(self, left: Tensor, right: Tensor) -> Tensor:
        """Multiply rows and add up draws: (K*B, p, n) by (K*B, n, d) to (B, p, d)."""
        total = torch.bmm(left[: self.records], right[: self.records])
        for start in range(self.records, self.rows, self.records):
            stop = start + self.records
            total.baddbmm_(left[start:stop], right[start:stop])
        return total


@runtime_checkable
class Rule(Protocol):
    """How one use of one layer is computed, and differentiated by record."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the layer's output and what `backward` needs to keep."""
        ...

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the per-record gradients; return the one at the input if asked."""
        ...


class _Taped(Function):
    """The one autograd function: it hands everything to a rule."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  torch makes its class at run time
        x: Tensor,
        anchor: Tensor,
        rule: Rule,
        tape: Tape,
    ) -> Tensor:
        y, kept = rule.forward(x)
        ctx.rule, ctx.tape = rule, tape
        ctx.save_for_backward(*kept)
        return y

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401  torch makes its class at run time
        g: Tensor,
    ) -> tuple[Tensor | None, None, None, None]:
        wanted = ctx.needs_input_grad[0]
        gx = ctx.rule.backward(ctx.saved_tensors, g, ctx.tape, input_too=wanted)
        return gx, None, None, None


def taped(x: Tensor, rule: Rule, tape: Tape) -> Tensor:
    """Apply a rule to its input; the anchor makes sure that backward comes by."""
    y: Tensor = _Taped.apply(x, tape.anchor, rule, tape)  # type: ignore[no-untyped-call]
    return y


def compute_type(x: Tensor) -> Tensor:
    """Cast to the type that autocast would use for a product; else change nothing."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or not x.is_floating_point():
        return x
    return x.to(torch.get_autocast_dtype(device))


def stand_in(x: Tensor, *sizes: int) -> Tensor:
    """Return one number of the type of `x`, seen in the sizes given, or those of `x`.

    For kernels that read of an argument nothing but sizes and type.

    Example:
        >>> seen = stand_in(torch.ones(2, 3))
        >>> tuple(seen.shape), seen.untyped_storage().nbytes()
        ((2, 3), 4)
    """
    return x.new_empty(1).expand(sizes or x.shape)
