"""The default features: an encoder that has seen no photograph and no record.

It is the small classifier of this package, trained to tell apart images made by the
project's own programs: five generators, and within each the clusters of its images.
Everything follows from a public seed, so nothing is downloaded and anyone can make it
again. Its name and the SHA-256 of its weights go into the name of every number that
was computed with it, because a distance means nothing on other features.

Weights are equal to the last bit on one kind of machine; elsewhere they may differ by
float rounding, and then the digest says so.

It is made anew in each process, in a few seconds, and kept in memory only.
"""

import hashlib
from functools import lru_cache

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from diffusion.evaluation import convolutional
from diffusion.evaluation.convolutional import Convolutional, Training
from diffusion.synthetic import GENERATORS, generate, pseudo_labels

NAME = "encoder-1"
_SEED = 20240801
_IMAGES_PER_KIND = 500
_CLUSTERS = 8
_LONGEST_SIDE = 32
_TRAINING = Training(epochs=8, batch_size=64, held_back=0.0, noise_std=0.1, seed=_SEED)


@lru_cache(maxsize=4)
def encoder(channels: int, height: int, width: int) -> Convolutional:
    """Return the encoder for images of one shape, trained on first use.

    Args:
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
    """
    rows, columns = _seen(height, width)
    images = [
        generate(
            kind,
            _IMAGES_PER_KIND,
            channels=channels,
            height=rows,
            width=columns,
            seed=_SEED,
        )
        for kind in GENERATORS
    ]
    labels = [
        pseudo_labels(part, _CLUSTERS, _SEED) + position * _CLUSTERS
        for position, part in enumerate(images)
    ]
    network = convolutional.fit(
        torch.cat(images),
        torch.cat(labels),
        classes=_CLUSTERS * len(images),
        training=_TRAINING,
    )
    return _unit_scaled(network, torch.cat(images))


def digest(network: Convolutional) -> str:
    """Return the SHA-256 of the weights of an encoder, names and all, in hex."""
    sha = hashlib.sha256()
    for name, weights in sorted(network.state_dict().items()):
        sha.update(f"{name} {list(weights.shape)} ".encode())
        sha.update(weights.contiguous().numpy().astype("<f4").tobytes())
    return sha.hexdigest()


def as_seen(
    images: Float32[Tensor, "rows channels height width"],
) -> Float32[Tensor, "rows channels seen_height seen_width"]:
    """Shrink images to what the encoder takes, at most 32 pixels a side."""
    return functional.adaptive_avg_pool2d(images, _seen(*images.shape[2:]))


@torch.no_grad()
def _unit_scaled(network: Convolutional, images: Tensor) -> Convolutional:
    """Give features a mean square of 1 over the images the encoder learned from.

    The kernel distance depends on the scale of its features.
    """
    size = network.features(images).square().mean().sqrt()
    for weights in network.hidden.parameters():
        weights.div_(size)
    network.out.weight.mul_(size)
    return network


def _seen(height: int, width: int) -> tuple[int, int]:
    return min(height, _LONGEST_SIDE), min(width, _LONGEST_SIDE)
