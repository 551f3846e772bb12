"""The images of a phase that reads no record: drawn by programs, or public.

A synthetic pool is drawn once from the plan's public seed. Its labels are clusters,
found without looking at any record, so that the network learns what a label is for
before it meets a real one.

A public pool takes images that a plan names by their digest, brings them to its size,
and takes their labels too if there are as many classes as the plan has; else clusters.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from diffusion.data import PublicImages
from diffusion.readers.latent_set import PublicLatents
from diffusion.synthetic import generate, pseudo_labels
from privplan.errors import DataError
from privplan.plan import PlanShape, PublicPhase, SyntheticPhase

POOL_SIZE = 16384
_IMAGES_AT_ONCE = 1024

Batch = tuple[Float[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]


class Pool(ABC):
    """Labelled images that cost nothing."""

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """Return the images of one step; the same for the same step."""

    @abstractmethod
    def pieces(self) -> Iterator[Batch]:
        """Return every image once, in pieces that fit into memory."""


class SyntheticPool(Pool):
    """Labelled synthetic images, the same for the same plan."""

    def __init__(self, data: PlanShape, phase: SyntheticPhase) -> None:
        self._pictures = generate(
            phase.generator,
            max(min(POOL_SIZE, phase.steps * phase.batch_size), data.classes),
            channels=data.channels,
            height=data.height,
            width=data.width,
            seed=phase.seed,
        )
        self._labels = pseudo_labels(self._pictures, data.classes, phase.seed)
        self._phase = phase

    def batch(self, step: int) -> Batch:
        """Return the images of one step; the same for the same step."""
        chosen = _chosen(
            len(self._labels), self._phase.batch_size, self._phase.seed + step
        )
        return self._pictures[chosen], self._labels[chosen]

    def pieces(self) -> Iterator[Batch]:
        """Return every image once, in pieces that fit into memory."""
        return zip(
            torch.split(self._pictures, _IMAGES_AT_ONCE),
            torch.split(self._labels, _IMAGES_AT_ONCE),
            strict=True,
        )


class PublicPool(Pool):
    """Public images in the size of a plan.

    Raises:
        DataError: They have other colour channels than the plan declares, or there are
            fewer of them than classes.
    """

    def __init__(
        self, data: PlanShape, phase: PublicPhase, images: PublicImages, *, seed: int
    ) -> None:
        if isinstance(images, PublicLatents):
            _check_size(data, images)
        if images.shape.channels != data.channels:
            raise DataError(
                f"the public images have {images.shape.channels} colour channels, the "
                f"plan declares {data.channels}",
                hint="give public images of the same kind, all grey or all RGB; to "
                "pretrain for RGB, add --channels 3",
            )
        if images.shape.records < data.classes:
            raise DataError(
                f"{images.shape.records} public images cannot fill "
                f"{data.classes} classes",
                hint="give more public images",
            )
        self._images = resized(images, height=data.height, width=data.width)
        self._labels = (
            images.labels
            if images.classes == data.classes
            else pseudo_labels(self._images, data.classes, seed)
        )
        self._batch_size, self._seed = phase.batch_size, seed

    def batch(self, step: int) -> Batch:
        """Return the images of one step; the same for the same step."""
        chosen = _chosen(len(self._labels), self._batch_size, self._seed + step)
        return self._images.batch(chosen)[0], self._labels[chosen]

    def pieces(self) -> Iterator[Batch]:
        """Return every image once, in pieces that fit into memory."""
        for chosen in torch.split(torch.arange(len(self._labels)), _IMAGES_AT_ONCE):
            yield self._images.batch(chosen)[0], self._labels[chosen]


def _check_size(data: PlanShape, images: PublicLatents) -> None:
    """Latents are brought to no other size: what they mean hangs on it."""
    if (images.shape.height, images.shape.width) != (data.height, data.width):
        raise DataError(
            "the latents of these public images have another size than the plan's",
            hint="give --image-size, so that images are resized before that",
        )


def resized(images: PublicImages, *, height: int, width: int) -> PublicImages:
    """Bring public images to another size, with antialiasing.

    Args:
        images: Public images of any size.
        height: In pixels.
        width: In pixels.

    Example:
        >>> pixels = torch.full((2, 1, 4, 4), 7, dtype=torch.uint8)
        >>> some = PublicImages(pixels, torch.tensor([0, 1]), 2)
        >>> resized(some, height=2, width=3).images[0, 0].tolist()
        [[7, 7, 7], [7, 7, 7]]
    """
    if images.images.shape[2:] == (height, width):
        return images
    parts = [
        functional.interpolate(
            part.float(), size=(height, width), mode="bilinear", antialias=True
        )
        for part in torch.split(images.images, _IMAGES_AT_ONCE)
    ]
    pixels = torch.cat(parts).round().clamp(0, 255).to(torch.uint8)
    return PublicImages(pixels, images.labels, images.classes)


def _chosen(images: int, batch_size: int, seed: int) -> Int64[Tensor, " batch"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(images, (batch_size,), generator=generator)
