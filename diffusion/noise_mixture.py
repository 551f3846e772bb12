"""A mixture of laws of sigma: how much of the training goes to which noise levels.

Under privacy most steps are worth most at middling noise, where an image takes shape;
at the smallest sigmas there is little to learn, at the largest there is little to see.
A mixture says it outright: three intervals, and the share of the draws that each gets.
Inside an interval the draws follow the base law.

    share      0.05      0.75           0.2
             |------|------------|---------------|      sigma
           sigma_min                         sigma_max

The mixture is a law like the others: `warp` rises from 0 to 1, by an interval's share
over that interval, so restricting and drawing need nothing new.

Source: Ghalebikesabi et al. 2023, arXiv:2302.13861 (a mixture of uniform laws of time).
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from diffusion.noise_levels import LogNormal, SigmaLaw
from privplan import checks
from privplan.errors import ParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture(SigmaLaw):
    """Intervals of a base law, each with a share of its own.

    Attributes:
        intervals: Where sigma may lie; by default everywhere the parts are.
        base: The law inside each interval; its own `intervals` are not looked at.
        cuts: The ends of the parts, in data units: one more than there are parts.
        shares: The share of each part, in any unit: weights 1, 2, 1 give a half to the
            middle.

    Raises:
        ParameterError: The cuts do not rise, there is not one share for each part, a
            share is not above zero, the base law gives a part no probability, or
            `intervals` reach beyond the cuts.

    Example:
        >>> law = three_parts(0.002, 80.0, cuts=(0.1, 2.0), shares=(1.0, 2.0, 1.0))
        >>> at = torch.tensor([0.1, 2.0], dtype=torch.float64)
        >>> law.cdf(at)
        tensor([0.2500, 0.7500], dtype=torch.float64)
    """

    base: SigmaLaw
    cuts: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        SigmaLaw.__post_init__(self)
        for share in self.shares:
            checks.positive(share=share)
        rising = all(low < high for low, high in itertools.pairwise(self.cuts))
        inside = rising and self.cuts and self.cuts[0] <= self.sigma_min
        if not inside or not self.sigma_max <= self.cuts[-1]:
            raise ParameterError(
                f"the cuts {self.cuts} do not rise, or do not cover the intervals "
                f"{self.intervals}",
                hint="give cuts from sigma_min to sigma_max, in increasing order",
            )
        if len(self.shares) != len(self.cuts) - 1:
            raise ParameterError(
                f"there are {len(self.shares)} shares for {len(self.cuts) - 1} parts",
                hint="give one share for each interval between two cuts",
            )
        self._parts(torch.device("cpu"))

    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return the mixture's distribution function between its first and last cut."""
        low, width, _, share = self._parts(sigma.device)
        below = self.base.warp(sigma)[..., None] - low
        inside = torch.clamp(below, torch.zeros_like(width), width)
        flat: Tensor = (inside / width * share).sum(-1)
        return flat

    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma for values of the mixture's distribution function."""
        low, width, start, share = self._parts(flat.device)
        part = torch.searchsorted(start[1:].contiguous(), flat, right=True)
        inside = (flat - start[part]) / share[part]
        return self.base.unwarp(low[part] + inside * width[part])

    def _parts(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return, for each part, low end and width in the base, start and share."""
        cuts = torch.tensor(self.cuts, dtype=torch.float64, device=device)
        share = torch.tensor(self.shares, dtype=torch.float64, device=device)
        share = share / share.sum()
        ends = self.base.warp(cuts)
        width = ends.diff()
        if not bool((width > 0).all()):
            raise ParameterError(
                f"{type(self.base).__name__} gives no probability to one of the parts "
                f"between the cuts {self.cuts}",
                hint="move the cuts to where the base law has draws",
            )
        return ends[:-1], width, share.cumsum(0) - share, share


def three_parts(
    sigma_min: float,
    sigma_max: float,
    *,
    cuts: tuple[float, float],
    shares: tuple[float, float, float],
    base: SigmaLaw | None = None,
) -> Mixture:
    """Return a mixture of low, middle and high noise.

    Args:
        sigma_min: Where the low part begins, in data units.
        sigma_max: Where the high part ends.
        cuts: Where the middle part begins and ends.
        shares: Of low, middle and high.
        base: The law inside each part; None for that of EDM.

    Raises:
        ParameterError: As `Mixture`.
    """
    return Mixture(
        intervals=((sigma_min, sigma_max),),
        base=base or LogNormal(),
        cuts=(sigma_min, *cuts, sigma_max),
        shares=shares,
    )
