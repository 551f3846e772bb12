"""Images from convolutional networks that nobody trained.

A random network maps random maps to images with structure on several scales: soft
regions, repeated texture, edges where a rectifier cuts. Each network draws a few images
and is thrown away, so variety never ends.

    noise, a few pixels wide --convolve, add grain, rectify, double--> ... --> image

Every image gets its own scale and shift of every map, so that one network draws many
unlike images.

The image is cut from the middle, where zero padding does not reach.

Source: Baradad et al. 2021, arXiv:2106.05963, section 3.4 ("StyleGAN-random").
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from diffusion.generators.canvas import Canvas
from diffusion.generators.draws import Draws

IMAGES_PER_NETWORK = 16
DOUBLINGS = 3
_WIDTHS = (16, 16, 12, 8)
_CHROMA = 0.4


def random_networks(canvas: Canvas, draws: Draws) -> Float32[Tensor, "n c h w"]:
    """Draw one block of images from fresh networks, in [-1, 1].

    Example:
        >>> canvas = Canvas(count=20, channels=3, height=8, width=8)
        >>> random_networks(canvas, Draws("nets")).shape
        torch.Size([20, 3, 8, 8])
    """
    groups = math.ceil(canvas.count / IMAGES_PER_NETWORK)
    images = torch.cat([_one_network(canvas, draws) for _ in range(groups)])
    return images[: canvas.count]


def _one_network(canvas: Canvas, draws: Draws) -> Float32[Tensor, "n c h w"]:
    scale = 2**DOUBLINGS
    rows, columns = (side // scale + 2 for side in (canvas.height, canvas.width))
    maps = draws.normal(IMAGES_PER_NETWORK, _WIDTHS[0], rows, columns)
    for before, after in pairwise(_WIDTHS):
        maps = _layer(maps, _kernel(before, after, draws), 0.3, draws)
        maps = functional.interpolate(
            maps, scale_factor=2.0, mode="bilinear", align_corners=False
        )
    # at full size grain would be seen as noise
    maps = _layer(maps, _kernel(_WIDTHS[-1], _WIDTHS[-1], draws), 0.05, draws)
    image = functional.conv2d(maps, _kernel(_WIDTHS[-1], canvas.channels, draws))
    top = (image.shape[2] - canvas.height) // 2
    left = (image.shape[3] - canvas.width) // 2
    return _exposed(
        image[:, :, top : top + canvas.height, left : left + canvas.width], draws
    )


def _layer(
    maps: Float32[Tensor, "n c h w"],
    kernel: Float32[Tensor, "after c 3 3"],
    graininess: float,
    draws: Draws,
) -> Float32[Tensor, "n after h w"]:
    """Convolve, add grain, give each image a style of its own, rectify."""
    maps = functional.conv2d(maps, kernel, padding=1)
    after = len(kernel)
    grain = draws.normal(len(maps), 1, *maps.shape[2:])
    maps = _standardised(maps) + graininess * draws.normal(after, 1, 1) * grain
    scale, shift = draws.normal(2, len(maps), after, 1, 1)
    return functional.leaky_relu(torch.exp(0.5 * scale) * (maps + 0.7 * shift), 0.05)


def _kernel(before: int, after: int, draws: Draws) -> Float32[Tensor, "o i 3 3"]:
    # variance 2 / fan-in keeps the size of rectified maps (He et al. 2015)
    return draws.normal(after, before, 3, 3) * math.sqrt(2 / (9 * before))


def _standardised(maps: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n c h w"]:
    centred = maps - maps.mean((2, 3), keepdim=True)
    scale = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / scale.clamp(min=1e-6)


def _exposed(
    images: Float32[Tensor, "n c h w"], draws: Draws
) -> Float32[Tensor, "n c h w"]:
    """Give each image its own palette, contrast and brightness."""
    count = len(images)
    tinted = draws.tinted(_standardised(images), _CHROMA)
    contrast = draws.uniform(count, 1, 1, 1, low=0.4, high=1.0)
    light = 0.3 * draws.normal(count, images.shape[1], 1, 1)
    return torch.tanh(tinted * contrast + light)
