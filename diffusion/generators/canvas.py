"""How many images of which size, and where their pixels are."""

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The images a generator is asked for.

    Attributes:
        count: Number of images.
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
    """

    count: int
    channels: int
    height: int
    width: int

    @property
    def pixel(self) -> float:
        """Side of a pixel in the units of `axes`."""
        return 2.0 / min(self.height, self.width)

    def axes(self) -> tuple[Float32[Tensor, " height"], Float32[Tensor, " width"]]:
        """Centres of pixel rows and columns; the shorter side spans [-1, 1].

        Example:
            >>> Canvas(count=1, channels=1, height=2, width=4).axes()
            (tensor([-0.5000,  0.5000]), tensor([-1.5000, -0.5000,  0.5000,  1.5000]))
        """
        rows = (torch.arange(self.height) + 0.5 - self.height / 2) * self.pixel
        columns = (torch.arange(self.width) + 0.5 - self.width / 2) * self.pixel
        return rows, columns
