"""The laws of private steps on canaries: noise, shift, rate, batches, independence.

Every statistic has an exact law, so its band holds an honest mechanism with a
probability that is chosen, and nothing is estimated. See `privplan.conformance`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from diffusion.canaries import Steps
from privplan import conformance as law
from privplan.measured import Measured, measure


def noise(
    residual: NDArray[np.float64], *, false_alarm: float, what: str = ""
) -> list[Measured]:
    """Hold numbers that should be independent standard normals to their laws.

    Args:
        residual: Noise over its planned standard deviation, (steps, width).
        false_alarm: Probability that honest noise leaves one band.
        what: Put before the names, where several noises are measured.

    Returns:
        Standard deviation, mean, correlation of neighbouring coordinates and of
        neighbouring steps; the last only if there are two steps.
    """
    steps, width = residual.shape
    found = [
        measure(
            f"{what}noise",
            math.sqrt(float((residual**2).mean())),
            law.std_band(residual.size, false_alarm=false_alarm),
            "standard deviation of the noise over the planned one",
        ),
        measure(
            f"{what}noise mean",
            float(residual.mean()),
            law.mean_band(residual.size, false_alarm=false_alarm),
            "mean of the noise over its planned standard deviation",
        ),
    ]
    half = width // 2
    if half:
        found.append(
            measure(
                f"{what}coordinates",
                law.correlation(residual[:, :half], residual[:, half : 2 * half]),
                law.correlation_band(steps * half, false_alarm=false_alarm),
                "correlation of the noise between coordinates",
            )
        )
    if steps > 1:
        even, odd = residual[: steps // 2 * 2 : 2], residual[1::2]
        found.append(
            measure(
                f"{what}steps",
                law.correlation(even, odd),
                law.correlation_band(even.size, false_alarm=false_alarm),
                "correlation of the noise between steps",
            )
        )
    return found


def shift(
    residual: NDArray[np.float64],
    sampled: NDArray[np.bool_],
    *,
    noise_multiplier: float,
    false_alarm: float,
) -> list[Measured]:
    """Hold what a sampled canary adds to its share, which is C.

    Args:
        residual: (steps, canaries) noise that is left once the share is taken off.
        sampled: (steps, canaries) who was in the batch.
        noise_multiplier: Planned noise over C.
        false_alarm: Probability that an honest run leaves the band.

    Returns:
        One measurement; none if nobody was sampled.
    """
    members = int(sampled.sum())
    if not members:
        return []
    low, high = law.mean_band(members, false_alarm=false_alarm)
    left = float(residual[sampled].mean())
    return [
        measure(
            "share",
            1 + noise_multiplier * left,
            (1 + noise_multiplier * low, 1 + noise_multiplier * high),
            "what a sampled canary adds to the sum, over C",
        )
    ]


def sampling(
    sampled: NDArray[np.bool_], *, sample_rate: float, false_alarm: float
) -> list[Measured]:
    """Hold who is in which batch to Poisson sampling.

    Args:
        sampled: (steps, records) who was in the batch.
        sample_rate: Planned probability of each.
        false_alarm: Probability that an honest sampler leaves one band.

    Returns:
        Rate, pairs of records, pairs of steps, and how often batches are far from
        their mean.
    """
    steps, records = sampled.shape
    both = sample_rate**2

    def rate(name: str, hits: NDArray[np.bool_], chance: float, means: str) -> Measured:
        band = law.rate_band(hits.size, chance, false_alarm=false_alarm)
        return measure(name, float(hits.mean()), band, means)

    found = [rate("rate", sampled, sample_rate, "how often a record is in a batch")]
    if records > 1:
        pairs = (
            sampled[:, 0 : records // 2 * 2 : 2] & sampled[:, 1::2][:, : records // 2]
        )
        found.append(rate("pairs", pairs, both, "how often two records meet"))
    if steps > 1:
        again = sampled[0 : steps // 2 * 2 : 2] & sampled[1::2][: steps // 2]
        found.append(
            rate("repeats", again, both, "how often a record is in both of two steps")
        )
    distance, chance = law.far_batch(records, sample_rate)
    sizes = sampled.sum(axis=1)
    far = np.abs(sizes - records * sample_rate) > distance
    found.append(
        rate("batch sizes", far, chance, "how often a batch is far from its mean size")
    )
    return found


def of_steps(
    found: Steps, *, noise_multiplier: float, sample_rate: float, false_alarm: float
) -> list[Measured]:
    """Hold steps on canaries to every law; canary j is coordinate j.

    Args:
        found: From `diffusion.canaries.carry_out` with members 0, 1, 2, ...
        noise_multiplier: Planned noise over C.
        sample_rate: Planned rate.
        false_alarm: Probability that an honest run leaves one band.
    """
    sums, sampled = found.sums.numpy(), found.sampled.numpy()
    residual = sums.copy()
    residual[:, : sampled.shape[1]] -= sampled
    residual /= noise_multiplier
    return [
        *noise(residual, false_alarm=false_alarm),
        *shift(
            residual[:, : sampled.shape[1]],
            sampled,
            noise_multiplier=noise_multiplier,
            false_alarm=false_alarm,
        ),
        *sampling(sampled, sample_rate=sample_rate, false_alarm=false_alarm),
    ]
