"""Images with labels, private or public by type.

Whether a set is private is not a flag that a caller may forget: `PrivateImages` and
`PublicImages` are two classes, and a function that may only see public images says so
in its signature. A private set shows nothing of itself when printed, because a log
line or a traceback is a release nobody accounted for.

    uint8 [n, c, h, w], 0..255  --batch(indices)-->  float32 [b, c, h, w], -1..1

Pixels stay bytes until a batch is drawn: four times less memory, and the mapping
x / 127.5 - 1 is a public constant, never a minimum or maximum of the data. A set may
also leave its pixels in its files and read them when a batch is drawn (`PixelStore`),
and its records may belong to units of privacy (`Units`).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from diffusion.readers.captions import Captions, check_labels
from diffusion.readers.units import Units
from privplan import canonical
from privplan.errors import DataError, ParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class DataShape:
    """What a file's headers say of a data set.

    Attributes:
        records: Number of images, or of units where images belong to units. Under
            add-or-remove-one adjacency it is itself private, until the owner of the
            data declares it public.
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


@runtime_checkable
class PixelStore(Protocol):
    """Pixels that stay in their files until they are asked for."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (records, channels, height, width)."""
        ...

    def read(self, indices: Tensor) -> Tensor:
        """Return uint8 pixels [batch, channels, height, width] of some records."""
        ...

    def content_digest(self, classes: int) -> str:
        """Return a SHA-256 of all contents, labels and units, in hex; private."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageSet(ABC):
    """Images and their labels; use `PrivateImages` or `PublicImages`.

    Attributes:
        pixels: uint8, [records, channels, height, width]; or where they are stored.
        labels: int64 classes, [records], each in 0..classes-1; or which caption.
        classes: Number of classes; declared, never counted. 1 beside captions.
        units: Which records belong together; None if each stands for itself.
        captions: What labels pick, where records have captions and no classes.

    Raises:
        DataError: Wrong shape or type, not one label per image, a label out of range.
    """

    pixels: Tensor | PixelStore
    labels: Tensor
    classes: int
    units: Units | None = None
    captions: Captions | None = None
    is_private: ClassVar[bool]

    def __post_init__(self) -> None:
        _check_form(self.pixels, self.labels)
        if self.captions is None:
            _check_labels(self.labels, self.classes)
        else:
            check_labels(self.labels, self.captions, self.classes)

    @abstractmethod
    def __repr__(self) -> str:
        """Say what may be said of this set."""

    @property
    def images(self) -> Tensor:
        """All pixels, uint8; reads a stored set whole."""
        if isinstance(self.pixels, Tensor):
            return self.pixels
        return self.pixels.read(torch.arange(len(self.labels)))

    @property
    def contributors(self) -> int:
        """How many there are to sample from: units, or records without any."""
        return len(self.labels) if self.units is None else len(self.units)

    @property
    def shape(self) -> DataShape:
        """Number of records or units; channels, size and classes of the images."""
        _, channels, height, width = self.pixels.shape
        return DataShape(
            records=self.contributors,
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
        inside = (indices >= 0) & (indices < len(self.labels))
        if not bool(inside.all()):
            # torch would say how many records there are
            raise ParameterError(
                "an index lies outside the image set",
                hint="draw indices from 0 up to, not including, the number of records",
            )
        stored = self.pixels
        found = stored[indices] if isinstance(stored, Tensor) else stored.read(indices)
        return self._shown(found), self.labels[indices]

    def shown(
        self, chosen: Int64[Tensor, " batch"], *, seeds: Sequence[int], draws: int
    ) -> Int64[Tensor, " shown"]:
        """Return which records the draws of some contributors show.

        Args:
            chosen: Contributors, from `diffusion.poisson`.
            seeds: One for each, from `record_rows.record_seeds`.
            draws: K.

        Returns:
            The records themselves, or, where there are units, a record for each draw of
            each unit, K-major; either is what `record_rows.rows_at` takes.
        """
        if self.units is None:
            return chosen
        return self.units.shown(chosen, seeds=seeds, draws=draws)

    @property
    def measured(self) -> "ImageSet":
        """The set whose contents the digest is of."""
        return self

    def _shown(self, stored: Tensor) -> Tensor:
        """Turn what is stored into what a network is shown."""
        return stored.to(torch.float32) / 127.5 - 1.0


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


def data_digest(images: ImageSet) -> str:
    """Return the SHA-256 over shape, pixels and labels, in hex; order matters.

    Of a stored set, over shape, labels, units and the digest of each record's file
    content, whatever the bound on records per unit. Captions belong to it.

    Tells at resume whether the data are still the same. The digest of private images
    confirms a guess of the whole set, so it is itself private: keep it beside the
    data, or export a keyed commitment to it instead.

    Example:
        >>> pixels = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
        >>> data_digest(PublicImages(pixels, torch.tensor([0]), 1))[:16]
        '79c9ae9d2731350d'
    """
    images = images.measured
    if images.captions is not None:
        parts = [_content_digest(images), images.captions.digest]
        return canonical.digest({"form": "captioned/1", "parts": parts})
    return _content_digest(images)


def _content_digest(images: ImageSet) -> str:
    pixels = images.pixels
    if not isinstance(pixels, Tensor):
        return pixels.content_digest(images.classes)
    header = canonical.canonical_bytes(
        {"form": "images/1", "shape": [*pixels.shape], "classes": images.classes}
    )
    sha = hashlib.sha256(len(header).to_bytes(8, "big") + header)
    sha.update(pixels.contiguous().numpy().data)
    sha.update(images.labels.numpy().astype("<i8").data)
    return sha.hexdigest()


def _check_form(images: Tensor | PixelStore, labels: Tensor) -> None:
    bytes_ = not isinstance(images, Tensor) or images.dtype == torch.uint8
    if not bytes_ or len(images.shape) != 4 or images.shape[1] not in (1, 3):
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


def _check_labels(labels: Tensor, classes: int) -> None:
    # one message for every wrong label: which record has it is private
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise DataError(
            f"a label lies outside 0..{classes - 1}, the {classes} classes declared",
            hint="number classes from 0, or give the number of classes (--classes)",
        )
