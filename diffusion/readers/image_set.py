"""Images with labels, private or public by type.

Whether a set is private is not a flag that a caller may forget: `PrivateImages` and
`PublicImages` are two classes, and a function that may only see public images says so
in its signature. A private set shows nothing of itself when printed, because a log
line or a traceback is a release nobody accounted for.

    uint8 [n, c, h, w], 0..255  --batch(indices)-->  float32 [b, c, h, w], -1..1

Pixels stay bytes until a batch is drawn: four times less memory, and the mapping
x / 127.5 - 1 is a public constant, never a minimum or maximum of the data.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from privplan import canonical
from privplan.errors import DataError, ParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class DataShape:
    """What a file's headers say of a data set.

    Attributes:
        records: Number of images. Under add-or-remove-one adjacency it is itself
            private, until the owner of the data declares it public.
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
        classes: Number of classes; labels are 0..classes-1.
    """

    records: int
    channels: int
    height: int
    width: int
    classes: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageSet(ABC):
    """Images and their labels; use `PrivateImages` or `PublicImages`.

    Attributes:
        images: uint8 pixels, [records, channels, height, width].
        labels: int64 classes, [records], each in 0..classes-1.
        classes: Number of classes; declared, never counted.

    Raises:
        DataError: Wrong shape or type, not one label per image, a label out of range.
    """

    images: Tensor
    labels: Tensor
    classes: int
    is_private: ClassVar[bool]

    def __post_init__(self) -> None:
        _check(self.images, self.labels, self.classes)

    @abstractmethod
    def __repr__(self) -> str:
        """Say what may be said of this set."""

    @property
    def shape(self) -> DataShape:
        """Number, channels, size and classes of the images."""
        records, channels, height, width = self.images.shape
        return DataShape(
            records=records,
            channels=channels,
            height=height,
            width=width,
            classes=self.classes,
        )

    def batch(
        self, indices: Int64[Tensor, " batch"]
    ) -> tuple[Float32[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]:
        """Return the chosen images, in [-1, 1], with their labels.

        A Poisson batch may be empty: no indices give tensors of length zero.

        Args:
            indices: Positions of the records; order and repeats are kept.

        Raises:
            ParameterError: An index is negative or beyond the last record.

        Example:
            >>> pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
            >>> some = PublicImages(pixels, torch.tensor([1, 0]), 2)
            >>> images, labels = some.batch(torch.tensor([1]))
            >>> images.item(), labels.item()
            (1.0, 0)
        """
        _check_inside(indices, self.images.shape[0])
        pixels = self.images[indices].to(torch.float32)
        return pixels / 127.5 - 1.0, self.labels[indices]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PrivateImages(ImageSet):
    """Images whose every use is charged or stays local.

    Example:
        >>> pixels = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
        >>> PrivateImages(pixels, torch.tensor([0]), 1)
        PrivateImages(hidden)
    """

    is_private: ClassVar[bool] = True

    def __repr__(self) -> str:
        return "PrivateImages(hidden)"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PublicImages(ImageSet):
    """Images that anyone may see; their use costs nothing."""

    is_private: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"PublicImages({self.shape})"


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PrivateLatents(PrivateImages):
    """Private images as a public autoencoder sees them; kept in memory alone.

    Attributes:
        origin: The images they are of; the digest of the set is theirs.
    """

    origin: PrivateImages

    def __post_init__(self) -> None:
        _check_latents(self.images, self.origin)

    def batch(
        self, indices: Int64[Tensor, " batch"]
    ) -> tuple[Float32[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]:
        """Return the chosen latents with their labels; else as `ImageSet.batch`."""
        _check_inside(indices, len(self.labels))
        return self.images[indices], self.labels[indices]


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PublicLatents(PublicImages):
    """Public images as an autoencoder sees them.

    Attributes:
        origin: The images they are of; the digest of the set is theirs.
    """

    origin: PublicImages

    def __post_init__(self) -> None:
        _check_latents(self.images, self.origin)

    def batch(
        self, indices: Int64[Tensor, " batch"]
    ) -> tuple[Float32[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]:
        """Return the chosen latents with their labels; else as `ImageSet.batch`."""
        _check_inside(indices, len(self.labels))
        return self.images[indices], self.labels[indices]


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
    origin = PrivateImages(pixels[:, :1], labels, classes)
    return PrivateLatents(pixels.float() / 127.5 - 1.0, labels, classes, origin)


def data_digest(images: ImageSet) -> str:
    """Return the SHA-256 over shape, pixels and labels, in hex; order matters.

    Tells at resume whether the data are still the same. The digest of private images
    confirms a guess of the whole set, so it is itself private: keep it beside the
    data, or export a keyed commitment to it instead.

    Example:
        >>> pixels = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
        >>> data_digest(PublicImages(pixels, torch.tensor([0]), 1))[:16]
        '79c9ae9d2731350d'
    """
    if isinstance(images, PrivateLatents | PublicLatents):
        return data_digest(images.origin)
    header = canonical.canonical_bytes(
        {"form": "images/1", "shape": [*images.images.shape], "classes": images.classes}
    )
    sha = hashlib.sha256(len(header).to_bytes(8, "big") + header)
    sha.update(images.images.contiguous().numpy().data)
    sha.update(images.labels.numpy().astype("<i8").data)
    return sha.hexdigest()


def _check_inside(indices: Tensor, records: int) -> None:
    inside = (indices >= 0) & (indices < records)
    if not bool(inside.all()):
        # torch would say how many records there are
        raise ParameterError(
            "an index lies outside the image set",
            hint="draw indices from 0 up to, not including, the number of records",
        )


def _check_latents(latents: Tensor, origin: ImageSet) -> None:
    if latents.ndim != 4 or latents.dtype != torch.float32:
        raise DataError(
            "the latents are not float32 numbers [records, channels, height, width]",
            hint="encode images with diffusion.latents",
        )
    if len(latents) != len(origin.images):
        raise DataError(
            "latents and images do not match: there must be one latent for every image",
            hint="encode images with diffusion.latents",
        )


def _check(images: Tensor, labels: Tensor, classes: int) -> None:
    if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise DataError(
            "the images are not uint8 pixels of shape [records, 1 or 3, height, width]",
            hint="give grey or RGB images with values 0..255",
        )
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise DataError(
            "the labels are not one row of int64 numbers",
            hint="give one whole number per image",
        )
    if labels.shape[0] != images.shape[0]:
        raise DataError(
            "labels and images do not match: there must be one label for every image",
            hint="check that images and labels come from the same split",
        )
    # one message for every wrong label: which record has it is private
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise DataError(
            f"a label lies outside 0..{classes - 1}, the {classes} classes declared",
            hint="number classes from 0, or give the number of classes (--classes)",
        )
