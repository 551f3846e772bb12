"""The idx files of MNIST and its kin: big-endian header, then raw bytes.

    magic 0x00000803, records, height, width, pixels ...       images
    magic 0x00000801, records, labels ...                      labels

Source: LeCun, Cortes & Burges, "The MNIST database", section "File formats".
"""

import gzip
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion.readers.image_set import DataShape
from diffusion.readers.records import (
    Records,
    Split,
    allow_size,
    refusing,
    resized_stack,
)
from privplan.errors import DataError

DEFAULT_CLASSES = 10
_IMAGES = "-images-idx3-ubyte"
_LABELS = "-labels-idx1-ubyte"
_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
_ENDINGS = ("", ".gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdxFiles:
    """One split: a file of images and the file of their labels.

    Attributes:
        source: What the user typed; the only path that messages name.
        images: The file of images, gzip where it ends in .gz.
        labels: The file of labels.
        classes: Number of classes; no header tells it.
    """

    source: Path
    images: Path
    labels: Path
    classes: int

    def shape(self) -> DataShape:
        """Read both headers.

        Raises:
            DataError: A file cannot be read, is not idx, or the two do not match.
        """
        records, height, width = _header(self._name("images"), self.images, axes=3)
        (labels,) = _header(self._name("labels"), self.labels, axes=1)
        if labels != records:
            raise DataError(
                f"the labels in '{self.source}' do not match its images",
                hint="give an image file and a label file of the same split",
            )
        return DataShape(
            records=records,
            channels=1,
            height=height,
            width=width,
            classes=self.classes,
        )

    def read(self, image_size: int | None) -> Records:
        """Read both files; resize to a square of `image_size` where given.

        Raises:
            DataError: As `shape`, or a file is longer or shorter than its header says.
        """
        shape = self.shape()
        size = (shape.records, shape.height, shape.width)
        pixels = _body(self._name("images"), self.images, size)
        labels = _body(self._name("labels"), self.labels, size[:1])
        return Records(
            pixels=resized_stack(pixels[..., None], image_size),
            labels=labels.astype(np.int64),
        )

    def _name(self, part: str) -> str:
        return f"the idx file of {part} in '{self.source}'"


def is_idx(source: Path) -> bool:
    """Tell, from names alone, a file of idx images or a folder of the files of MNIST.

    Example:
        >>> is_idx(Path("images.npz"))
        False
    """
    if source.is_dir():
        names = (f"{prefix}{_IMAGES}" for prefix in _PREFIX.values())
        return any(_existing(source / name) for name in names)
    return source.is_file() and source.name.removesuffix(".gz").endswith(_IMAGES)


def find_idx(source: Path, split: Split, classes: int) -> IdxFiles:
    """Pair the images of a split with their labels.

    Args:
        source: A folder with the files of MNIST, plain or .gz; or one file of images,
            which is then the training split, its labels beside it.
        split: "train" or "test".
        classes: Number of classes.

    Raises:
        DataError: One of the two files is missing.
    """
    images: Path | None
    if source.is_dir():
        images = _existing(source / f"{_PREFIX[split]}{_IMAGES}")
    elif split == "train":
        images = source
    else:
        raise DataError(
            f"'{source}' is one file and so has no test split",
            hint="give the folder that holds the files of both splits",
        )
    if images is None:
        raise DataError(
            f"'{source}' holds no idx images of the {split} split",
            hint=f"name the file {_PREFIX[split]}{_IMAGES} or ...{_IMAGES}.gz",
        )
    stem = images.name.removesuffix(".gz").removesuffix(_IMAGES)
    labels = _existing(images.with_name(f"{stem}{_LABELS}"))
    if labels is None:
        raise DataError(
            f"the idx images in '{source}' have no labels beside them",
            hint=f"put the file that ends in {_LABELS} into the same folder",
        )
    return IdxFiles(source=source, images=images, labels=labels, classes=classes)


def _existing(plain: Path) -> Path | None:
    candidates = (plain.with_name(plain.name + ending) for ending in _ENDINGS)
    return next((path for path in candidates if path.exists()), None)


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def _header(what: str, path: Path, *, axes: int) -> tuple[int, ...]:
    with refusing(what):
        stored = path.stat().st_size
        with _open(path) as file:
            head = file.read(4 + 4 * axes)
    if len(head) < 4 + 4 * axes:
        raise DataError(f"{what} is empty or cut short", hint="copy the file again")
    magic, *size = struct.unpack(f">{1 + axes}I", head)
    if magic != 0x0800 + axes:
        raise DataError(
            f"{what} does not begin like an idx file of {axes} axes",
            hint="give the original file; was it unpacked or renamed on the way?",
        )
    packed = path.suffix == ".gz"
    decoded = int(np.prod(size, dtype=object))
    allow_size(what, decoded=decoded, stored=stored if packed else None)
    if not packed and stored != len(head) + decoded:
        raise DataError(
            f"{what} is longer or shorter than its header says",
            hint="copy the file again",
        )
    return tuple(size)


def _body(what: str, path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    expected = int(np.prod(size))
    with refusing(what), _open(path) as file:
        file.seek(4 + 4 * len(size))
        # one byte more than expected: shows what follows, and checks gzip's own sum
        body = file.read(expected + 1)
    if len(body) != expected:
        raise DataError(
            f"{what} is longer or shorter than its header says",
            hint="copy the file again",
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(size)
