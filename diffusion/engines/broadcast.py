"""The rule for bare scales and biases: parameters that meet rows element by element.

In `x * gain` or `x + shift` every row reads the same parameter. Giving each row its own
view of it lets autograd find the gradient of every row by itself; the rule only has to
add up the draws of each record.
"""

from dataclasses import dataclass

from torch import Tensor

from diffusion.engines.tape import Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """One elementwise use of a bare parameter.

    Attributes:
        parameter: Any shape whose leading dimension, once aligned, is 1.
        dimensions: Of the rows it meets, rows included.
    """

    parameter: Tensor
    dimensions: int

    @property
    def aligned(self) -> tuple[int, ...]:
        """The parameter's shape with leading ones, as broadcasting sees it."""
        missing = self.dimensions - self.parameter.dim()
        return (1,) * missing + tuple(self.parameter.shape)

    def fits(self) -> bool:
        """Whether the parameter has no dimension of its own where the rows are."""
        return self.parameter.dim() <= self.dimensions and self.aligned[0] == 1

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return (rows, *aligned shape) from any tensor of that many rows."""
        whole = self.parameter.detach().view(self.aligned)
        return whole.expand(x.shape[0], *self.aligned[1:]), ()

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the gradients, summed over the draws of each record."""
        shape = (tape.records, *self.parameter.shape)
        tape.write(self.parameter, tape.sum_draws(g).view(shape))
        return None
