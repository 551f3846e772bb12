"""Dead leaves: opaque shapes of all sizes falling on one another.

The plainest model of a photograph: things hide what is behind them, and seen from a
random distance their radii follow r^-3. Its images have sharp edges, flat regions and
a power spectrum near f^-2, as natural images do.

Most leaves are small, and painting a whole image for each would waste the time. So the
law is cut into tiers of radius, each with a window just large enough:

    radius 0.6 .. 1.3 px    most leaves    window  5 x 5    gathered and scattered
    radius 1.3 .. 2.9       fewer          window  9 x 9
    ...
    radius .. half          a few          the whole image

Within a block all images take leaves of the same tier at the same time; the order of
the tiers is shuffled. Edges are antialiased by their distance from pixel centres.

Units: pixels. Source: Lee, Mumford & Huang 2001, "Occlusion models for natural
images"; Baradad et al. 2021, arXiv:2106.05963, section 3.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from diffusion.generators.canvas import Canvas
from diffusion.generators.draws import Draws

SMALLEST_RADIUS = 0.6
TIER_RATIO = 2.2
COVERAGE = 2.0
"""Leaves over each point on average: e^-2 = 14 % of the ground stays visible."""

_WIDEST = 1.2  # a leaf is stretched by at most this along one axis
_SQUARE = math.sqrt(math.pi) / 2  # half the side of a square with a unit disc's area
_CHROMA = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """The leaves of one range of radii.

    Attributes:
        low: Smallest radius, in pixels.
        high: Largest radius, in pixels.
        leaves: How many fall on each image, on average over blocks.
        window: Side of the square that holds any of them; None is the whole image.
    """

    low: float
    high: float
    leaves: float
    window: int | None

    @property
    def margin(self) -> float:
        """How far outside the image a centre may lie."""
        return math.sqrt(self.low * self.high)


def dead_leaves(canvas: Canvas, draws: Draws) -> Float32[Tensor, "n c h w"]:
    """Paint one block of dead leaves, in [-1, 1].

    Example:
        >>> canvas = Canvas(count=2, channels=1, height=8, width=8)
        >>> dead_leaves(canvas, Draws("leaves")).shape
        torch.Size([2, 1, 8, 8])
    """
    layers = tiers(canvas.height, canvas.width)
    ground = _Ground(canvas, draws, layers)
    leaves = [_leaves(layer, canvas, draws) for layer in layers]
    falling = [
        (layer, its_leaves, number)
        for layer, its_leaves in zip(layers, leaves, strict=True)
        for number in range(len(its_leaves.row))
    ]
    for position in draws.permutation(len(falling)).tolist():
        ground.drop(*falling[position])
    return ground.image()


def tiers(height: int, width: int) -> list[Tier]:
    """Cut the r^-3 law into tiers with the number of leaves each needs.

    A density of `COVERAGE / (pi E[r^2])` leaves per pixel covers each point that many
    times; a tier takes its share of the law, over the image and its own margin.

    Args:
        height: In pixels.
        width: In pixels.

    Example:
        >>> [(round(tier.leaves, 1), tier.window) for tier in tiers(28, 28)]
        [(197.5, 5), (46.9, 9), (12.7, 19), (4.3, None)]
    """
    largest = max(min(height, width) / 2, 2 * SMALLEST_RADIUS)
    mass = SMALLEST_RADIUS**-2 - largest**-2
    mean_square = 2 * math.log(largest / SMALLEST_RADIUS) / mass
    density = COVERAGE / (math.pi * mean_square)
    found, low = [], SMALLEST_RADIUS
    while low < largest:
        high = min(low * TIER_RATIO, largest)
        margin = math.sqrt(low * high)
        area = (height + 2 * margin) * (width + 2 * margin)
        share = (low**-2 - high**-2) / mass
        # farthest is the corner of a square, stretched, with its soft edge; pixels
        # beyond the window are at least half a window and half a pixel away
        corner = (high * _SQUARE + 0.5) * math.hypot(_WIDEST, 1 / _WIDEST)
        window = 2 * math.ceil(corner - 0.5) + 1
        found.append(
            Tier(
                low=low,
                high=high,
                leaves=density * share * area,
                window=window if window < min(height, width) else None,
            )
        )
        low = high
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaves:
    """All leaves of a tier; one row per leaf, one column per image.

    Attributes:
        row, column: Centre, in pixels, [leaves, n].
        radius: In pixels, [leaves, n, 1, 1].
        turn: Four numbers that turn and stretch offsets into radii, [4, leaves, n, 1].
        colour: [leaves, n, c].
    """

    row: Tensor
    column: Tensor
    radius: Tensor
    turn: Tensor
    colour: Tensor


class _Ground:
    """The images under way, with a border so that every window fits."""

    def __init__(self, canvas: Canvas, draws: Draws, layers: list[Tier]) -> None:
        self._canvas = canvas
        self._border = max(layer.window or 0 for layer in layers)
        self._width = canvas.width + 2 * self._border
        height = canvas.height + 2 * self._border
        colour = draws.colours(canvas.count, canvas.channels, _CHROMA)
        self._pixels = (
            colour[:, :, None].expand(-1, -1, height * self._width).contiguous()
        )

    def image(self) -> Float32[Tensor, "n c h w"]:
        return self._inside().contiguous()

    def drop(self, tier: Tier, leaves: _Leaves, number: int) -> None:
        """Let one leaf fall on every image; even leaves are round, odd ones square."""
        row, column = leaves.row[number], leaves.column[number]
        if tier.window is None:
            top = left = torch.zeros_like(row)
            rows, columns = (
                torch.arange(float(side))
                for side in (self._canvas.height, self._canvas.width)
            )
        else:
            rows = columns = torch.arange(float(tier.window))
            top = row.round() - tier.window // 2
            left = column.round() - tier.window // 2
        cover = _cover(
            leaves,
            number,
            (top - row)[:, None] + rows,
            (left - column)[:, None] + columns,
        )
        colour = leaves.colour[number]
        if tier.window is None:
            self._inside().lerp_(colour[..., None, None], cover[:, None])
            return
        index = self._index(top.long(), left.long(), tier.window)
        index = index[:, None].expand(-1, self._canvas.channels, -1)
        patch = self._pixels.gather(2, index)
        patch.lerp_(colour[..., None], cover.flatten(1)[:, None])
        self._pixels.scatter_(2, index, patch)

    def _inside(self) -> Float32[Tensor, "n c h w"]:
        border, canvas = self._border, self._canvas
        square = self._pixels.view(canvas.count, canvas.channels, -1, self._width)
        inner = square.narrow(2, border, canvas.height)
        return inner.narrow(3, border, canvas.width)

    def _index(
        self, top: Int64[Tensor, " n"], left: Int64[Tensor, " n"], window: int
    ) -> Int64[Tensor, "n pixels"]:
        steps = torch.arange(window)
        corner = (top + self._border) * self._width + left + self._border
        return corner[:, None] + (steps[:, None] * self._width + steps).flatten()


def _leaves(tier: Tier, canvas: Canvas, draws: Draws) -> _Leaves:
    """Draw place, size, shape and colour of a tier's leaves."""
    # a tier may owe a tenth of a leaf: one block in ten then gets it
    whole = math.floor(tier.leaves + float(draws.uniform(1)))
    size, margin = (whole, canvas.count), tier.margin
    # uniform in r^-2 is a density of r^-3
    radius = draws.uniform(*size, low=tier.high**-2, high=tier.low**-2).rsqrt()
    angle = draws.uniform(*size, high=math.pi)
    stretch = _WIDEST ** draws.uniform(*size, low=-1.0, high=1.0)
    cosine, sine = angle.cos() / radius, angle.sin() / radius
    turn = torch.stack(
        [cosine * stretch, sine * stretch, cosine / stretch, sine / stretch]
    )
    colour = draws.colours(whole * canvas.count, canvas.channels, _CHROMA)
    return _Leaves(
        row=draws.uniform(*size, low=-margin, high=canvas.height + margin) - 0.5,
        column=draws.uniform(*size, low=-margin, high=canvas.width + margin) - 0.5,
        radius=radius[..., None, None],
        turn=turn[..., None],
        colour=colour.reshape(*size, canvas.channels),
    )


def _cover(
    leaves: _Leaves,
    number: int,
    rows: Float32[Tensor, "n h"],
    columns: Float32[Tensor, "n w"],
) -> Float32[Tensor, "n h w"]:
    """Share of each pixel under a leaf; offsets are from the leaf's centre."""
    a, b, c, d = leaves.turn[:, number]
    along = (columns * a)[:, None] + (rows * b)[..., None]
    across = (rows * c)[..., None] - (columns * d)[:, None]
    radius = leaves.radius[number]
    if number % 2 == 0:
        reach, edge = along.square_().addcmul_(across, across).sqrt_(), 1.0
    else:
        reach, edge = torch.maximum(along.abs_(), across.abs_()), _SQUARE
    # a soft edge one pixel wide adds pi/12 to a disc; the inset takes it back
    inset = ((edge * radius) ** 2 - 1 / 12).sqrt()
    return torch.addcmul(inset + 0.5, reach, radius, value=-1.0).clamp_(0, 1)
