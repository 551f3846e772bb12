"""The rule for two-dimensional convolutions, of any stride, padding and grouping.

The weight gradient of a convolution with B times as many groups, over K images, is the
weight gradient of each of B records summed over its K draws. So one stock kernel call
does the work. It reads memory in the plain NCHW order; other orders are copied first,
because a kernel that trusts foreign strides is silently wrong.

A 1x1 convolution is a matrix product per position, and faster as one.

Where the weight is frozen the input is not kept: the gradient at the input is made of
the weight and of the gradient at the output.

On small feature maps the gradient of a record is many times what it is formed of. There
only its norm is kept, and input and output gradient in its place.

Source: Rochette et al. 2019, arXiv:1912.06015 (grouped convolutions for per-example
gradients); the folding of draws into positions is this project's own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffusion.engines.record_gradients import Again, squared_norms
from diffusion.engines.tape import Tape, compute_type, stand_in

Pair = tuple[int, int]
_NOT_TRANSPOSED = False
_OF_INPUT, _OF_WEIGHT, _OF_BIAS = range(3)
# Forming a gradient twice costs about a third of its time, and less where it is much
# larger than what it is formed of: then writing it out is most of that time.
_MUCH_SMALLER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """One use of a Conv2d.

    Attributes:
        weight: (c_out, c_in / groups, height, width).
        bias: (c_out,), or None.
        stride: Rows and columns.
        padding: Zeros on both sides, rows and columns.
        dilation: Rows and columns.
        groups: Independent groups of channels.
    """

    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the convolution of (K*B, c_in, h, w); keep its input if it trains."""
        x = compute_type(x)
        y = functional.conv2d(
            x,
            self.weight.detach(),
            None if self.bias is None else self.bias.detach(),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        return y, (x if self.weight.requires_grad else stand_in(x),)

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the gradients of weight and bias; return the one at the input."""
        (x,) = saved
        g = g.to(x.dtype).contiguous()
        if self.bias is not None and tape.trains(self.bias):
            sums = g.sum((2, 3), dtype=self.bias.dtype)
            tape.write(self.bias, tape.sum_draws(sums))
        if tape.trains(self.weight):
            self._write_weight(x.contiguous(), g, tape)
        return self._input_gradient(x, g) if input_too else None

    def _input_gradient(self, x: Tensor, g: Tensor) -> Tensor:
        weight = self.weight.detach().to(x.dtype)
        return self._kernel(g, x, weight, groups=self.groups, wanted=_OF_INPUT)

    def _write_weight(self, x: Tensor, g: Tensor, tape: Tape) -> None:
        gradients = self._weight_gradients(x, g, tape)
        small = _MUCH_SMALLER * (x.numel() + g.numel()) <= gradients.numel()
        exact = g.dtype in {torch.float32, torch.float64}
        if small and exact and tape.used_once(self.weight):
            squares = squared_norms(gradients) + self._rounding(x, g, tape)
            tape.write_again(self.weight, Again(squares, x, g, self._summed))
        else:
            tape.write(self.weight, gradients)

    def _summed(self, x: Tensor, g: Tensor) -> Tensor:
        sizes = stand_in(x, *self.weight.shape)
        return self._kernel(g, x, sizes, groups=self.groups, wanted=_OF_WEIGHT)

    def _rounding(self, x: Tensor, g: Tensor, tape: Tape) -> Tensor:
        """Bound, by record, the square of what two orders of summing can differ by.

        Every entry is a sum over the draws and positions of a product each; all
        products of a record together have at most the length ||g|| ||patches||, and an
        input lies in at most as many patches as the kernel has places.
        """
        length = [
            squared_norms(rows).view(tape.draws, tape.records).sum(0) for rows in (x, g)
        ]
        terms = tape.draws * g[0, 0].numel()
        places = self.weight[0, 0].numel()
        unit = 2 * terms * torch.finfo(g.dtype).eps
        return unit**2 * places * length[0] * length[1]

    def _weight_gradients(self, x: Tensor, g: Tensor, tape: Tape) -> Tensor:
        shape = (tape.records, *self.weight.shape)
        if self._is_pointwise():
            return tape.products(g.flatten(2), x.flatten(2).mT).view(shape)
        folded_x = x.view(tape.draws, -1, *x.shape[2:])
        folded_g = g.view(tape.draws, -1, *g.shape[2:])
        sizes = stand_in(x, folded_g.shape[1], *self.weight.shape[1:])
        found = self._kernel(
            folded_g,
            folded_x,
            sizes,
            groups=tape.records * self.groups,
            wanted=_OF_WEIGHT,
        )
        return found.view(shape)

    def _is_pointwise(self) -> bool:
        plain = self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1
        return plain and self.weight.shape[2:] == (1, 1)

    def _kernel(
        self, g: Tensor, x: Tensor, weight: Tensor, *, groups: int, wanted: int
    ) -> Tensor:
        """Call torch's own backward for one of its three results."""
        found: Tensor = torch.ops.aten.convolution_backward(
            g,
            x,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            _NOT_TRANSPOSED,
            (0, 0),
            groups,
            [place == wanted for place in (_OF_INPUT, _OF_WEIGHT, _OF_BIAS)],
        )[wanted]
        return found
