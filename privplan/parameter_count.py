"""How many parameters the U-Net has, from the constants of a plan, without torch.

Noise enters every trained parameter, so their number decides how far a budget goes
(`efficiency.feasibility`), and the planner needs it before any network is built. The
count follows the shape of `diffusion.network.UNet` layer by layer; a test compares it
with the real one.

    conv w -> v, k x k     v (w k^2 + 1)        linear w -> v     v (w + 1)
    group norm of w        2 w                  embedding         rows times width
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """The public constants that fix the network, named as in the plan.

    Attributes:
        channels: Colour channels of an image.
        height: Rows, in pixels.
        width: Columns, in pixels.
        classes: Number of classes; "no class" has a row of its own.
        base_width: Feature channels at full size.
        width_multipliers: Feature channels per level, in units of `base_width`.
        blocks: Residual blocks per level on the way down; one more on the way up.
        attention_resolutions: Longer sides at which a level uses attention.
        guide_channels: Channels of a second image given beside the noisy one.
        patch: Side of the squares of pixels that become one position.
    """

    channels: int
    height: int
    width: int
    classes: int
    base_width: int
    width_multipliers: tuple[int, ...]
    blocks: int
    attention_resolutions: tuple[int, ...]
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


def parameter_count(shape: NetworkShape) -> int:
    """Return the exact number of parameters of the network of this shape.

    Args:
        shape: As the plan fixes it.

    Example:
        >>> parameter_count(
        ...     NetworkShape(
        ...         channels=1, height=8, width=8, classes=10, base_width=8,
        ...         width_multipliers=(2, 3), blocks=1, attention_resolutions=(),
        ...     )
        ... )
        93961
    """
    base = shape.base_width
    condition = 4 * base
    widths = [base * multiplier for multiplier in shape.width_multipliers]
    attends = _attends(shape)
    total = _linear(base, condition) + _linear(condition, condition)
    total += (shape.classes + 1) * condition
    square = shape.patch**2
    total += _conv((shape.channels + shape.guide_channels) * square, base, 3)

    skips, current = [base], base
    for level, width in enumerate(widths):
        if level:
            skips.append(current)
        for _ in range(shape.blocks):
            total += _block(current, width, condition, attention=attends[level])
            skips.append(width)
            current = width
    total += _block(current, current, condition, attention=attends[-1])
    total += _block(current, current, condition, attention=False)
    for level in reversed(range(len(widths))):
        for _ in range(shape.blocks + 1):
            total += _block(
                current + skips.pop(),
                widths[level],
                condition,
                attention=attends[level],
            )
            current = widths[level]
    return total + _norm(current) + _conv(current, shape.channels * square, 3)


def _attends(shape: NetworkShape) -> list[bool]:
    longer = max(shape.height, shape.width) // shape.patch
    sides = [-(-longer // 2**level) for level in range(len(shape.width_multipliers))]
    return [side in shape.attention_resolutions for side in sides]


def _block(width_in: int, width_out: int, condition: int, *, attention: bool) -> int:
    total = _norm(width_in) + _conv(width_in, width_out, 3)
    total += _linear(condition, 2 * width_out)
    total += _norm(width_out) + _conv(width_out, width_out, 3)
    if width_in != width_out:
        total += _conv(width_in, width_out, 1)
    if attention:
        total += _norm(width_out)
        total += _linear(width_out, 3 * width_out) + _linear(width_out, width_out)
    return total


def _conv(width_in: int, width_out: int, size: int) -> int:
    return width_out * (width_in * size**2 + 1)


def _linear(width_in: int, width_out: int) -> int:
    return width_out * (width_in + 1)


def _norm(width: int) -> int:
    return 2 * width
