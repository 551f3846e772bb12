"""The mechanisms that touch private records once, as values: the leaves of an event.

`events.py` composes them, writes them and reads them back, and says what they mean;
import them from there.

Units: noise multipliers are in units of the sensitivity of one unit of privacy.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianEvent:
    """One Gaussian query over all records, with L2 sensitivity 1 after scaling.

    Attributes:
        noise_multiplier: Noise standard deviation over sensitivity; above 0.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.positive(noise_multiplier=self.noise_multiplier)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonSampledGaussianEvent:
    """One step of DP-SGD: Poisson sampling, then a Gaussian query.

    Attributes:
        sample_rate: Probability that a record is in the batch; above 0, at most 1.
        noise_multiplier: Noise standard deviation over sensitivity; above 0.
    """

    sample_rate: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.rate(sample_rate=self.sample_rate)
        checks.positive(noise_multiplier=self.noise_multiplier)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonSampledDiscreteGaussianEvent:
    """One step of DP-SGD in whole numbers: a discrete Gaussian on a counted sum.

    Each record moves the sum by a vector of whole numbers of length at most r; each
    coordinate gets discrete Gaussian noise of parameter at least z r.

    Attributes:
        sample_rate: Probability that a record is in the batch; above 0, at most 1.
        noise_multiplier: z; above 0.
    """

    sample_rate: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.rate(sample_rate=self.sample_rate)
        checks.positive(noise_multiplier=self.noise_multiplier)

    @property
    def continuous(self) -> PoissonSampledGaussianEvent:
        """The step with continuous noise: resembles this one; never for a claim."""
        return PoissonSampledGaussianEvent(
            sample_rate=self.sample_rate, noise_multiplier=self.noise_multiplier
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaplaceEvent:
    """One Laplace query over all records, with L1 sensitivity 1 after scaling.

    Attributes:
        noise_multiplier: Laplace scale over sensitivity; above 0. Epsilon is its
            inverse.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        checks.positive(noise_multiplier=self.noise_multiplier)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomizedResponseEvent:
    """One pure query: two answers, the true one with odds exp(epsilon) to 1.

    No pure mechanism of this epsilon loses more, so it may stand for any of them,
    such as a noisy maximum (Kairouz, Oh, Viswanath 2015, arXiv:1311.0776).

    Attributes:
        epsilon: Largest log-ratio when a unit is added or removed; above 0.
    """

    epsilon: float

    def __post_init__(self) -> None:
        checks.positive(epsilon=self.epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOpEvent:
    """Something that read no private record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NonPrivateEvent:
    """Something that read private records and released them without noise."""
