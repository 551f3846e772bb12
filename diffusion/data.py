"""The door through which images come in; public or private is part of the type.

    source --describe--> DataShape                     headers only, for planning
           --load_private--> PrivateImages             for charged steps, or local use
           --load_public---> PublicImages              for free ones

A source is the word "digits" (the set that comes with scikit-learn) or a path: a
folder with the idx files of MNIST or one such file, an .npz archive, a folder of
images with one subfolder per class or a labels.csv, tar or Arrow shards or a folder of
them, or an index of either. Each form has a file of its own in `diffusion/readers`,
which says exactly what it accepts. Shards, very large folders and data with a unit of
privacy are read through an index and stay in their files, see `readers/indexed.py`.

Pixels are bytes 0..255 and become [-1, 1] by a public constant. The number of classes
is declared: by the caller, by the names of folders or keys in the file, else 10. It is
never counted from labels. Messages name the path that was typed and nothing inside it.

Edges: reads files; writes indexes, no other.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from diffusion.readers import embedded_digits, idx
from diffusion.readers.captions import Captions
from diffusion.readers.embedded_digits import EmbeddedDigits
from diffusion.readers.entries import no_column
from diffusion.readers.folder import find_images
from diffusion.readers.image_set import (
    DataShape,
    ImageSet,
    PixelStore,
    PrivateImages,
    PublicImages,
    data_digest,
)
from diffusion.readers.indexed import IndexedSet, open_indexed
from diffusion.readers.npz import NpzFile
from diffusion.readers.records import Reader, Split, refusing
from diffusion.readers.units import Units
from privplan import checks
from privplan.budget import PrivacyUnit
from privplan.errors import DataError, ParameterError, PolicyError

__all__ = [
    "EMBEDDED",
    "DataShape",
    "ImageSet",
    "PrivateImages",
    "PublicImages",
    "Split",
    "data_digest",
    "describe",
    "load_private",
    "load_public",
    "public_digest",
    "require_private",
]

EMBEDDED = "digits"
MAX_IMAGE_SIZE = 4096


def describe(
    source: str,
    *,
    image_size: int | None = None,
    classes: int | None = None,
    unit: PrivacyUnit | None = None,
    captions: str | None = None,
) -> DataShape:
    """Say what a source holds, from headers and file lists alone.

    No private pixel is decoded and no label is looked at, so a plan may be made from
    this. `records` counts the training split; using it in a plan declares it public.
    Of indexed data the index says as much; where there is none, it is made first.

    Args:
        source: "digits", or a path; see the module.
        image_size: Side of the square that images would be resized to, in pixels.
        classes: Number of classes, where the source does not tell or tells wrong.
        unit: The column that says whose a record is, and the bound; then `records`
            counts units.
        captions: The column of captions, which stand in for classes.

    Raises:
        DataError: The source is missing, damaged, in no form that is read here, or has
            no such column.
        ParameterError: `image_size` or `classes` is not a whole number of at least 1.

    Example:
        >>> describe("digits")
        DataShape(records=1437, channels=1, height=8, width=8, classes=10)
    """
    large = _large(source, "train", image_size, classes, unit, captions)
    if large is not None:
        large.check_captions()
        return large.shape(image_size)
    shape = _reader(source, "train", classes).shape()
    if image_size is None:
        return shape
    return replace(shape, height=image_size, width=image_size)


def load_private(
    source: str,
    *,
    split: Split = "train",
    image_size: int | None = None,
    classes: int | None = None,
    unit: PrivacyUnit | None = None,
    captions: str | None = None,
) -> PrivateImages:
    """Load images whose every use must be charged or stay local.

    Args:
        source: "digits", or a path; see the module.
        split: "train" or "test".
        image_size: Resize every image to a square of this side, in pixels.
        classes: Number of classes, where the source does not tell or tells wrong.
        unit: The column that says whose a record is, and the most records of one unit;
            more are left out, by a rule that looks at that unit alone.
        captions: The column of captions, which stand in for classes.

    Raises:
        DataError: The source is missing, damaged, in no form that is read here, has no
            such column, or a label is not in 0..classes-1.
        ParameterError: A parameter has a value that is not allowed.

    Example:
        >>> load_private("digits", split="test")
        PrivateImages(hidden)
    """
    return PrivateImages(*_load(source, split, image_size, classes, unit, captions))


def load_public(
    source: str,
    *,
    split: Split = "train",
    image_size: int | None = None,
    classes: int | None = None,
) -> PublicImages:
    """Load images that anyone may see; arguments and errors as `load_private`.

    Example:
        >>> load_public("digits", split="test", image_size=4).shape.height
        4
    """
    return PublicImages(*_load(source, split, image_size, classes, None))


def require_private(images: object) -> None:
    """Require records, and not something that hands out batches of its own choice.

    A loader shuffles, weights or repeats as it likes; what a step costs is known only
    for the batches that `diffusion.poisson` draws.

    Raises:
        ParameterError: It is something else.
    """
    if not isinstance(images, PrivateImages):
        raise ParameterError(
            "the records must be PrivateImages, not a loader or a data set of torch",
            hint="take them from diffusion.data.load_private",
        )


def public_digest(images: PublicImages) -> str:
    """Return the SHA-256 of public images, as a plan names them; order matters.

    Of the images as they are, before a run brings them to the size of its plan.

    Raises:
        PolicyError: The images are private: their digest would be a release.

    Example:
        >>> public_digest(load_public("digits", image_size=4))[:8]
        'f8ce89f8'
    """
    if images.is_private:
        raise PolicyError(
            "the digest of private images would be an uncharged release",
            hint="give public images",
        )
    return data_digest(images)


def _load(
    source: str,
    split: Split,
    image_size: int | None,
    classes: int | None,
    unit: PrivacyUnit | None,
    captions: str | None = None,
) -> tuple[torch.Tensor | PixelStore, torch.Tensor, int, Units | None, Captions | None]:
    large = _large(source, split, image_size, classes, unit, captions)
    if large is not None:
        return large.load(image_size)
    reader = _reader(source, split, classes)
    records = reader.read(image_size)
    # a copy of our own: torch warns of the read-only memory of a file
    pixels = np.array(records.pixels.transpose(0, 3, 1, 2), order="C")
    labels = torch.from_numpy(np.array(records.labels))
    return torch.from_numpy(pixels), labels, reader.shape().classes, None, None


def _large(
    source: str,
    split: Split,
    image_size: int | None,
    classes: int | None,
    unit: PrivacyUnit | None,
    captions: str | None,
) -> IndexedSet | None:
    """Open what is read through an index; None for what is read whole."""
    _check_parameters(split, image_size, classes)
    path, found = Path(source), None
    if source != EMBEDDED:
        with refusing(f"'{source}'"):
            path.stat()
            if not idx.is_idx(path):
                found = open_indexed(
                    path, split, classes=classes, unit=unit, captions=captions
                )
    if found is None and unit is not None:
        raise no_column(unit.name, path)
    if found is None and captions is not None:
        raise no_column(captions, path)
    return found


def _reader(source: str, split: Split, classes: int | None) -> Reader:
    if source == EMBEDDED:
        return EmbeddedDigits(split=split, classes=classes or embedded_digits.CLASSES)
    path = Path(source)
    with refusing(f"'{source}'"):
        if idx.is_idx(path):
            return idx.find_idx(path, split, classes or idx.DEFAULT_CLASSES)
        if path.is_dir():
            return find_images(path, split, classes)
        if path.is_file() and path.suffix.lower() == ".npz":
            return NpzFile(source=path, split=split, classes=classes)
    raise DataError(
        f"'{source}' is not a data set that can be read",
        hint="give a folder of images or of shards, idx files, an .npz, or 'digits'",
    )


def _check_parameters(split: str, image_size: int | None, classes: int | None) -> None:
    if split not in ("train", "test"):
        raise ParameterError(f"split is {split!r}", hint="give 'train' or 'test'")
    if classes is not None:
        checks.count(classes=classes)
    if image_size is not None:
        checks.count(image_size=image_size)
        if image_size > MAX_IMAGE_SIZE:
            raise ParameterError(
                f"image_size is {image_size}, but it must be at most {MAX_IMAGE_SIZE}",
                hint="give the side of the images in pixels, such as 32",
            )
