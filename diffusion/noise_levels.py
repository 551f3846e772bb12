"""Noise levels: the laws of sigma for training.

In training each draw picks a sigma at random, and how often it picks which sigma
decides what the network becomes good at. Every law here is one increasing function
`warp` of sigma in which the law is flat; restricting a law to some intervals is then
only a matter of drawing a uniform number on the warped intervals and warping back.

    LogNormal        warp = Phi((ln sigma - p_mean) / p_std)   Karras et al. 2022
    VUniform         warp = 2 arctan(sigma) / pi               uniform t of "v"
    VpUniform        warp = t(sigma)                           uniform t of "VP"
    LogUniform       warp = ln sigma                           "VE"

A stage of training is a law `restricted` to the stage's intervals. That changes where
private steps are spent, never what one of them costs.

Units: sigma in data units, images in [-1, 1].
Source: Karras et al. 2022, arXiv:2206.00364, table 1; Salimans & Ho
2022, arXiv:2202.00512, for v; Dockhorn et al. 2023, arXiv:2210.09929, for the four
laws under differential privacy.
"""

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from privplan import checks
from privplan.errors import ParameterError

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaLaw(ABC):
    """A law of sigma on a union of intervals.

    Attributes:
        intervals: Where sigma may lie: `(low, high)` pairs, in data units, sorted and
            not overlapping.

    Raises:
        ParameterError: No interval, a bound not above zero, or intervals out of order.
    """

    intervals: tuple[Interval, ...] = ((0.002, 80.0),)

    def __post_init__(self) -> None:
        bounds = list(itertools.chain.from_iterable(self.intervals))
        for bound in bounds:
            checks.positive(sigma=bound)
        ordered = all(low <= high for low, high in itertools.pairwise(bounds))
        if not bounds or not ordered or any(low >= hi for low, hi in self.intervals):
            raise ParameterError(
                f"the sigma intervals {self.intervals} are empty or out of order",
                hint="give pairs (low, high) with low < high, in increasing order",
            )

    @abstractmethod
    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return the coordinate in which the law is flat; increasing in sigma."""

    @abstractmethod
    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma for a coordinate; the inverse of `warp`."""

    @property
    def sigma_min(self) -> float:
        """The smallest sigma the law can give, in data units."""
        return self.intervals[0][0]

    @property
    def sigma_max(self) -> float:
        """The largest sigma the law can give, in data units."""
        return self.intervals[-1][1]

    def quantile(self, probability: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma at which the law's distribution function has these values.

        Args:
            probability: Numbers in [0, 1].

        Returns:
            Sigmas in data units.

        Raises:
            ParameterError: The law gives the intervals no probability at all.

        Example:
            >>> law = LogUniform(intervals=((0.01, 1.0),))
            >>> half = torch.tensor(0.5, dtype=torch.float64)
            >>> round(law.quantile(half).item(), 12)
            0.1
        """
        low, width = self._flat_intervals(probability.device)
        ends = width.cumsum(0)
        position = probability * ends[-1]
        which = torch.searchsorted(ends[:-1].contiguous(), position, right=True)
        flat = position - (ends - width)[which] + low[which]
        sigma = self.unwarp(flat)
        bounds = torch.tensor(
            self.intervals, dtype=torch.float64, device=probability.device
        )
        return torch.clamp(sigma, bounds[which, 0], bounds[which, 1])

    def cdf(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return the probability of a noise level of at most sigma.

        Raises:
            ParameterError: The law gives the intervals no probability at all.
        """
        low, width = self._flat_intervals(sigma.device)
        below = self.warp(sigma)[..., None] - low
        return torch.clamp(below, torch.zeros_like(width), width).sum(-1) / width.sum()

    def sample(
        self, count: int, *, generator: torch.Generator
    ) -> Float[Tensor, " count"]:
        """Draw noise levels, on the generator's device.

        Args:
            count: How many; zero is allowed.
            generator: Where the uniform numbers come from.

        Returns:
            Sigmas in data units, float32.

        Raises:
            ParameterError: The law gives the intervals no probability at all.

        Example:
            >>> law = LogNormal(p_mean=-1.2, p_std=1.2, intervals=((0.5, 2.0),))
            >>> sigma = law.sample(100, generator=torch.Generator().manual_seed(0))
            >>> bool((sigma >= 0.5).all() and (sigma <= 2.0).all())
            True
        """
        uniform = torch.rand(
            count, generator=generator, dtype=torch.float64, device=generator.device
        )
        return self.quantile(uniform).float()

    def restricted(self, intervals: tuple[Interval, ...]) -> "SigmaLaw":
        """Return the same law, given that sigma lies in these intervals too.

        Args:
            intervals: `(low, high)` pairs in data units, sorted, not overlapping.

        Raises:
            ParameterError: Nothing is left, or the intervals are out of order.

        Example:
            >>> LogUniform(intervals=((0.01, 1.0),)).restricted(((0.1, 5.0),)).intervals
            ((0.1, 1.0),)
        """
        pairs = itertools.product(self.intervals, intervals)
        met = ((max(a, c), min(b, d)) for (a, b), (c, d) in pairs)
        left = tuple(sorted((low, high) for low, high in met if low < high))
        if not left:
            raise ParameterError(
                f"the sigma intervals {intervals} do not meet {self.intervals}",
                hint="choose intervals between sigma_min and sigma_max",
            )
        return replace(self, intervals=left)

    def _flat_intervals(
        self, device: torch.device
    ) -> tuple[Float64[Tensor, " intervals"], Float64[Tensor, " intervals"]]:
        bounds = torch.tensor(self.intervals, dtype=torch.float64, device=device)
        low, high = self.warp(bounds).unbind(1)
        width = high - low
        if not bool((width > 0).all()):
            raise ParameterError(
                f"{type(self).__name__} gives no probability to one of the sigma "
                f"intervals {self.intervals}",
                hint="move the intervals or the law so that they meet",
            )
        return low, width


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal(SigmaLaw):
    """ln sigma is normal: the law of EDM; Karras et al. 2022, table 1.

    Attributes:
        p_mean: Mean of ln sigma.
        p_std: Standard deviation of ln sigma.

    Raises:
        ParameterError: `p_std` is not above zero, or `p_mean` is not finite.
    """

    p_mean: float = -1.2
    p_std: float = 1.2

    def __post_init__(self) -> None:
        SigmaLaw.__post_init__(self)
        checks.positive(p_std=self.p_std)
        if not math.isfinite(self.p_mean):
            raise ParameterError(
                f"p_mean is {self.p_mean!r}, but it must be finite",
                hint="give p_mean a value such as -1.2",
            )

    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return Phi((ln sigma - p_mean) / p_std)."""
        flat: Tensor = torch.special.ndtr((sigma.log() - self.p_mean) / self.p_std)
        return flat

    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma for a value of the normal distribution function."""
        return torch.exp(self.p_mean + self.p_std * torch.special.ndtri(flat))


@dataclass(frozen=True, slots=True, kw_only=True)
class VUniform(SigmaLaw):
    """The law of "v"; by default from log signal-to-noise 13 down to -9."""

    intervals: tuple[Interval, ...] = ((math.exp(-6.5), math.exp(4.5)),)

    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return t = 2 arctan(sigma) / pi."""
        return 2 / math.pi * torch.atan(sigma)

    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma = tan(pi t / 2)."""
        return torch.tan(math.pi / 2 * flat)


@dataclass(frozen=True, slots=True, kw_only=True)
class VpUniform(SigmaLaw):
    """Time is uniform in the variance-preserving process; Karras et al., table 1.

    sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1; the default interval is
    sigma(1e-5) to sigma(1).

    Attributes:
        beta_d: Growth of the noise rate.
        beta_min: Noise rate at t = 0.

    Raises:
        ParameterError: `beta_d` or `beta_min` is not above zero.
    """

    intervals: tuple[Interval, ...] = ((0.0010004975, 152.16697),)
    beta_d: float = 19.9
    beta_min: float = 0.1

    def __post_init__(self) -> None:
        SigmaLaw.__post_init__(self)
        checks.positive(beta_d=self.beta_d, beta_min=self.beta_min)

    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return t, the positive root of the quadratic in t; stable at small sigma."""
        return vp_time(sigma, beta_d=self.beta_d, beta_min=self.beta_min)

    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma(t)."""
        rate = 0.5 * self.beta_d * flat.square() + self.beta_min * flat
        return torch.expm1(rate).sqrt()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogUniform(SigmaLaw):
    """ln sigma is uniform: the law of "VE"; Karras et al. 2022, table 1."""

    intervals: tuple[Interval, ...] = ((0.02, 100.0),)

    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return ln sigma."""
        return sigma.log()

    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return exp of the coordinate."""
        return flat.exp()


def vp_time(
    sigma: Float[Tensor, "*any"], *, beta_d: float, beta_min: float
) -> Float[Tensor, "*any"]:
    """Return the time t at which the variance-preserving process has this sigma.

    Solves beta_d t^2 / 2 + beta_min t = ln(1 + sigma^2) for t, in the form that does
    not cancel when sigma is small.

    Source:
        Karras et al. 2022, arXiv:2206.00364, equation 160.

    Example:
        >>> sigma = torch.tensor([0.0, 152.1674])
        >>> vp_time(sigma, beta_d=19.9, beta_min=0.1)
        tensor([0.0000, 1.0000])
    """
    level = torch.log1p(sigma.square())
    root = torch.sqrt(beta_min**2 + 2 * beta_d * level)
    return 2 * level / (beta_min + root)
