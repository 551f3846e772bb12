"""The private sum in whole numbers: an L2 sensitivity that is counted, not estimated.

Float64 sums on a grid (`diffusion.privatize`) close a known attack and prove nothing:
the sum is rounded as it grows, and Gaussian floats are not Gaussian. Here the clipped
gradient of every record becomes whole numbers, and all that follows is exact:

    one record's gradient, clipped to C          floats, of that record alone
      -> cut toward zero to steps of 2^k         no coordinate grows
      -> sum of squares <= radius^2, counted     or shrunk until it holds
      -> added up over the records               whole numbers: exact in any order
      -> + discrete Gaussian of sigma >= z * radius

With one record more or less the whole-number sum moves by that record's vector, whose
length is at most `radius` by counting. The noise is whole steps, rounded up.

What it costs is the Gaussian mechanism's Renyi divergence at whole orders, with and
without Poisson sampling: see `privplan.discrete_cost`.

Limits: one backward pass a record, and 100,000 parameters; cutting toward zero loses at
most sqrt(parameters) steps of a gradient's length C = 2^15 to 2^16 steps.

Source: Canonne, Kamath & Steinke 2020, arXiv:2004.00010; Kairouz, Liu & Steinke 2021,
arXiv:2102.06387 (sums of whole vectors of bounded length).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from diffusion.clipping import Clipping
from diffusion.discrete_gaussian import MAX_SIGMA, discrete_gaussian
from diffusion.engines.loop import LoopEngine
from diffusion.engines.record_gradients import empty_sum
from diffusion.engines.refusals import trainable
from diffusion.engines.rows import RowLoss, Rows, check_rows, rows_of
from diffusion.per_example import PerExampleEngine
from diffusion.randomness import SecureStream
from privplan import checks
from privplan.errors import ParameterError
from privplan.whole_numbers import MAX_PARAMETERS

GRID_BITS = 15
_SHRINK = 1 - 2.0**-12


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerGrid:
    """A public grid for one clip bound and one amount of noise.

    Attributes:
        max_grad_norm: C, in gradient units.
        noise_multiplier: Noise over sensitivity that is charged.

    Raises:
        ParameterError: A number is not positive and finite, or the noise is too large
            for the grid.

    Example:
        >>> grid = IntegerGrid(max_grad_norm=1.0, noise_multiplier=0.75)
        >>> grid.step == 2.0**-15, grid.radius, grid.sigma
        (True, 32768, 24576)
    """

    max_grad_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.positive(
            max_grad_norm=self.max_grad_norm, noise_multiplier=self.noise_multiplier
        )
        if not self.sigma <= MAX_SIGMA:
            raise ParameterError(
                f"noise_multiplier is {self.noise_multiplier:g}, more than noise in "
                "whole numbers is offered for",
                hint="plan with fewer steps or more epsilon, or use the float grid",
            )

    @property
    def step(self) -> float:
        """Spacing of the grid, a power of two, in gradient units."""
        exponent = math.frexp(self.max_grad_norm)[1] - 1
        return math.ldexp(1.0, exponent - GRID_BITS)

    @property
    def radius(self) -> int:
        """Longest vector of one record, in steps; never above C."""
        return math.floor(Fraction(self.max_grad_norm) / Fraction(self.step))

    @property
    def sigma(self) -> int:
        """Parameter of the noise, in steps; never too small for `radius`."""
        return math.ceil(Fraction(self.noise_multiplier) * self.radius)

    def cut(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """Turn one record's clipped gradient into whole steps of length <= radius.

        Args:
            gradient: float64 tensors, one for each parameter; of this record alone.

        Returns:
            int64 tensors; their squares add up to at most the square of `radius`.
        """
        scaled = [part.detach().double().cpu() / self.step for part in gradient]
        for _ in range(3):
            whole = [torch.trunc(part).to(torch.int64) for part in scaled]
            if _square(whole) <= self.radius**2:
                return whole
            scaled = [part * _SHRINK for part in scaled]
        return [torch.zeros_like(part, dtype=torch.int64) for part in scaled]


class GridEngine:
    """Sums of records' gradients on a grid, one record after the other.

    Keeps the contract of `diffusion.per_example.PerExampleEngine`, up to one step of
    the grid for each record and coordinate; the sums are whole steps, exactly.

    Args:
        grid: The grid.
        inner: Who clips one record's gradient; default the plainest.
    """

    name = "grid"

    def __init__(
        self, grid: IntegerGrid, inner: PerExampleEngine | None = None
    ) -> None:
        self._grid, self._inner = grid, inner or LoopEngine()

    def clipped_sum(
        self,
        model: nn.Module,
        row_loss: RowLoss,
        rows: Rows,
        *,
        records: int,
        noise_multiplicity: int,
        clipping: Clipping,
    ) -> list[Tensor]:
        """See `diffusion.per_example.PerExampleEngine.clipped_sum`.

        Raises:
            ParameterError: As there; or the clipping is adaptive, has another C than
                the grid, or the model has too many parameters.
        """
        if clipping.kind == "adaptive" or (
            clipping.max_grad_norm != self._grid.max_grad_norm
        ):
            raise ParameterError(
                "a sum in whole numbers has a fixed C, that of its grid",
                hint="plan with fixed or normalised clipping",
            )
        check_rows(rows, records=records, noise_multiplicity=noise_multiplicity)
        total = empty_sum((parameter for _, parameter in trainable(model)), clipping)
        _check_size(total)
        for record in range(records):
            alone = self._inner.clipped_sum(
                model,
                row_loss,
                rows_of(rows, record, records=records),
                records=1,
                noise_multiplicity=noise_multiplicity,
                clipping=clipping,
            )
            # Whole numbers below 2^53 times a power of two: float64 adds them exactly.
            for sink, part in zip(total, self._grid.cut(alone), strict=True):
                sink.add_(part.to(sink) * self._grid.step)
        return total


def noisy_grid_sum(
    clipped_sum: Sequence[Tensor], *, stream: SecureStream, grid: IntegerGrid
) -> list[Tensor]:
    """Add discrete Gaussian noise to a sum from a `GridEngine`.

    Args:
        clipped_sum: Whole steps of the grid, one tensor for each parameter.
        stream: Fresh randomness of this step; never used again.
        grid: The grid.

    Returns:
        float64 tensors of the same shapes, whole steps of the grid.

    Raises:
        ParameterError: The sum is not on the grid, or has too many coordinates.
    """
    _check_size(clipped_sum)
    noisy = []
    for part in clipped_sum:
        steps = part.detach().double().cpu().flatten() / grid.step
        if not torch.equal(steps, torch.trunc(steps)):
            raise ParameterError(
                "the clipped sum is not in whole steps of the grid",
                hint="sum with diffusion.integer_grid.GridEngine",
            )
        drawn = discrete_gaussian(stream, sigma=grid.sigma, count=part.numel())
        total = (steps.to(torch.int64) + torch.from_numpy(drawn)).double() * grid.step
        noisy.append(total.view(part.shape).to(part.device))
    return noisy


def _square(whole: Sequence[Tensor]) -> int:
    return sum(int((part * part).sum()) for part in whole)


def _check_size(parts: Sequence[Tensor]) -> None:
    size = sum(part.numel() for part in parts)
    if not size <= MAX_PARAMETERS:
        raise ParameterError(
            f"the network has {size:,} trainable parameters, and sums in whole numbers "
            f"are offered up to {MAX_PARAMETERS:,}",
            hint="train an adapter or a smaller network, or use the float grid",
        )
