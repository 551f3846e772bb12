"""The rule for linear layers, over rows of one vector or of many tokens.

A record's K draws and its tokens are positions alike: with n of them, the gradient is
g^T a for g of shape (n, p) and a of shape (n, d). Where the two thin matrices together
are smaller than p x d, as for the conditioning layers of a diffusion network, the
gradient is never formed.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from diffusion.engines.tape import Tape, compute_type, stand_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One use of a Linear layer.

    Attributes:
        weight: (p, d).
        bias: (p,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return x W^T + b for x of shape (K*B, *, d); keep the input if W trains."""
        x = compute_type(x)
        bias = None if self.bias is None else self.bias.detach()
        return functional.linear(x, self.weight.detach(), bias), (
            x if self.weight.requires_grad else stand_in(x),
        )

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the gradients of weight and bias; return the one at the input."""
        (x,) = saved
        g = g.to(x.dtype)
        tokens = g.reshape(tape.rows, -1, g.shape[-1])
        if self.bias is not None and tape.trains(self.bias):
            tape.write(self.bias, tape.sum_draws(tokens.sum(1, dtype=self.bias.dtype)))
        if tape.trains(self.weight):
            self._write_weight(tokens, x.reshape(tape.rows, -1, x.shape[-1]), tape)
        return g @ self.weight.detach().to(g.dtype) if input_too else None

    def _write_weight(self, left: Tensor, right: Tensor, tape: Tape) -> None:
        positions, (p, d) = tape.draws * left.shape[1], self.weight.shape
        if tape.used_once(self.weight) and positions * (p + d) < p * d:
            left, right = tape.by_record(left), tape.by_record(right)
            tape.write_outer(self.weight, left, right)
        else:
            tape.write(self.weight, tape.products(left.mT, right))
