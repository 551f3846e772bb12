"""Scenes: balls and drums on a floor under a sky, shaded by one lamp.

What the other kinds lack: large smooth gradients from light, a horizon, cast shadows,
things that grow towards the viewer. Up to four objects stand on the floor, the far
ones painted first. Shading is Lambert's law with a little ambient light and, on balls,
a highlight.

Within a block the kinds of object follow one order; place, size, colour, lamp and
whether an object is there at all are drawn per image.

Units: as `Canvas.axes`, the shorter side spans [-1, 1]; y points down, z to the viewer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from diffusion.generators.canvas import Canvas
from diffusion.generators.draws import Draws

OBJECTS = 4
AMBIENT = 0.35
_CHROMA = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """What all objects of a block share; every tensor is [n, 1, 1] or broadcasts.

    Light is kept in [0, 1] while painting, so that shading multiplies.
    """

    rows: Tensor
    columns: Tensor
    pixel: float
    horizon: Tensor
    lamp: tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """One object in every image: where it stands, how large, which colour."""

    base: Tensor
    centre: Tensor
    radius: Tensor
    colour: Tensor
    there: Tensor


def scenes(canvas: Canvas, draws: Draws) -> Float32[Tensor, "n c h w"]:
    """Render one block of scenes, in [-1, 1].

    Example:
        >>> canvas = Canvas(count=2, channels=3, height=8, width=8)
        >>> scenes(canvas, Draws("scenes")).shape
        torch.Size([2, 3, 8, 8])
    """
    stage = _stage(canvas, draws)
    light = _background(canvas, stage, draws)
    depths = draws.uniform(OBJECTS, canvas.count).sort(dim=0).values
    for depth in depths:
        thing = _object(canvas, stage, depth[:, None, None], draws)
        _cast_shadow(light, stage, thing)
        if bool(draws.chance(0.5)):
            _paint_ball(light, stage, thing)
        else:
            _paint_drum(light, stage, thing)
    return light.mul_(2.0).sub_(1.0).clamp_(-1.0, 1.0)


def _stage(canvas: Canvas, draws: Draws) -> _Stage:
    rows, columns = canvas.axes()
    count = canvas.count
    azimuth = draws.uniform(count, 1, 1, low=-1.2, high=1.2)
    height = draws.uniform(count, 1, 1, low=0.4, high=1.2)
    return _Stage(
        rows=rows[None, :, None],
        columns=columns[None, None, :],
        pixel=canvas.pixel,
        horizon=draws.uniform(count, 1, 1, low=-0.6, high=0.2),
        lamp=(
            azimuth.sin() * height.cos(),
            -height.sin(),
            azimuth.cos() * height.cos(),
        ),
    )


def _background(
    canvas: Canvas, stage: _Stage, draws: Draws
) -> Float32[Tensor, "n c h w"]:
    """Sky and floor, each a gradient; some floors are tiled in perspective."""
    count, channels = canvas.count, canvas.channels
    zenith, haze, near, far, tile = (
        (draws.colours(count, channels, _CHROMA) + 1)[..., None, None] / 2
        for _ in range(5)
    )
    below = stage.rows - stage.horizon
    up = (-below).clamp(0.0, 1.0)[:, None]
    down = below.clamp(0.0, 1.0)[:, None]
    sky = torch.lerp(haze, zenith, up)
    floor = torch.lerp(far, near, down)
    distance = 0.5 / below.clamp(min=0.08)
    turns = draws.uniform(count, 1, 1, low=2.0, high=6.0)
    wave = torch.sin(turns * distance) * torch.sin(turns * distance * stage.columns)
    # tiles fade where they would be smaller than a pixel
    sharp = (4.0 * wave).clamp(-1.0, 1.0) * down[:, 0].mul(3.0).clamp(max=1.0)
    tiled = draws.chance(0.4, count, 1, 1) * 0.3
    floor = torch.lerp(floor, tile, (tiled * (1 + sharp))[:, None])
    edge = (below / stage.pixel + 0.5).clamp(0.0, 1.0)[:, None]
    # contiguous: the objects are painted in place
    return torch.lerp(sky, floor, edge).expand(-1, -1, -1, canvas.width).contiguous()


def _object(canvas: Canvas, stage: _Stage, depth: Tensor, draws: Draws) -> _Object:
    count, channels = canvas.count, canvas.channels
    base = stage.horizon + 0.1 + depth * (0.9 - stage.horizon)
    side = canvas.width / min(canvas.height, canvas.width)
    colour = (draws.colours(count, channels, _CHROMA) + 1) / 2
    return _Object(
        base=base,
        centre=draws.uniform(count, 1, 1, low=-0.9, high=0.9) * side,
        radius=(0.12 + 0.33 * depth) * draws.uniform(count, 1, 1, low=0.6, high=1.2),
        colour=(0.25 + 0.75 * colour)[..., None, None],
        there=draws.chance(0.6, count, 1, 1).float(),
    )


def _cast_shadow(light: Tensor, stage: _Stage, thing: _Object) -> None:
    """Darken an ellipse of floor on the side away from the lamp."""
    lean = -stage.lamp[0] * thing.radius
    across = (stage.columns - thing.centre - lean) / (1.3 * thing.radius)
    along = (stage.rows - thing.base) / (0.4 * thing.radius)
    soft = (1.3 - torch.hypot(across, along)).mul_(1.5).clamp_(0.0, 0.6)
    soft = soft * thing.there * (stage.rows > stage.horizon)
    light.mul_(1 - soft[:, None])


def _paint_ball(light: Tensor, stage: _Stage, thing: _Object) -> None:
    x = (stage.columns - thing.centre) / thing.radius
    y = (stage.rows - thing.base) / thing.radius + 1.0
    square = x * x + y * y
    z = (1 - square).clamp_(min=0.0).sqrt_()
    lamp_x, lamp_y, lamp_z = stage.lamp
    facing = (x * lamp_x + y * lamp_y + z * lamp_z).clamp_(min=0.0)
    shade = AMBIENT + (1 - AMBIENT) * facing
    colour = thing.colour * shade[:, None] + 0.5 * facing.pow(16)[:, None]
    edge = (1 - square.sqrt()) * (thing.radius / stage.pixel) + 0.5
    cover = edge.clamp_(0.0, 1.0) * thing.there
    light.lerp_(colour, cover[:, None])


def _paint_drum(light: Tensor, stage: _Stage, thing: _Object) -> None:
    """An upright cylinder: side, then lid."""
    tall = 1.6 * thing.radius
    x = (stage.columns - thing.centre) / thing.radius
    z = (1 - x * x).clamp_(min=0.0).sqrt_()
    lamp_x, lamp_y, lamp_z = stage.lamp
    facing = (x * lamp_x + z * lamp_z).clamp_(min=0.0)
    shade = AMBIENT + (1 - AMBIENT) * facing
    # the lower rim is the near half of the same ellipse as the lid
    bottom = (thing.base + 0.3 * thing.radius * z - stage.rows) / stage.pixel
    top = (stage.rows - thing.base + tall) / stage.pixel
    side = (1 - x.abs()) * (thing.radius / stage.pixel)
    inside = torch.minimum(torch.minimum(bottom, top), side) + 0.5
    cover = inside.clamp_(0.0, 1.0) * thing.there
    light.lerp_(thing.colour * shade[:, None], cover[:, None])
    lid_y = (stage.rows - thing.base + tall) / (0.3 * thing.radius)
    lid = (1 - torch.hypot(x, lid_y)) * (0.3 * thing.radius / stage.pixel) + 0.5
    bright = AMBIENT + (1 - AMBIENT) * -lamp_y
    cover = lid.clamp_(0.0, 1.0) * thing.there
    light.lerp_(thing.colour * bright[:, None], cover[:, None])
