"""The blocks of the network: convolutions under a condition, and attention.

Both are residual: what comes in goes out again, changed a little. Inputs of every
convolution are made contiguous, because a per-record gradient computed from assumed
strides is silently wrong on any other memory layout.

Source: Ho et al. 2020, arXiv:2006.11239, appendix B; Perez et al. 2018,
arXiv:1709.07871, for scale-and-shift conditioning.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def norm(width: int) -> nn.GroupNorm:
    """Return a group norm with at most 8 groups, at least 4 channels in each."""
    return nn.GroupNorm(math.gcd(8, width // 4), width)


def conv(width_in: int, width_out: int, size: int = 3) -> nn.Conv2d:
    """Return a convolution that keeps the image size; `size` is odd."""
    return nn.Conv2d(width_in, width_out, size, padding=size // 2)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the condition scales and shifts between."""

    def __init__(self, width_in: int, width_out: int, width_condition: int) -> None:
        super().__init__()
        self.norm_in = norm(width_in)
        self.conv_in = conv(width_in, width_out)
        self.condition = nn.Linear(width_condition, 2 * width_out)
        self.norm_out = norm(width_out)
        self.conv_out = conv(width_out, width_out)
        self.shortcut = conv(width_in, width_out, 1) if width_in != width_out else None

    def forward(
        self,
        x: Float[Tensor, "rows width_in height width"],
        condition: Float[Tensor, "rows width_condition"],
    ) -> Float[Tensor, "rows width_out height width"]:
        """Return the features, changed by the block."""
        hidden = self.conv_in(functional.silu(self.norm_in(x)).contiguous())
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm_out(hidden) * (1 + scale) + shift
        hidden = self.conv_out(functional.silu(hidden).contiguous())
        carried = x if self.shortcut is None else self.shortcut(x.contiguous())
        changed: Tensor = (carried + hidden).contiguous()
        return changed


class SelfAttention(nn.Module):
    """One head of attention over the positions of an image, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "rows features height width"]
    ) -> Float[Tensor, "rows features height width"]:
        """Return the features, changed by what they attended to."""
        tokens = self.norm(x).flatten(2).transpose(1, 2).contiguous()
        query, key, value = self.query_key_value(tokens).chunk(3, dim=2)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = self.out(mixed.contiguous()).transpose(1, 2)
        changed: Tensor = (x + mixed.reshape(x.shape)).contiguous()
        return changed


class Level(nn.Module):
    """One block, followed by attention where the level has it."""

    def __init__(
        self, width_in: int, width_out: int, width_condition: int, *, attention: bool
    ) -> None:
        super().__init__()
        self.block = ResidualBlock(width_in, width_out, width_condition)
        self.attention = SelfAttention(width_out) if attention else None

    def forward(
        self,
        x: Float[Tensor, "rows width_in height width"],
        condition: Float[Tensor, "rows width_condition"],
    ) -> Float[Tensor, "rows width_out height width"]:
        """Return the features, changed by the block and then by attention."""
        hidden: Tensor = self.block(x, condition)
        return hidden if self.attention is None else self.attention(hidden)
