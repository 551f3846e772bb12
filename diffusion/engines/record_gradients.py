"""Per-record gradients of one parameter, and the clipped sum over many of them.

An engine hands over, for each parameter, the gradient of every record. `clip_and_sum`
turns them into what may leave the engine: one norm per record over *all* parameters,
one factor per record, one sum per parameter. It is the only place where the batched
engines clip.

A gradient is kept in the smallest of three forms:

    Dense(g)            (records, *shape)             the gradient itself
    Outer(left, right)  (records, n, p), (records, n, d)   left^T right, never formed
    Again(x, g)         a layer's input and output gradient: formed once for the norm,
                        and once more, weighted, in the sum

The norm of an outer form comes from two n x n Gram matrices. When terms of opposite
sign cancel there, the rounding of the float32 sum can exceed what is left, so the norm
carries an allowance for that rounding: it may be too large by parts in a million of
the terms, and never too small. So does the norm of the last form, whose sum is rounded
otherwise than what the norm was taken of. A record contributes at most C in each form.

Precision: norms and factors in float64; the sum over the records of one call in
float32 (float64 for a float64 model), returned as float64 so that adding up physical
batches loses nothing.
Source: Goodfellow 2015, arXiv:1510.01799 (the norm without the gradient).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.clipping import Clipping

# Casting a large gradient to float64 costs more than its norm. Squares of so few
# numbers add up in float32 without losing digits; the stretches add up in float64.
_STRETCH = 256


@dataclass(slots=True)
class Dense:
    """The gradient of every record, formed.

    Attributes:
        gradients: (records, *shape of the parameter).
        squares: Their squared norms, where they were taken while the gradients were
            still in the processor's cache; None to take them when asked.
    """

    gradients: Tensor
    squares: Tensor | None = None

    def squared_norms(self) -> Tensor:
        """Return (records,) squared L2 norms in float64."""
        return squared_norms(self.gradients) if self.squares is None else self.squares

    def drop(self, bad: Tensor) -> None:
        """Set the records of a boolean mask to zero: 0 * NaN would still be NaN."""
        self.gradients[bad] = 0

    def weighted_sum(self, factors: Tensor, shape: torch.Size) -> Tensor:
        """Return the sum of factor times gradient over the records, as float64."""
        rows = self.gradients.reshape(len(self.gradients), -1)
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return (normal(factors, rows.dtype) @ rows).to(torch.float64).view(shape)


@dataclass(slots=True)
class Outer:
    """The gradient of every record as a product of two thin matrices.

    Attributes:
        left: (records, n, p) gradients at a layer's output.
        right: (records, n, d) its input; the gradient is left^T right, (p, d).
    """

    left: Tensor
    right: Tensor

    def squared_norms(self) -> Tensor:
        """Return (records,) squared norms in float64, rounded upwards."""
        left, right = self.left.to(torch.float64), self.right.to(torch.float64)
        grams = torch.bmm(left, left.mT) * torch.bmm(right, right.mT)
        size = left.square().sum((1, 2)) * right.square().sum((1, 2))
        sum_dtype = torch.promote_types(self.left.dtype, torch.float32)
        unit = self.left.shape[1] * torch.finfo(sum_dtype).eps
        return grams.sum((1, 2)).clamp(min=0) + unit**2 * size

    def drop(self, bad: Tensor) -> None:
        """Set the records of a boolean mask to zero: 0 * NaN would still be NaN."""
        self.left = self.left.masked_fill(bad[:, None, None], 0)
        self.right = self.right.masked_fill(bad[:, None, None], 0)

    def weighted_sum(self, factors: Tensor, shape: torch.Size) -> Tensor:
        """Return the sum of factor times gradient over the records, as float64."""
        dtype = torch.promote_types(self.left.dtype, torch.float32)
        left = self.left.to(dtype) * normal(factors, dtype)[:, None, None]
        total = left.flatten(0, 1).T @ self.right.to(dtype).flatten(0, 1)
        return total.to(torch.float64).view(shape)


@dataclass(slots=True)
class Again:
    """The gradient of every record, of which only the norm was kept.

    Attributes:
        squares: (records,) squared norms in float64, rounded upwards.
        x: (draws * records, *) a layer's input, K-major; float32 or float64.
        g: (draws * records, *) the gradient at its output.
        summed: The layer's ordinary gradient from `x` and `g`, over all rows.
    """

    squares: Tensor
    x: Tensor
    g: Tensor
    summed: Callable[[Tensor, Tensor], Tensor]

    def squared_norms(self) -> Tensor:
        """Return (records,) squared norms in float64, rounded upwards."""
        return self.squares

    def drop(self, bad: Tensor) -> None:
        """Set the records of a boolean mask to zero: 0 * NaN would still be NaN."""
        self.x = self.x.masked_fill(self._of_rows(bad, self.x), 0)
        self.g = self.g.masked_fill(self._of_rows(bad, self.g), 0)

    def weighted_sum(self, factors: Tensor, shape: torch.Size) -> Tensor:
        """Return the sum of factor times gradient over the records, as float64."""
        weighted = self.g * self._of_rows(normal(factors, self.g.dtype), self.g)
        return self.summed(self.x, weighted).to(torch.float64).view(shape)

    def _of_rows(self, by_record: Tensor, rows: Tensor) -> Tensor:
        draws = len(rows) // len(by_record)
        return by_record.repeat(draws).view(-1, *(1 for _ in rows.shape[1:]))


RecordGradient = Dense | Outer | Again


def squared_norms(gradients: Tensor) -> Tensor:
    """Return the squared L2 norm of each leading entry: (records, *) to (records,).

    In float64, whatever the type and however large the numbers.
    """
    rows = gradients.reshape(len(gradients), -1)
    if rows.dtype not in {torch.float32, torch.float64}:
        rows = rows.to(torch.float32)
    count = rows.shape[1] // _STRETCH
    whole = count * _STRETCH
    stretches = rows[:, :whole].view(len(rows), count, _STRETCH)
    total = _squares(stretches).sum(1) + _squares(rows[:, whole:])
    overflown = ~total.isfinite()
    if overflown.any():
        total[overflown] = _squares(rows[overflown].to(torch.float64))
    return total


def _squares(rows: Tensor) -> Tensor:
    """Return squared norms over the last dimension, taken in the rows' own type."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms.to(torch.float64).square()


