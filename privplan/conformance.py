"""Bands that an honest mechanism leaves with a probability one can name.

Noise, batches and sums of a private step follow laws that are known exactly. So a test
of them needs no simulation and no normal approximation: each band here comes from the
exact law of its statistic, and an honest run leaves it with probability at most
`false_alarm`.

    statistic                                   law
    root mean square of noise over its std      square root of chi-square over count
    mean of noise over its std                  normal
    correlation of paired noises                a function of F(pairs, pairs)
    how often something with a known rate is    binomial
    how often a batch is far from its mean      binomial

Correlation: for independent standard normals (x + y)^2 / 2 and (x - y)^2 / 2 are
independent chi-squares, so their ratio F gives 2 sum(xy) / sum(x^2 + y^2) =
(F - 1) / (F + 1).

Source: Student 1908 to Fisher 1924: the sampling laws of normal and binomial samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privplan import checks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FALSE_ALARM = 1e-9

Band = tuple[float, float]


def std_band(count: int, *, false_alarm: float = FALSE_ALARM) -> Band:
    """Bound the root mean square of `count` standard normals.

    Raises:
        ParameterError: `count` is below one, or `false_alarm` not inside (0, 1).

    Example:
        >>> low, high = std_band(100_000)
        >>> round(low, 4), round(high, 4)
        (0.9864, 1.0137)
    """
    checks.count(count=count)
    checks.probability(false_alarm=false_alarm)
    from scipy.stats import chi2  # noqa: PLC0415 - slow to load

    low, high = chi2.ppf(false_alarm / 2, count), chi2.isf(false_alarm / 2, count)
    return math.sqrt(low / count), math.sqrt(high / count)


def mean_band(count: int, *, false_alarm: float = FALSE_ALARM) -> Band:
    """Bound the mean of `count` standard normals.

    Example:
        >>> low, high = mean_band(10_000)
        >>> low == -high, round(high, 4)
        (True, 0.0611)
    """
    checks.count(count=count)
    checks.probability(false_alarm=false_alarm)
    from scipy.stats import norm  # noqa: PLC0415 - slow to load

    reach = float(norm.isf(false_alarm / 2)) / math.sqrt(count)
    return -reach, reach


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return 2 sum(xy) / sum(x^2 + y^2) of paired numbers; NaN if all are zero.

    Example:
        >>> import numpy as np
        >>> correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
        1.0
    """
    scale = float((first**2).sum() + (second**2).sum())
    return 2 * float((first * second).sum()) / scale if scale > 0 else math.nan


def correlation_band(pairs: int, *, false_alarm: float = FALSE_ALARM) -> Band:
    """Bound the correlation of `pairs` pairs of independent standard normals.

    Example:
        >>> low, high = correlation_band(10_000)
        >>> low == -high, round(high, 4)
        (True, 0.061)
    """
    checks.count(pairs=pairs)
    checks.probability(false_alarm=false_alarm)
    from scipy.stats import f  # noqa: PLC0415 - slow to load

    ratio = float(f.isf(false_alarm / 2, pairs, pairs))
    reach = (ratio - 1) / (ratio + 1)
    return -reach, reach


def rate_band(trials: int, rate: float, *, false_alarm: float = FALSE_ALARM) -> Band:
    """Bound how often something of a known rate happens, as a fraction of trials.

    Example:
        >>> rate_band(1000, 0.5)
        (0.404, 0.596)
        >>> rate_band(1000, 1.0)
        (1.0, 1.0)
    """
    checks.count(trials=trials)
    checks.probability(false_alarm=false_alarm)
    if rate in {0.0, 1.0}:
        return rate, rate
    checks.probability(rate=rate)
    from scipy.stats import binom  # noqa: PLC0415 - slow to load

    low = float(binom.ppf(false_alarm / 2, trials, rate))
    high = float(binom.isf(false_alarm / 2, trials, rate))
    return low / trials, high / trials


def far_batch(records: int, sample_rate: float) -> tuple[float, float]:
    """Return a distance from the mean batch, and how often batches lie beyond it.

    The distance is the whole or half number that Poisson batches exceed as near to half
    of the time as can be.

    Args:
        records: How many there are.
        sample_rate: Probability of each.

    Returns:
        The distance, in records, and the exact probability of lying beyond it.

    Example:
        >>> distance, chance = far_batch(1000, 0.1)
        >>> distance, round(chance, 3)
        (6.0, 0.493)
    """
    checks.count(records=records)
    checks.rate(sample_rate=sample_rate)
    from scipy.stats import binom  # noqa: PLC0415 - slow to load

    mean = records * sample_rate
    most = math.ceil(10 * math.sqrt(mean) + 10)
    found = []
    for halves in range(2 * most):
        distance = halves / 2
        above = binom.sf(math.floor(mean + distance), records, sample_rate)
        below = binom.cdf(math.ceil(mean - distance) - 1, records, sample_rate)
        chance = float(above + below)
        found.append((abs(chance - 0.5), distance, chance))
    _, distance, chance = min(found)
    return distance, chance
