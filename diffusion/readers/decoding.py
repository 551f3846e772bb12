"""One image file, or its bytes, made into pixels; or one DataError.

Only the kinds below are decoded, with 8 bits per channel and one frame. What a decoder
says of a damaged image may tell its name, size or content, so none of it is passed on.
"""

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.readers.records import refusing, resized
from privplan.errors import DataError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".pgm": "PPM",
    ".ppm": "PPM",
}
KINDS = tuple(sorted(set(FORMATS.values())))
MAX_IMAGE_PIXELS = 2**26
_LET_THROUGH = (
    SyntaxError,
    struct.error,
    IndexError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
)
"""What Pillow's decoders raise on damaged files beside OSError and ValueError."""
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


@contextmanager
def opened(
    file: Path | BytesIO, *, kinds: Sequence[str], what: str
) -> Iterator[Image.Image]:
    """Open an image whose header is acceptable; any failure is one DataError.

    Args:
        file: Where it is, or its content.
        kinds: Which of `KINDS` it may be.
        what: What it is called in messages.

    Raises:
        DataError: It is damaged, too large, of another kind, deeper than 8 bits or has
            several frames.
    """
    with refusing(what), warnings.catch_warnings():
        # our own limit follows, and Pillow's warning would print the size
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=list(kinds)) as image:
                _check(image, what)
                yield image
        except Image.DecompressionBombError:
            raise _too_large(what) from None
        except _LET_THROUGH:
            raise EOFError from None


def mode_of(image: Image.Image) -> str:
    """Return "L" for a grey image and "RGB" for any other, from its header.

    Example:
        >>> mode_of(Image.new("P", (1, 1)))
        'RGB'
    """
    return "L" if image.mode in _GREY_MODES else "RGB"


def decoded(
    content: bytes, *, mode: str, image_size: int | None, what: str
) -> NDArray[np.uint8]:
    """Decode the bytes of one image.

    Args:
        content: A whole file.
        mode: "L" or "RGB".
        image_size: Resize to a square of this side; None keeps the size.
        what: What it is called in messages.

    Returns:
        uint8, [channels, height, width].

    Raises:
        DataError: As `opened`.
    """
    with opened(BytesIO(content), kinds=KINDS, what=what) as image:
        converted = image.convert(mode)
        if image_size is not None:
            converted = resized(converted, image_size)
        pixels = np.asarray(converted, dtype=np.uint8)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def _check(image: Image.Image, what: str) -> None:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise _too_large(what)
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise DataError(
            f"{what} has more than 8 bits per channel",
            hint="convert it to 8 bits with a range that you choose",
        )
    if getattr(image, "n_frames", 1) != 1:
        raise DataError(
            f"{what} holds several frames",
            hint="save each frame as a file of its own",
        )


def _too_large(what: str) -> DataError:
    return DataError(
        f"{what} declares more than {MAX_IMAGE_PIXELS // 10**6} million pixels",
        hint="scale it down, or check the file",
    )
