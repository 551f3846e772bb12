"""The network: a small class-conditional U-Net made of layers we can differentiate.

Differential privacy decides its shape. Every record's gradient must be taken alone,
so nothing here mixes rows: no batch normalisation, no statistics kept between calls,
no dropout. Trained parameters sit in Conv2d, Linear, GroupNorm and Embedding only,
because those are the layers whose per-record gradients the engine knows. Noise grows
with the number of parameters, so the network is small.

    x, c_noise, label                    28x28            14x14            7x7
        |                    conv ── blocks ─┬─ pool ── blocks ─┬─ pool ── blocks ─┐
        └─> condition e                      │                  │              middle
            (scales and shifts   conv ── blocks ─┴─ grow ── blocks ─┴─ grow ── blocks ┘
             every block)

Odd sizes are halved upwards (7 becomes 4) and grown back to the size they had.

The class must matter from the first step. With zero-initialised conditioning and a
thousand records the label path never starts under noise: samples look fine and are of
no class at all. So the conditioning weights start non-zero and the label embedding is
scaled up.

Units: images in [-1, 1] plus noise, scaled by the caller to about unit variance.
Source: Ho et al. 2020, arXiv:2006.11239, appendix B; Karras et al. 2022,
arXiv:2206.00364, table 1, for what the network is given; Perez et al. 2018,
arXiv:1709.07871, for scale-and-shift conditioning.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from diffusion.network_blocks import (
    Level,
    ResidualBlock,
    SelfAttention,
    conv,
    norm,
)
from privplan import checks
from privplan.errors import ParameterError

_LABEL_SCALE = 3.0
_BRANCH_SCALE = 0.1
_CYCLES = (0.125, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """The shape of a network; every field is public.

    Attributes:
        channels: Colour channels of an image.
        height: Rows of an image, in pixels.
        width: Columns of an image, in pixels.
        classes: Number of classes; the label `classes` itself means "no class".
        base_width: Feature channels at full size; a multiple of 8.
        width_multipliers: Feature channels per level, in units of `base_width`; each
            level after the first halves the image.
        blocks: Residual blocks per level on the way down; one more on the way up.
        attention_resolutions: Levels whose longer side is one of these use attention.
        guide_channels: Channels of a second image given beside the noisy one, such as
            a first guess; 0 for none.
        patch: Side of the squares of pixels that become one position with more
            channels, before anything else; a divisor of height and width.

    Raises:
        ParameterError: A size is below one, `base_width` not a multiple of 8, or
            `patch` no divisor.
    """

    channels: int
    height: int
    width: int
    classes: int
    base_width: int = 32
    width_multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 2
    attention_resolutions: tuple[int, ...] = (7, 8, 14, 16)
    guide_channels: int = 0
    patch: int = 1

    def __post_init__(self) -> None:
        checks.count(
            channels=self.channels,
            height=self.height,
            width=self.width,
            classes=self.classes,
            base_width=self.base_width,
            blocks=self.blocks,
            levels=len(self.width_multipliers),
            patch=self.patch,
        )
        checks.non_negative(guide_channels=self.guide_channels)
        for multiplier in self.width_multipliers:
            checks.count(width_multiplier=multiplier)
        if self.base_width % 8:
            raise ParameterError(
                f"base_width is {self.base_width}, but it must be a multiple of 8",
                hint="give base_width a value such as 16 or 32",
            )
        if self.height % self.patch or self.width % self.patch:
            raise ParameterError(
                f"patches of {self.patch} do not tile {self.height} x {self.width} "
                "pixels",
                hint="give a patch that divides height and width, such as 1",
            )

    @property
    def null_label(self) -> int:
        """The label that means "no class"."""
        return self.classes

    @property
    def longer_sides(self) -> tuple[int, ...]:
        """The longer side of the image at each level, in pixels."""
        longer = max(self.height, self.width) // self.patch
        return tuple(-(-longer // 2**i) for i in range(len(self.width_multipliers)))


def preset(channels: int, height: int, width: int, classes: int) -> NetworkConfig:
    """Return the network we suggest for images of this size.

    Only public facts enter: never the images, nor how many there are.

    Args:
        channels: Colour channels of an image.
        height: Rows, in pixels.
        width: Columns, in pixels.
        classes: Number of classes.

    Raises:
        ParameterError: One of them is not a whole number of at least one.

    Example:
        >>> preset(1, 8, 8, 10).width_multipliers, preset(3, 64, 64, 2).base_width
        ((2, 3), 32)
    """
    checks.count(channels=channels, height=height, width=width, classes=classes)
    longer = max(height, width)
    multipliers: tuple[int, ...] = (1, 2, 2)
    attention: tuple[int, ...] = (7, 8, 14, 16)
    base_width, blocks = 32, 2
    if longer <= 10:
        base_width, multipliers, blocks, attention = 8, (2, 3), 1, ()
    elif longer <= 20:
        base_width, blocks, attention = 24, 1, (7, 8)
    elif longer > 40:
        multipliers = (1, 1, 2, 2)
    return NetworkConfig(
        channels=channels,
        height=height,
        width=width,
        classes=classes,
        base_width=base_width,
        width_multipliers=multipliers,
        blocks=blocks,
        attention_resolutions=attention,
    )


def build(config: NetworkConfig, *, seed: int) -> "UNet":
    """Build a network whose first weights follow from a public seed.

    The weights come from a generator of their own; the global random state is neither
    read nor moved, so building a network can never make DP noise predictable.

    Args:
        config: The shape.
        seed: Public; the same seed gives the same weights.

    Returns:
        The network on the CPU, float32, in training mode. Its output starts at zero.

    Example:
        >>> network = build(preset(1, 8, 8, 10), seed=0)
        >>> 60_000 < sum(p.numel() for p in network.parameters()) < 130_000
        True
    """
    with torch.device("meta"):
        network = UNet(config)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            _initialise(module, generator)
        network.label.weight[config.null_label] = 0.0
        network.conv_out.weight.zero_()
        for block in network.modules():
            if isinstance(block, ResidualBlock):
                block.conv_out.weight.mul_(_BRANCH_SCALE)
            if isinstance(block, SelfAttention):
                block.out.weight.mul_(_BRANCH_SCALE)
    return network


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Unit-variance weights, zero biases; LeCun et al. 1998, section 4.6."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        module.weight.normal_(std=1 / math.sqrt(fan_in), generator=generator)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(std=1 / _LABEL_SCALE, generator=generator)
    elif isinstance(module, nn.GroupNorm):
        module.weight.fill_(1.0)
        module.bias.zero_()


class UNet(nn.Module):
    """The U-Net of this module's picture; make one with `build`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        base, condition = config.base_width, 4 * config.base_width
        widths = [base * multiplier for multiplier in config.width_multipliers]
        attends = [side in config.attention_resolutions for side in config.longer_sides]
        self.noise_in = nn.Linear(base, condition)
        self.label = nn.Embedding(config.classes + 1, condition)
        self.noise_out = nn.Linear(condition, condition)
        shown = config.channels + config.guide_channels
        self.conv_in = conv(shown * config.patch**2, base)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, current = [base], base
        for width, attention in zip(widths, attends, strict=True):
            skips.extend([current] * (len(self.down) > 0))
            for _ in range(config.blocks):
                self.down.append(Level(current, width, condition, attention=attention))
                skips.append(width)
                current = width
        self.middle = Level(current, current, condition, attention=attends[-1])
        self.middle_out = Level(current, current, condition, attention=False)
        for level in reversed(range(len(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(
                    Level(
                        current + skips.pop(),
                        widths[level],
                        condition,
                        attention=attends[level],
                    )
                )
                current = widths[level]
        self.norm_out = norm(current)
        self.conv_out = conv(current, config.channels * config.patch**2)

    def forward(
        self,
        x: Float[Tensor, "rows shown_channels height width"],
        c_noise: Float[Tensor, " rows"],
        labels: Int64[Tensor, " rows"],
    ) -> Float[Tensor, "rows channels height width"]:
        """Return the network's raw output; row i depends on row i alone.

        Args:
            x: Scaled noisy images, followed by the guide's channels if there are any.
            c_noise: The noise level as the parameterisation codes it, of order one.
            labels: Classes; `config.classes` means "no class".

        Returns:
            As many images, in the units of the parameterisation.
        """
        condition = self._condition(c_noise, labels)
        x = functional.pixel_unshuffle(x, self.config.patch)
        x = self.conv_in(x.clone(memory_format=torch.contiguous_format)).contiguous()
        skips = [x]
        for i, level in enumerate(self.down):
            if i and i % self.config.blocks == 0:
                x = functional.avg_pool2d(x, 2, ceil_mode=True)
                skips.append(x)
            x = level(x, condition)
            skips.append(x)
        x = self.middle_out(self.middle(x, condition), condition)
        for level in self.up:
            skip = skips.pop()
            if x.shape[-2:] != skip.shape[-2:]:
                x = functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = level(torch.cat([x, skip], dim=1), condition)
        x = self.conv_out(functional.silu(self.norm_out(x)).contiguous())
        return functional.pixel_shuffle(x, self.config.patch)

    def _condition(
        self, c_noise: Float[Tensor, " rows"], labels: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "rows width_condition"]:
        low, high = (math.log2(cycles) for cycles in _CYCLES)
        octaves = torch.linspace(
            low, high, self.config.base_width // 2, device=c_noise.device
        )
        angles = 2 * math.pi * c_noise[:, None] * torch.exp2(octaves)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        hidden = self.noise_in(waves) + _LABEL_SCALE * self.label(labels)
        return functional.silu(self.noise_out(functional.silu(hidden)))
