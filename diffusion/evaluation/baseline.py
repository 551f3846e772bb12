"""The baseline that needs no diffusion: images drawn from the noisy Gaussian itself.

A plan with a Gaussian query has, before any training, the means and second moments of
the classes. Images drawn from those Gaussians are post-processing of the same answer.
Whatever training adds must show against them.

Units: images in [-1, 1] as bytes 0..255.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from diffusion.data import PublicImages
from diffusion.gaussian_prior import GaussianPrior, turned
from diffusion.gaussian_query import coordinates


def gaussian_images(
    prior: GaussianPrior, labels: Int64[Tensor, " rows"], *, seed: int
) -> PublicImages:
    """Draw one image of each label from the class Gaussians of a prior.

    mean + Q diag(v)^(1/2) z, clipped to [-1, 1]; Q the prior's basis.

    Args:
        prior: The answer to a noisy query.
        labels: Classes; none of them "no class".
        seed: Public.
    """
    config = prior.config
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(labels), config.size, generator=generator)
    spread = prior.variances[0].sqrt() * z
    away = coordinates(turned(spread, prior.basis.T), config, back=True)
    flat = (prior.means[labels] + away).clamp(-1, 1)
    pixels = ((flat + 1) * 127.5).round().to(torch.uint8)
    shape = (len(labels), config.channels, config.height, config.width)
    return PublicImages(pixels.reshape(shape), labels, config.classes)