def normal(factors: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast factors, sending those below the normal range to zero.

    A subnormal factor keeps few digits and could be rounded up by half of itself;
    the record's contribution would then exceed C.
    """
    cast = factors.to(dtype)
    return torch.where(cast < torch.finfo(dtype).tiny, torch.zeros_like(cast), cast)


def clip_and_sum(
    gradients: Sequence[RecordGradient],
    shapes: Sequence[torch.Size],
    clipping: Clipping,
) -> list[Tensor]:
    """Clip every record's whole gradient once, and sum over the records.

    Args:
        gradients: One entry per parameter, all over the same records.
        shapes: The shapes of those parameters.
        clipping: The rule; its norm is taken over all parameters together.

    Returns:
        One float64 tensor per parameter. L2 sensitivity C over all of them together,
        under add-or-remove-one adjacency and up to float32 rounding of the sum. After
        them, what the kind of clipping counts beside: `Clipping.balance`.

    Example:
        >>> grads = Dense(torch.tensor([[3.0, 4.0], [0.0, 0.5]]))
        >>> clip_and_sum([grads], [torch.Size([2])], Clipping(max_grad_norm=1.0))
        [tensor([0.6000, 1.3000], dtype=torch.float64)]
    """
    norms = torch.stack([entry.squared_norms() for entry in gradients]).sum(0).sqrt()
    bad = ~norms.isfinite()
    if bad.any():
        for entry in gradients:
            entry.drop(bad)
    factors = clipping.factors(norms)
    sums = [
        entry.weighted_sum(factors, shape)
        for entry, shape in zip(gradients, shapes, strict=True)
    ]
    return sums + clipping.balance(norms)


def empty_sum(parameters: Iterable[Tensor], clipping: Clipping) -> list[Tensor]:
    """Return the clipped sum over no records: zeros, of the form of `clip_and_sum`.

    Example:
        >>> empty_sum([torch.ones(2)], Clipping(max_grad_norm=1.0))
        [tensor([0., 0.], dtype=torch.float64)]
    """
    sums = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    return sums + clipping.balance(sums[0].new_zeros(0))
