"""Images made by programs: endless, public, the same for everyone with the seed.

They cost no privacy, so a plan may train on as many as it likes, and a verifier can
make the very same ones. Five kinds and two mixtures:

    "dead-leaves"       opaque shapes of all sizes; a natural spectrum
    "strokes"           glyphs of one to three pen strokes, bright on dark
    "spectra"           coloured and wavelet noise
    "scenes"            shaded balls and drums on a floor
    "random-networks"   outputs of untrained convolutional networks
    "mix"               the five in equal parts
    "drawings"          six parts strokes, one part of each other kind

Images come in blocks, each seeded by kind, size, seed and its own number. So the first
hundred images are the same whether a hundred or a million are asked for, and `stream`
goes on where `generate` stopped. Equal to the last bit on one machine with one number
of threads; elsewhere to float rounding.

Pseudo-labels are clusters: they carry no meaning, but they teach a network what a
label is for before it meets a real one.
"""

from collections.abc import Callable, Iterator
from itertools import count as count_from
from typing import overload

import torch
from jaxtyping import Float, Float32, Int64
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from torch.nn import functional

from diffusion.generators.canvas import Canvas
from diffusion.generators.dead_leaves import dead_leaves
from diffusion.generators.draws import Draws
from diffusion.generators.random_networks import random_networks
from diffusion.generators.scenes import scenes
from diffusion.generators.spectra import spectra
from diffusion.generators.strokes import strokes
from diffusion.readers.image_set import ImageSet, PublicImages
from privplan import checks
from privplan.errors import ParameterError, PolicyError

BLOCK = 256
"""Images per block and kind: enough to keep torch busy, few enough for the cache."""

MIX = "mix"
DRAWINGS = "drawings"
GENERATORS: dict[str, Callable[[Canvas, Draws], Tensor]] = {
    "dead-leaves": dead_leaves,
    "strokes": strokes,
    "spectra": spectra,
    "scenes": scenes,
    "random-networks": random_networks,
}
KINDS = (*GENERATORS, MIX, DRAWINGS)

_STROKES_PER_OTHER = 6
_FEATURE_SIDE = 8
_CLUSTER_FIT = 8192


def generate(
    kind: str, count: int, *, channels: int, height: int, width: int, seed: int
) -> Float32[Tensor, "count channels height width"]:
    """Make images from a public seed.

    Args:
        kind: One of `KINDS`.
        count: How many images.
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
        seed: Public; equal seeds give equal images.

    Returns:
        Images in [-1, 1].

    Raises:
        ParameterError: An unknown kind, or a number that is not allowed.

    Example:
        >>> generate("mix", 3, channels=1, height=8, width=8, seed=0).shape
        torch.Size([3, 1, 8, 8])
    """
    checks.count(count=count)
    batches = stream(
        kind, count, channels=channels, height=height, width=width, seed=seed
    )
    return next(batches)


def stream(
    kind: str, batch: int, *, channels: int, height: int, width: int, seed: int
) -> Iterator[Float32[Tensor, "batch channels height width"]]:
    """Make fresh images without end; arguments and errors as `generate`.

    The batches, laid end to end, are what `generate` returns for their total.

    Example:
        >>> batches = stream("strokes", 4, channels=1, height=8, width=8, seed=0)
        >>> first, second = next(batches), next(batches)
        >>> bool((first == second).all())
        False
    """
    checks.count(batch=batch, height=height, width=width)
    if channels not in (1, 3):
        raise ParameterError(
            f"channels is {channels!r}, but it must be 1 or 3",
            hint="give 1 for grey images or 3 for RGB",
        )
    if kind not in KINDS:
        raise ParameterError(
            f"kind is {kind!r}, which no generator makes",
            hint="give one of " + ", ".join(KINDS),
        )
    canvas = Canvas(count=BLOCK, channels=channels, height=height, width=width)
    return _batches(kind, batch, canvas, seed)


def _batches(kind: str, batch: int, canvas: Canvas, seed: int) -> Iterator[Tensor]:
    waiting: list[Tensor] = []
    ready = 0
    for number in count_from():
        waiting.append(_block(kind, canvas, seed, number))
        ready += len(waiting[-1])
        if ready < batch:
            continue
        images = torch.cat(waiting)
        while len(images) >= batch:
            yield images[:batch].clone()
            images = images[batch:]
        waiting, ready = [images], len(images)


def _block(
    kind: str, canvas: Canvas, seed: int, number: int
) -> Float32[Tensor, "n c h w"]:
    size = f"{canvas.channels}x{canvas.height}x{canvas.width}"
    draws = Draws(f"privplan synthetic 1: {kind} {size} seed {seed} block {number}")
    if kind in GENERATORS:
        return GENERATORS[kind](canvas, draws)
    blocks = [(each, number) for each in GENERATORS]
    if kind == DRAWINGS:
        first = number * _STROKES_PER_OTHER
        blocks = [(each, number) for each in GENERATORS if each != "strokes"]
        blocks += [("strokes", first + more) for more in range(_STROKES_PER_OTHER)]
    parts = torch.cat([_block(each, canvas, seed, at) for each, at in blocks])
    return parts[draws.permutation(len(parts))]


@overload
def pseudo_labels(images: Tensor, classes: int, seed: int) -> Tensor: ...
@overload
def pseudo_labels(images: PublicImages, classes: int, seed: int) -> Tensor: ...
def pseudo_labels(
    images: Float[Tensor, "n channels height width"] | ImageSet,
    classes: int,
    seed: int,
) -> Int64[Tensor, " n"]:
    """Label public images by the cluster they fall into.

    Clusters of k-means on the image shrunk to 8x8, mean and contrast removed, so that
    they are about shape more than brightness.

    Args:
        images: Synthetic images in [-1, 1], or a public set. At least `classes`.
        classes: Number of clusters.
        seed: Public; equal seeds give equal labels.

    Returns:
        One label in 0..classes-1 per image.

    Raises:
        PolicyError: The images are private: their clusters would be a release.
        ParameterError: Fewer images than classes.

    Example:
        >>> images = generate("strokes", 50, channels=1, height=8, width=8, seed=0)
        >>> labels = pseudo_labels(images, classes=5, seed=0)
        >>> labels.shape, labels.unique().tolist()
        (torch.Size([50]), [0, 1, 2, 3, 4])
    """
    if isinstance(images, ImageSet):
        if images.is_private:
            raise PolicyError(
                "pseudo-labels of private images would be an uncharged release",
                hint="give public or synthetic images",
            )
        images = images.images / 127.5 - 1.0
    checks.count(classes=classes)
    if len(images) < classes:
        raise ParameterError(
            f"{len(images)} images cannot fill {classes} classes",
            hint="give at least as many images as classes",
        )
    features = _features(images).numpy()
    clusters = MiniBatchKMeans(
        n_clusters=classes, random_state=seed % 2**32, n_init=3, batch_size=1024
    )
    clusters.fit(features[:_CLUSTER_FIT])
    return torch.from_numpy(clusters.predict(features)).to(torch.int64)


def _features(images: Float[Tensor, "n c h w"]) -> Float32[Tensor, "n features"]:
    small = functional.adaptive_avg_pool2d(images.to(torch.float32), _FEATURE_SIDE)
    flat = small.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    return centred / centred.std(1, keepdim=True, correction=0).clamp(min=1e-3)
