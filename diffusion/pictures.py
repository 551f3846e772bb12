"""Images as PNG: grids to look at, in a file or in a notebook.

Edges: writes files.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.readers.image_set import ImageSet
from privplan import checks, files
from privplan.errors import PolicyError

_SMALLEST_SIDE = 28
_GAP = 2
_PAPER = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that a notebook shows by itself.

    Attributes:
        png: The whole file.
    """

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"Picture of {len(self.png):,} bytes of PNG"


def picture(images: ImageSet, *, rows: int = 4, columns: int = 10) -> Picture:
    """Show the first images of a public set, row by row.

    Args:
        images: Samples, or images declared public. Private ones are refused: a
            notebook keeps what it shows.
        rows: How many rows at most.
        columns: Images per row.

    Raises:
        ParameterError: `rows` or `columns` is not a whole number of at least 1.
        PolicyError: The images are private.

    Example:
        >>> from diffusion.data import load_public
        >>> picture(load_public("digits", split="test")).png[1:4]
        b'PNG'
    """
    checks.count(rows=rows, columns=columns)
    if images.is_private:
        raise PolicyError(
            "a picture is kept where it is shown, so only public images are shown",
            hint="show samples, or images that were loaded with load_public",
        )
    return Picture(png=png_of(images.images[: rows * columns].numpy(), columns=columns))


def png_of(images: NDArray[np.uint8], *, columns: int) -> bytes:
    """Return images as one PNG, row by row; small images are enlarged.

    Args:
        images: Shape (n, channels, height, width), 0..255.
        columns: Images per row.
    """
    buffer = io.BytesIO()
    Image.fromarray(_grid(images, columns)).save(buffer, format="PNG")
    return buffer.getvalue()


def save_grid(
    images: NDArray[np.uint8],
    path: Path,
    *,
    columns: int,
) -> None:
    """Write images as one grid, row by row; small images are enlarged.

    Args:
        images: Shape (n, channels, height, width), 0..255.
        path: Where the PNG goes.
        columns: Images per row.

    Raises:
        DocumentError: The folder cannot be written.
    """
    files.write_bytes(path, png_of(images, columns=columns), what="picture")


def _grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    count, channels, height, width = images.shape
    zoom = max(1, math.ceil(_SMALLEST_SIDE / max(height, width)))
    large = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    rows = math.ceil(count / columns)
    cell = (height * zoom + _GAP, width * zoom + _GAP)
    sheet = np.full(
        (channels, rows * cell[0] + _GAP, columns * cell[1] + _GAP),
        _PAPER,
        dtype=np.uint8,
    )
    for index, image in enumerate(large):
        top = _GAP + index // columns * cell[0]
        left = _GAP + index % columns * cell[1]
        sheet[:, top : top + height * zoom, left : left + width * zoom] = image
    return sheet[0] if channels == 1 else sheet.transpose(1, 2, 0)
