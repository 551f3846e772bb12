"""Augmentation multiplicity: every draw of a record may show it flipped or moved.

The K draws of a record already differ in noise; here they differ in the picture too.
The loss is still averaged over the draws before the one clip, so a record contributes
one vector of length at most C, whatever was done to its pictures: augmentation costs no
privacy. Copies of a record in the batch would.

Pixels that come in at an edge repeat the edge.

Units: shifts in pixels.
Source: De et al. 2022, arXiv:2204.13650, section 3.3; Ghalebikesabi et al. 2023,
arXiv:2302.13861.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from privplan import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How a picture may be changed from draw to draw; public.

    Attributes:
        flip: Whether left and right are exchanged, with probability one half.
        shift: The most pixels a picture is moved, along rows and along columns.

    Raises:
        ParameterError: `shift` is negative.
    """

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        checks.non_negative(shift=self.shift)

    @property
    def changes(self) -> bool:
        """Whether any picture can come out other than it went in."""
        return self.flip or self.shift > 0

    def draw(
        self, count: int, generator: torch.Generator
    ) -> Float[Tensor, "count three"]:
        """Draw (flipped, rows down, columns right) for so many pictures."""
        uniform = torch.rand(count, 3, generator=generator)
        places = ((2 * self.shift + 1) * uniform[:, 1:]).floor() - self.shift
        flipped = (uniform[:, :1] < (0.5 if self.flip else 0.0)).float()
        return torch.cat([flipped, places], dim=1)


UNCHANGED = Augmentation()


def changed(
    pictures: Float[Tensor, "rows channels height width"],
    drawn: Float[Tensor, "rows three"],
) -> Float[Tensor, "rows channels height width"]:
    """Flip and move each picture as drawn for it.

    Args:
        pictures: In [-1, 1].
        drawn: As from `Augmentation.draw`, one row per picture.

    Example:
        >>> picture = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> changed(picture, torch.tensor([[1.0, 0.0, 1.0]]))
        tensor([[[[3., 3., 2.]]]])
    """
    count, channels, height, width = pictures.shape
    flipped, down, right = drawn.to(torch.int64).unbind(1)
    rows = (torch.arange(height) - down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) - right[:, None]).clamp(0, width - 1)
    columns = torch.where(flipped[:, None] > 0, width - 1 - columns, columns)
    return pictures[
        torch.arange(count)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
