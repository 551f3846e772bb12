"""Strokes: one to three smooth pen strokes, bright on dark, like letters of no script.

A stroke is a cubic Bezier curve, an elliptic arc or a closed loop; the second and third
often start where an earlier one passes, so that junctions occur. The glyph is then
fitted into the frame. The pen's width swells and thins along the stroke.

Distance to all strokes at once is a matrix product. For a point p of a stroke with pen
radius w, the squared distance in pen radii is linear in (|x|^2, x, y, 1):

    |x - p|^2 / w^2 = (|x|^2 - 2 p.x + |p|^2) / w^2

so a small product gives it for all pixels, and the minimum over points is the drawing.

Units: as `Canvas.axes`, the shorter side spans [-1, 1].
"""

import math

import torch
from jaxtyping import Float32
from torch import Tensor

from diffusion.generators.canvas import Canvas
from diffusion.generators.draws import Draws

STROKES = 3
_CHROMA = 0.35


def strokes(canvas: Canvas, draws: Draws) -> Float32[Tensor, "n c h w"]:
    """Draw one block of glyphs, in [-1, 1].

    Example:
        >>> canvas = Canvas(count=2, channels=1, height=8, width=8)
        >>> strokes(canvas, Draws("glyphs")).amin().item()
        -1.0
    """
    # a pen as thin as a pixel must touch every pixel of a long loop
    points = min(max(5 * max(canvas.height, canvas.width) // 2, 24), 160)
    curves = _fitted(_glyphs(canvas.count, points, draws), draws)
    pen = _pen(canvas, points, draws)
    cover = ink(canvas, curves.flatten(1, 2), pen.flatten(1))
    paper, colour = _colours(canvas, draws)
    return torch.lerp(paper[..., None, None], colour[..., None, None], cover[:, None])


def _glyphs(
    count: int, points: int, draws: Draws
) -> Float32[Tensor, "n strokes points 2"]:
    """Points along every stroke; a stroke that is not there repeats the first."""
    first = _stroke(count, points, draws)
    found = [first]
    for further in range(1, STROKES):
        curve = _stroke(count, points, draws) * draws.uniform(
            count, 1, 1, low=0.5, high=1.0
        )
        joint = found[-1][:, int(draws.permutation(points)[0])]
        joined = curve - curve[:, :1] + joint[:, None]
        curve = torch.where(draws.chance(0.65, count, 1, 1), joined, curve)
        there = draws.chance(0.65 if further == 1 else 0.4, count, 1, 1)
        found.append(torch.where(there, curve, first))
    return torch.stack(found, dim=1)


def _stroke(count: int, points: int, draws: Draws) -> Float32[Tensor, "n points 2"]:
    kind = draws.uniform(count, 1, 1)
    time = torch.linspace(0.0, 1.0, points)
    return torch.where(
        kind < 0.5, _bezier(count, time, draws), _arc(count, time, draws)
    )


def _bezier(
    count: int, time: Float32[Tensor, " points"], draws: Draws
) -> Float32[Tensor, "n points 2"]:
    back = 1 - time
    basis = torch.stack([back**3, 3 * back**2 * time, 3 * back * time**2, time**3])
    ends = draws.uniform(count, 2, 2, low=-1.0, high=1.0)
    chord = torch.stack(
        [ends[:, 0].lerp(ends[:, 1], third) for third in (1 / 3, 2 / 3)]
    )
    # near the chord the stroke is almost straight, far from it an S or a hook
    bend = draws.uniform(count, 1, 1) ** 2
    handles = chord.transpose(0, 1) + bend * draws.uniform(
        count, 2, 2, low=-2.0, high=2.0
    )
    control = torch.stack([ends[:, 0], handles[:, 0], handles[:, 1], ends[:, 1]], dim=1)
    return torch.einsum("nkd,kp->npd", control, basis)


def _arc(
    count: int, time: Float32[Tensor, " points"], draws: Draws
) -> Float32[Tensor, "n points 2"]:
    """Elliptic arcs; three in ten close into a loop."""
    span = draws.uniform(count, 1, low=0.3, high=0.9)
    span = torch.where(draws.chance(0.3, count, 1), 1.0, span)
    angle = 2 * math.pi * (draws.uniform(count, 1) + span * time)
    radii = draws.uniform(count, 1, 2, low=0.25, high=0.8)
    centre = draws.uniform(count, 1, 2, low=-0.4, high=0.4)
    circle = torch.stack([angle.sin(), angle.cos()], dim=2) * radii
    tilt = draws.uniform(count, 1, low=-0.6, high=0.6)
    y, x = circle.unbind(2)
    turned = torch.stack(
        [y * tilt.cos() + x * tilt.sin(), x * tilt.cos() - y * tilt.sin()], dim=2
    )
    return centre + turned


def _fitted(
    curves: Float32[Tensor, "n strokes points 2"], draws: Draws
) -> Float32[Tensor, "n strokes points 2"]:
    """Centre each glyph and scale it to most of the frame."""
    low, high = curves.amin((1, 2), keepdim=True), curves.amax((1, 2), keepdim=True)
    half = ((high - low) / 2).amax(3, keepdim=True).clamp(min=0.05)
    count = len(curves)
    target = draws.uniform(count, 1, 1, 1, low=0.5, high=0.8)
    shift = draws.uniform(count, 1, 1, 2, low=-0.1, high=0.1)
    return (curves - (low + high) / 2) * (target / half) + shift


def _pen(
    canvas: Canvas, points: int, draws: Draws
) -> Float32[Tensor, "n strokes points"]:
    """Radius of the pen along each stroke: never much thinner than a pixel."""
    count = canvas.count
    mean = draws.uniform(count, 1, 1, low=0.06, high=0.18).clamp(min=0.5 * canvas.pixel)
    phase = draws.uniform(count, STROKES, 1, high=2 * math.pi)
    turns = draws.uniform(count, STROKES, 1, high=math.pi)
    swell = draws.uniform(count, 1, 1, high=0.45)
    time = torch.linspace(0.0, 1.0, points)
    return mean * (1 + swell * torch.sin(phase + turns * time))


def ink(
    canvas: Canvas,
    points: Float32[Tensor, "n points 2"],
    pen: Float32[Tensor, "n points"],
) -> Float32[Tensor, "n h w"]:
    """Return the share of each pixel under the pen.

    Args:
        canvas: Size of the images.
        points: Points (y, x) along all strokes of a glyph, in the units of the module.
        pen: Radius of the pen at each point, in the same units.
    """
    rows, columns = canvas.axes()
    y, x = (axis.flatten() for axis in torch.meshgrid(rows, columns, indexing="ij"))
    features = torch.stack([x * x + y * y, y, x, torch.ones_like(x)])
    weight = pen**-2
    terms = torch.stack(
        [
            weight,
            -2 * points[..., 0] * weight,
            -2 * points[..., 1] * weight,
            points.square().sum(2) * weight,
        ],
        dim=2,
    ).transpose(0, 1)
    nearest = terms[0] @ features
    product = torch.empty_like(nearest)
    # one point of every glyph at a time: the product stays in the cache
    for coefficients in terms[1:]:
        torch.mm(coefficients, features, out=product)
        torch.minimum(nearest, product, out=nearest)
    distance = nearest.clamp_(min=0.0).sqrt_()
    width = pen.mean(1, keepdim=True) / canvas.pixel
    cover = (0.5 + (1 - distance) * width).clamp_(0.0, 1.0)
    return cover.reshape(-1, canvas.height, canvas.width)


def _colours(
    canvas: Canvas, draws: Draws
) -> tuple[Float32[Tensor, "n c"], Float32[Tensor, "n c"]]:
    """Paper and ink: black and nearly white in grey, dark and bright in RGB."""
    count, channels = canvas.count, canvas.channels
    ink = draws.uniform(count, 1, low=0.5, high=1.0).expand(-1, channels)
    paper = torch.full((count, channels), -1.0)
    if channels > 1:
        paper = draws.uniform(count, 1, low=-1.0, high=-0.5) + _CHROMA * (
            draws.uniform(count, channels) - 0.5
        )
        ink = ink - 2 * _CHROMA * draws.uniform(count, channels)
    return paper.clamp(-1.0, 1.0), ink
