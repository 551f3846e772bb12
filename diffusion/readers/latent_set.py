"""Images as an autoencoder sees them: sets of latents, private or public by type.

A set of latents stands in for the images it is of: the same records, labels and units
of privacy, and the digest of the images themselves, so that a ledger or a register
knows the data again whatever autoencoder they went through.

    images  --encode, once, in memory-->  float32 [n, c, h, w]  --batch(indices)-->

Latents are numbers already and are shown as they are.
"""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from diffusion.readers.image_set import (
    ImageSet,
    PixelStore,
    PrivateImages,
    PublicImages,
)
from privplan.errors import DataError


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PrivateLatents(PrivateImages):
    """Private images as a public autoencoder sees them; kept in memory alone.

    Attributes:
        origin: The images they are of; the digest of the set is theirs.

    Raises:
        DataError: Not float32 numbers, or not one latent for every image.
    """

    origin: PrivateImages = field(kw_only=True)

    def __post_init__(self) -> None:
        _check(self.pixels, self.origin)

    @property
    def measured(self) -> ImageSet:
        """The images themselves."""
        return self.origin.measured

    def _shown(self, stored: Tensor) -> Tensor:
        return stored


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PublicLatents(PublicImages):
    """Public images as an autoencoder sees them.

    Attributes:
        origin: The images they are of; the digest of the set is theirs.

    Raises:
        DataError: Not float32 numbers, or not one latent for every image.
    """

    origin: PublicImages = field(kw_only=True)

    def __post_init__(self) -> None:
        _check(self.pixels, self.origin)

    @property
    def measured(self) -> ImageSet:
        """The images themselves."""
        return self.origin.measured

    def _shown(self, stored: Tensor) -> Tensor:
        return stored


def of_private(latents: Tensor, images: PrivateImages) -> PrivateLatents:
    """Put latents in the place of the private images they are of.

    Args:
        latents: One for each record, in their order.
        images: The records, with their labels, units and captions.
    """
    return PrivateLatents(
        latents,
        images.labels,
        images.classes,
        images.units,
        images.captions,
        origin=images,
    )


def of_public(latents: Tensor, images: PublicImages) -> PublicLatents:
    """Put latents in the place of the public images they are of; else as above."""
    return PublicLatents(
        latents, images.labels, images.classes, images.units, origin=images
    )


def made_up(pixels: Tensor, labels: Tensor, classes: int) -> PrivateImages:
    """Return pixels that nobody sent as private images, or as latents of such.

    Args:
        pixels: 0..255, shape (n, channels, height, width); channels beyond those of an
            image are taken for latents.
        labels: Their classes.
        classes: Number of classes.

    Example:
        >>> pixels = torch.zeros(2, 4, 3, 3, dtype=torch.uint8)
        >>> made_up(pixels, torch.tensor([0, 1]), 2).shape.channels
        4
    """
    if pixels.shape[1] in (1, 3):
        return PrivateImages(pixels, labels, classes)
    images = PrivateImages(pixels[:, :1], labels, classes)
    return of_private(pixels.float() / 127.5 - 1.0, images)


def part(images: PrivateImages, which: Tensor) -> PrivateImages:
    """Return some of what `made_up` returned.

    Args:
        images: Images or latents without units of privacy.
        which: Positions, or one truth value for each.

    Example:
        >>> pixels = torch.zeros(2, 4, 3, 3, dtype=torch.uint8)
        >>> part(made_up(pixels, torch.tensor([0, 1]), 2), torch.tensor([1])).labels
        tensor([1])
    """
    if isinstance(images, PrivateLatents):
        return of_private(images.images[which], part(images.origin, which))
    return PrivateImages(images.images[which], images.labels[which], images.classes)


def _check(latents: Tensor | PixelStore, origin: ImageSet) -> None:
    numbers = isinstance(latents, Tensor) and latents.dtype == torch.float32
    if not numbers or len(latents.shape) != 4:
        raise DataError(
            "the latents are not float32 numbers [records, channels, height, width]",
            hint="encode images with diffusion.latents",
        )
    if latents.shape[0] != len(origin.labels):
        raise DataError(
            "latents and images do not match: there must be one latent for every image",
            hint="encode images with diffusion.latents",
        )
