"""Images in a terminal: two pixels in one character, the upper half and the lower.

On a terminal without colours a pixel is a shade of grey. Images larger than a few
characters are made smaller by averaging; this is a glance, and the PNG is the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

_MOST_SIDE = 16  # pixels of one image shown
_ROWS = 2
_SHADES = " ░▒▓█"

Pixels = NDArray[np.uint8]


def sheet(images: Pixels, *, width: int, colour: bool) -> Text:
    r"""Return as many images as fit into two rows, as text.

    Args:
        images: Shape (n, channels, height, width), 0..255.
        width: Characters.
        colour: Whether the terminal has colours.

    Example:
        >>> white = np.full((1, 1, 2, 2), 255, dtype=np.uint8)
        >>> sheet(white, width=20, colour=False).plain
        '██ \n   '
    """
    small = [_shrunk(image) for image in images]
    side = small[0].shape[1] + 1
    columns = max(min(width // side, -(-len(small) // _ROWS)), 1)
    lines: list[Text] = []
    for row in range(0, min(len(small), _ROWS * columns), columns):
        strip = np.concatenate(
            [_framed(image) for image in small[row : row + columns]], axis=1
        )
        lines += _lines(strip, colour=colour)
    return Text("\n").join(lines)


def _shrunk(image: Pixels) -> Pixels:
    """Return an image of at most 16 pixels a side, shape (height, width, 3)."""
    rgb = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    step = -(-max(rgb.shape[:2]) // _MOST_SIDE)
    height, width = (side // step * step for side in rgb.shape[:2])
    cells = rgb[:height, :width].reshape(height // step, step, width // step, step, 3)
    small: Pixels = cells.mean(axis=(1, 3)).astype(np.uint8)
    return small


def _framed(image: Pixels) -> Pixels:
    """Add a dark column at the right, and one or two dark rows, to an even height."""
    below = 2 - image.shape[0] % 2
    return np.pad(image, ((0, below), (0, 1), (0, 0)))


def _lines(strip: Pixels, *, colour: bool) -> list[Text]:
    upper, lower = strip[0::2], strip[1::2]
    if not colour:
        means = (upper.astype(np.int64) + lower).mean(axis=2) / 2
        shades = (means / 256 * len(_SHADES)).astype(np.int64)
        return [Text("".join(_SHADES[shade] for shade in row)) for row in shades]
    lines = []
    for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
        line = Text()
        for one, other in zip(above, below, strict=True):
            style = Style(color=Color.from_rgb(*one), bgcolor=Color.from_rgb(*other))
            line.append("▀", style=style)
        lines.append(line)
    return lines
