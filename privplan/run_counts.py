"""A random number of runs: how many there are when the best of them is released.

A fixed number of runs leaks: that a rare good run was found at all tells how many were
tried. So the number is random, and its law is what the price of choosing depends on
(`selection.py`). It is drawn afresh and stays secret; only its law is public.

Source: Papernot & Steinke 2022, arXiv:2110.03620, definition 1 and section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from privplan import checks
from privplan.errors import ParameterError

_MOST_RUNS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeBinomialRuns:
    """How many runs: at least one, truncated negative binomial.

    Attributes:
        shape: Above -1. 1 is geometric; 0 logarithmic; nearer -1 is cheaper, and the
            number of runs more spread out.
        stopping: Between 0 and 1; smaller means more runs.

    Example:
        >>> NegativeBinomialRuns(shape=1.0, stopping=0.1).mean
        10.0
    """

    shape: float
    stopping: float

    def __post_init__(self) -> None:
        checks.probability(stopping=self.stopping)
        if not -1 < self.shape <= 100:
            raise ParameterError(
                f"shape is {self.shape!r}, but it must be above -1 and at most 100",
                hint="give shape 1.0 (geometric), 0.0 or -0.5",
            )

    @property
    def mean(self) -> float:
        """Return the expected number of runs."""
        g, s = self.stopping, self.shape
        if abs(s) < 1e-9:
            return (1 / g - 1) / -math.log(g)
        return s * (1 / g - 1) / -math.expm1(s * math.log(g))

    def probability(self, runs: int) -> float:
        """Return the chance of exactly so many runs."""
        if runs < 1:
            return 0.0
        g, s = self.stopping, self.shape
        log_rest = runs * math.log1p(-g) - math.lgamma(runs + 1)
        # Gamma(runs + s) / Gamma(1 + s), and s / (g^-s - 1) whose limit is 1/log(1/g).
        log_rise = math.lgamma(runs + s) - math.lgamma(1 + s)
        return math.exp(log_rest + log_rise) * self._scale()

    def _scale(self) -> float:
        exponent = -self.shape * math.log(self.stopping)
        if abs(self.shape) < 1e-9:
            return -1 / math.log(self.stopping)
        return self.shape / math.expm1(exponent)

    @classmethod
    def expecting(cls, mean: float, *, shape: float = 1.0) -> NegativeBinomialRuns:
        """Return the distribution of a shape with this expected number of runs.

        Raises:
            ParameterError: `mean` is not above 1.

        Example:
            >>> round(NegativeBinomialRuns.expecting(8.0, shape=0.0).stopping, 6)
            0.036339
        """
        if not 1 < mean < _MOST_RUNS:
            raise ParameterError(
                f"the expected number of runs is {mean!r}, but it must be above 1",
                hint="expect 8 runs, or do not select at all",
            )
        low, high = -60.0, -1e-12  # of log stopping; the mean falls with it
        for _ in range(200):
            middle = 0.5 * (low + high)
            if cls(shape=shape, stopping=math.exp(middle)).mean > mean:
                low = middle
            else:
                high = middle
        return cls(shape=shape, stopping=math.exp(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonRuns:
    """How many runs: Poisson; with probability e^-mean none, and nothing is released.

    Attributes:
        mean: The expected number of runs; above 0.
    """

    mean: float

    def __post_init__(self) -> None:
        checks.positive(mean=self.mean)

    def probability(self, runs: int) -> float:
        """Return the chance of exactly so many runs."""
        if runs < 0:
            return 0.0
        log_chance = runs * math.log(self.mean) - self.mean - math.lgamma(runs + 1)
        return math.exp(log_chance)


Runs = NegativeBinomialRuns | PoissonRuns


def draw(runs: Runs, uniform: float) -> int:
    """Turn a uniform number into a number of runs, by the inverse of the distribution.

    Args:
        runs: The distribution.
        uniform: In [0, 1), fresh from the operating system; a K that can be replayed
            voids the bound.

    Example:
        >>> draw(PoissonRuns(mean=4.0), 0.5), draw(PoissonRuns(mean=4.0), 0.0)
        (4, 0)
    """
    checks.fraction(uniform=uniform)
    below = 0.0
    for count in range(_MOST_RUNS):
        below += runs.probability(count)
        if uniform < below or (count > runs.mean and runs.probability(count) < 1e-18):
            return count
    return _MOST_RUNS
