"""Images as PNG: single files and labelled grids to look at.

Edges: writes files.
"""

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privplan import files

_SMALLEST_SIDE = 28
_GAP = 2
_PAPER = 255


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
    grid = _grid(images, columns)
    buffer = io.BytesIO()
    Image.fromarray(grid).save(buffer, format="PNG")
    files.write_bytes(path, buffer.getvalue(), what="picture")


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
