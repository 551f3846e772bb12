"""The rules for group and layer normalisation.

Both normalise within a row, so they mix no records. Seen as K images with the channels
of all B records side by side, a group norm's own backward kernel returns the gradients
of scale and shift record by record, summed over the draws.

Source: Wu & He 2018, arXiv:1803.08494; Ba et al. 2016, arXiv:1607.06450.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.engines.tape import Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNorm:
    """One use of a GroupNorm; scale and shift may each be None.

    Attributes:
        groups: Groups of channels that share a mean and a variance.
        weight: (channels,) scale.
        bias: (channels,) shift.
        eps: Added to the variance.
    """

    groups: int
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the normalised (K*B, channels, ...); keep input and statistics."""
        x = _full_precision(x, self.weight, self.bias).contiguous()
        rows, channels = x.shape[:2]
        y, mean, rstd = torch.native_group_norm(
            x,
            None if self.weight is None else self.weight.detach(),
            None if self.bias is None else self.bias.detach(),
            rows,
            channels,
            x[0, 0].numel(),
            self.groups,
            self.eps,
        )
        return y, (x, mean, rstd)

    def again(self, x: Tensor) -> Tensor:
        """Return the output alone, equal to the last bit."""
        return self.forward(x)[0]

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the gradients of scale and shift; return the one at the input."""
        x, mean, rstd = saved
        records, channels = tape.records, x.shape[1]
        folded = (tape.draws, records * channels, -1)
        trained = tape.trains(self.weight) or tape.trains(self.bias)
        weight = None if self.weight is None else self.weight.detach().repeat(records)
        if weight is None and trained:
            weight = x.new_ones(records * channels)
        gx, g_weight, g_bias = torch.ops.aten.native_group_norm_backward(
            g.to(x.dtype).contiguous().view(folded),
            x.view(folded),
            mean.view(tape.draws, -1),
            rstd.view(tape.draws, -1),
            weight,
            tape.draws,
            records * channels,
            x[0, 0].numel(),
            records * self.groups,
            (input_too, trained, trained),
        )
        if self.weight is not None and tape.trains(self.weight):
            tape.write(self.weight, g_weight.view(records, channels))
        if self.bias is not None and tape.trains(self.bias):
            tape.write(self.bias, g_bias.view(records, channels))
        return gx.view(x.shape) if input_too else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm:
    """One use of a LayerNorm; scale and shift may each be None.

    Attributes:
        shape: The trailing sizes that share a mean and a variance.
        weight: Scale, of that shape.
        bias: Shift, of that shape.
        eps: Added to the variance.
    """

    shape: tuple[int, ...]
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the normalised (K*B, *, *shape); keep input and statistics."""
        x = _full_precision(x, self.weight, self.bias).contiguous()
        y, mean, rstd = torch.native_layer_norm(
            x,
            self.shape,
            None if self.weight is None else self.weight.detach(),
            None if self.bias is None else self.bias.detach(),
            self.eps,
        )
        return y, (x, mean, rstd)

    def backward(
        self, saved: tuple[Tensor, ...], g: Tensor, tape: Tape, *, input_too: bool
    ) -> Tensor | None:
        """Write the gradients of scale and shift; return the one at the input."""
        x, mean, rstd = saved
        g = g.to(x.dtype).contiguous()
        if self.weight is not None and tape.trains(self.weight):
            tape.write(self.weight, self._by_record(g * ((x - mean) * rstd), tape))
        if self.bias is not None and tape.trains(self.bias):
            tape.write(self.bias, self._by_record(g, tape))
        if not input_too:
            return None
        gx: Tensor = torch.ops.aten.native_layer_norm_backward(
            g,
            x,
            self.shape,
            mean,
            rstd,
            None if self.weight is None else self.weight.detach(),
            None if self.bias is None else self.bias.detach(),
            (True, False, False),
        )[0]
        return gx

    def _by_record(self, rows: Tensor, tape: Tape) -> Tensor:
        return rows.reshape(tape.draws, tape.records, -1, *self.shape).sum((0, 2))


def _full_precision(x: Tensor, *parameters: Tensor | None) -> Tensor:
    """Normalise in the parameters' own type: variances in bfloat16 lose the image."""
    types = [parameter.dtype for parameter in parameters if parameter is not None]
    return x.to(types[0]) if types else x
