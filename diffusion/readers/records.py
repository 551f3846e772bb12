"""What a reader is, and how it says no.

A reader answers twice: `shape()` from headers alone, before any private pixel is
decoded, and `read()` with everything. Files may be broken, hostile or simply not
what their name says, so decoding happens inside `refusing(...)`, which turns what a
decoder raises into one DataError. The decoder's own words are dropped on purpose:
they quote file names, sizes and bytes from inside a private folder.

Units: sizes in bytes, one per pixel and channel.
"""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.readers.image_set import DataShape
from privplan.errors import DataError

Split = Literal["train", "test"]

MAX_DECODED_BYTES = 16 * 1024**3
DEFLATE_LIMIT = 1032
"""No deflate stream grows by more than this factor (zlib technical details)."""

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted zip member
    NotImplementedError,  # a zip compression this Python lacks
    zlib.error,
    zipfile.BadZipFile,
)
_REASONS = {
    errno.ENOENT: ("does not exist", "check the path"),
    errno.EACCES: ("may not be read by this user", "change its permissions"),
    errno.EPERM: ("may not be read by this user", "change its permissions"),
    errno.ELOOP: ("is a symbolic link that leads in a circle", "repair the link"),
}


class Records(NamedTuple):
    """Everything a reader found.

    Attributes:
        pixels: uint8, [records, height, width, channels].
        labels: int64, [records].
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


@runtime_checkable
class Reader(Protocol):
    """One data set in one form, already found but not yet decoded."""

    def shape(self) -> DataShape:
        """Read headers only."""

    def read(self, image_size: int | None) -> Records:
        """Decode everything; resize to a square of `image_size` where given."""


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn a decoder's failure into a DataError that names `what` and nothing else.

    Args:
        what: What is being read, in words that may be shown: the path that the user
            typed, or "an image in" it.

    Example:
        >>> with refusing("'photos.npz'"):
        ...     raise zipfile.BadZipFile("secret.png")
        Traceback (most recent call last):
        privplan.errors.DataError: 'photos.npz' is damaged, cut short or of another \
kind. To fix: copy the file again and check that it is of the kind its name says
    """
    try:
        yield
    except _BROKEN as error:
        number = error.errno if isinstance(error, OSError) else None
        reason, hint = _REASONS.get(
            number or 0,
            (
                "is damaged, cut short or of another kind",
                "copy the file again and check that it is of the kind its name says",
            ),
        )
        raise DataError(f"{what} {reason}", hint=hint) from None


def allow_size(what: str, *, decoded: int, stored: int | None = None) -> None:
    """Refuse a header that claims more than memory, or its own file, can hold.

    Args:
        what: What is being read, in words that may be shown.
        decoded: Bytes the header claims.
        stored: Bytes of deflated data behind the claim; None where not deflated.

    Raises:
        DataError: The claim is zero, absurd or impossible.
    """
    if decoded < 1:
        raise DataError(f"{what} holds no images", hint="give a file with images")
    if stored is not None and decoded > stored * DEFLATE_LIMIT:
        raise DataError(
            f"{what} declares more data than a file of its size can hold",
            hint="the header is damaged or hostile: get the file again",
        )
    if decoded > MAX_DECODED_BYTES:
        raise DataError(
            f"{what} declares more than {MAX_DECODED_BYTES // 1024**3} GiB of pixels",
            hint="give smaller images, or fewer of them",
        )


def resized(image: Image.Image, size: int) -> Image.Image:
    """Resize to a square: box average when shrinking, Lanczos otherwise.

    The aspect ratio is not kept.

    Example:
        >>> resized(Image.new("L", (4, 6), 7), 2).size
        (2, 2)
    """
    shrinks = size <= min(image.size)
    method = Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS
    return image.resize((size, size), method)


def resized_stack(
    pixels: NDArray[np.uint8], image_size: int | None
) -> NDArray[np.uint8]:
    """Resize every image of an array [records, height, width, channels]."""
    records, height, width, channels = pixels.shape
    if image_size is None or height == width == image_size:
        return pixels
    allow_size("the resized data", decoded=records * image_size**2 * channels)
    result = np.empty((records, image_size, image_size, channels), dtype=np.uint8)
    for source, target in zip(pixels, result, strict=True):
        picture = Image.fromarray(source if channels > 1 else source[:, :, 0])
        target[:] = np.asarray(resized(picture, image_size)).reshape(target.shape)
    return result
