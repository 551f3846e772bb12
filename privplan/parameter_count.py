"""The layers of the U-Net and their parameters, from a plan's constants, without torch.

Noise enters every trained parameter, so their number decides how far a budget goes
(`efficiency.feasibility`), and the planner needs it before any network is built. The
list follows `diffusion.network.UNet` layer by layer and name by name; a test compares
it with the real one.

    conv w -> v, k x k     v (w k^2 + 1)        linear w -> v     v (w + 1)
    group norm of w        2 w                  embedding         rows times width
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from privplan import checks

LayerKind = Literal["conv", "linear", "norm", "embedding", "bare"]
KINDS: tuple[str, ...] = get_args(LayerKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer that holds parameters.

    Attributes:
        name: As in the network, such as "down.0.block.conv_in".
        kind: What it is.
        width_in: Channels or features in; rows of an embedding; 1 for a norm; of a
            bare parameter, its numbers.
        width_out: Channels or features out.
        size: Side of a convolution's kernel; 1 for any other layer.
        bias: Whether it has a shift beside its weight.
        part: What it belongs to in a network whose names do not say so: "attention",
            "embedding", "film" or "block".
    """

    name: str
    kind: LayerKind
    width_in: int
    width_out: int
    size: int = 1
    bias: bool = True
    part: str = ""

    @property
    def parameters(self) -> dict[str, int]:
        """How many numbers each parameter of the layer holds, by its full name.

        Example:
            >>> Layer(name="a", kind="linear", width_in=2, width_out=3).parameters
            {'a.weight': 6, 'a.bias': 3}
        """
        weight = self.width_in * self.width_out * self.size**2
        if self.kind == "bare":
            return {self.name: weight}
        found = {f"{self.name}.weight": weight}
        if self.bias and self.kind != "embedding":
            found[f"{self.name}.bias"] = self.width_out
        return found


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
    return sum(sum(layer.parameters.values()) for layer in layers_of(shape))


def layers_of(shape: NetworkShape) -> tuple[Layer, ...]:
    """Return every layer of the network of this shape that holds parameters.

    Args:
        shape: As the plan fixes it.
    """
    base, condition = shape.base_width, 4 * shape.base_width
    shown, square = shape.channels + shape.guide_channels, shape.patch**2
    found = [
        _linear("noise_in", base, condition),
        Layer(
            name="label",
            kind="embedding",
            width_in=shape.classes + 1,
            width_out=condition,
        ),
        _linear("noise_out", condition, condition),
        _conv("conv_in", shown * square, base, 3),
    ]
    for name, width_in, width_out, attends in _levels(shape):
        found += _block(name, width_in, width_out, condition)
        if attends:
            found += _attention(name, width_out)
    last = base * shape.width_multipliers[0]
    out = _conv("conv_out", last, shape.channels * square, 3)
    return (*found, _norm("norm_out", last), out)


def _levels(shape: NetworkShape) -> Iterator[tuple[str, int, int, bool]]:
    """Yield (name, width in, width out, has attention) of each block, down and up."""
    widths = [shape.base_width * multiplier for multiplier in shape.width_multipliers]
    attends = _attends(shape)
    skips, current = [shape.base_width], shape.base_width
    for level, width in enumerate(widths):
        if level:
            skips.append(current)
        for block in range(shape.blocks):
            yield f"down.{level * shape.blocks + block}", current, width, attends[level]
            skips.append(width)
            current = width
    yield "middle", current, current, attends[-1]
    yield "middle_out", current, current, False
    for done, level in enumerate(reversed(range(len(widths)))):
        for block in range(shape.blocks + 1):
            name = f"up.{done * (shape.blocks + 1) + block}"
            yield name, current + skips.pop(), widths[level], attends[level]
            current = widths[level]


def _attends(shape: NetworkShape) -> list[bool]:
    longer = max(shape.height, shape.width) // shape.patch
    sides = [-(-longer // 2**level) for level in range(len(shape.width_multipliers))]
    return [side in shape.attention_resolutions for side in sides]


def _block(name: str, width_in: int, width_out: int, condition: int) -> list[Layer]:
    found = [
        _norm(f"{name}.block.norm_in", width_in),
        _conv(f"{name}.block.conv_in", width_in, width_out, 3),
        _linear(f"{name}.block.condition", condition, 2 * width_out),
        _norm(f"{name}.block.norm_out", width_out),
        _conv(f"{name}.block.conv_out", width_out, width_out, 3),
    ]
    if width_in != width_out:
        found.append(_conv(f"{name}.block.shortcut", width_in, width_out, 1))
    return found


def _attention(name: str, width: int) -> list[Layer]:
    return [
        _norm(f"{name}.attention.norm", width),
        _linear(f"{name}.attention.query_key_value", width, 3 * width),
        _linear(f"{name}.attention.out", width, width),
    ]


def _conv(name: str, width_in: int, width_out: int, size: int) -> Layer:
    return Layer(
        name=name, kind="conv", width_in=width_in, width_out=width_out, size=size
    )


def _linear(name: str, width_in: int, width_out: int) -> Layer:
    return Layer(name=name, kind="linear", width_in=width_in, width_out=width_out)


def _norm(name: str, width: int) -> Layer:
    return Layer(name=name, kind="norm", width_in=1, width_out=width)
