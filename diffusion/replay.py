"""The same randomness on two neighbouring data sets: what one record can change.

With noise, batch and draws replayed, all that is left between the two answers is what
the last record did. That must be at most the bound its noise was made for, and nothing
else may differ: the same question asked twice gives the same bits, and the number of
random streams that are drawn does not depend on the records.

Noise is replayed at its full size, so that a noise that follows the batch shows as a
difference far beyond any bound.

Source: Cebere et al. 2026, arXiv:2602.17454 (recording and replaying the inside of a
mechanism on neighbours).
"""

import math
from collections.abc import Iterable

import torch

from diffusion.neighbours import Pair
from diffusion.privatize import GRID_BITS
from diffusion.randomness import RandomSource
from diffusion.releases import Release
from privplan.measured import Measured, measure

_SEED = 20240603
ROUNDING = 1e-4
"""Relative to the bound: engines round norms up and sums by parts in a million."""

_SHORTFALL = 0.01  # normalised clipping stops just short of C


class Replayed(RandomSource):
    """Randomness that can be replayed, and counts its streams; never for a run."""

    def __init__(self) -> None:
        super().__init__(unsafe_seed=_SEED)

    @property
    def streams(self) -> int:
        """How many streams were drawn."""
        return self._drawn


def replay(release: Release, pairs: Iterable[Pair]) -> list[Measured]:
    """Ask a release about neighbours, with the same randomness.

    Args:
        release: What is asked.
        pairs: Neighbouring data sets.

    Returns:
        One measurement per pair, then those of frozen outputs.
    """
    slack = grid_slack(release) + ROUNDING
    found, unequal, streams = [], 0, 0
    for pair in pairs:
        first, second, again = Replayed(), Replayed(), Replayed()
        with_it = release.ask(pair.larger, first)
        without = release.ask(pair.smaller, second)
        unequal += not torch.equal(with_it, release.ask(pair.larger, again))
        streams += first.streams != second.streams
        change = float(torch.linalg.vector_norm(with_it - without))
        found.append(
            measure(
                f"{release.name}: {pair.name}",
                change,
                _band(pair, slack, release),
                "what the last record changes, over what it may change",
            )
        )
    return [
        *found,
        measure(
            f"{release.name}: frozen",
            unequal,
            (0.0, 0.0),
            "neighbours whose answer differs when asked again",
        ),
        measure(
            f"{release.name}: streams",
            streams,
            (0.0, 0.0),
            "neighbours that draw another number of random streams",
        ),
    ]


def grid_slack(release: Release) -> float:
    """Return how much rounding to the public grid can add to a difference."""
    step = release.noise_multiplier * 2.0**-GRID_BITS
    return step * math.sqrt(release.length)


def _band(pair: Pair, slack: float, release: Release) -> tuple[float, float]:
    """Where the share of a record is known, it must be that; a query knows none."""
    if pair.share is None or not release.hostile:
        return 0.0, 1 + slack
    return max(pair.share - slack - _SHORTFALL, 0.0), pair.share + slack
