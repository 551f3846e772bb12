"""One check of a preflight: what was measured, and what to do if it is wrong."""

import math
from dataclasses import dataclass

from privplan.measured import Measured, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        found: What was measured, and the range it must lie in.
        problem: What is wrong if it does not, in words, with the layer's name.
        cure: What to do then.
    """

    found: Measured
    problem: str
    cure: str


def at_most(
    name: str, value: float, most: float, meaning: str, *, problem: str, cure: str
) -> Check:
    """Check that something is between zero and a bound; NaN is not."""
    return Check(
        found=measure(name, value, (0.0, most), meaning), problem=problem, cure=cure
    )


def none_of(
    name: str, culprits: list[str], meaning: str, *, problem: str, cure: str
) -> Check:
    """Check that nothing was found; the problem names the first of what was."""
    named = f" '{culprits[0]}'" if culprits else ""
    return Check(
        found=measure(name, len(culprits), (0.0, 0.0), meaning),
        problem=problem.replace("{layer}", named.strip()),
        cure=cure,
    )


def distance(first: float, second: float) -> float:
    """Return how far two numbers are apart, in units of the second; NaN stays NaN.

    Example:
        >>> distance(1.0, 2.0), distance(0.0, 0.0)
        (0.5, 0.0)
    """
    gap = abs(first - second)
    if gap == 0 or not math.isfinite(gap):
        return gap
    return gap / abs(second) if second else math.inf
