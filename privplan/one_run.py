"""What the guesses of one run say about epsilon: lower bounds, and their ceilings.

m canaries are put into a training set or left out, each by a fair coin. Whoever sees
the result makes k guesses, "in" or "out", and leaves the other m - k alone; v of them
are right. If training is (epsilon, delta)-private, many right guesses are unlikely:

    P[at least v right] <= P[Bin(k, s) >= v]
                           + 2 m delta max_i (1/i) P[v - i <= Bin(k, s) <= v - 1]

with s = e^epsilon / (1 + e^epsilon). An epsilon for which this is at most the
significance is refuted, and so is every smaller one.

The second bound knows the whole trade-off curve f of the mechanism. With p_i the chance
of exactly i right guesses, every t has

    sum_{i >= t} (k - i + 1)/m p_{i-1}  >=  f(1 - sum_{i >= t} i/m p_i),

because turning one canary's coin round moves it between the two sides. Begun with
P[at least v right] = significance and followed down to t = 1, this asks for a total
chance; where that is above one, the curve is refuted.

Both have a ceiling: k right guesses of k. No run, however leaky, can show more. A bound
below the claim is absence of evidence, and nothing else.

Source: Steinke, Nasr, Jagielski 2023, arXiv:2305.08846, theorem 5.2; Mahloujifar,
Melis, Chaudhuri 2024, arXiv:2410.22235, theorem 3.2 and algorithm 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import accounting, checks, tradeoff
from privplan.errors import ParameterError

if TYPE_CHECKING:
    from privplan.events import Event
    from privplan.profile import Reals
    from privplan.tradeoff import Tradeoff

_WIDEST = 64.0  # noise is looked for within this factor of the claimed one
_ROUNDS = 40
_RELATIVE = 1e-3
_LARGEST = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """How the guesses of one run came out.

    Attributes:
        canaries: m, each in or out by a fair coin.
        guesses: k, fixed before looking; at least 1, at most m.
        correct: v, at most k.

    Raises:
        ParameterError: A number is outside its range.
    """

    canaries: int
    guesses: int
    correct: int

    def __post_init__(self) -> None:
        checks.count(canaries=self.canaries, guesses=self.guesses)
        checks.non_negative(correct=self.correct)
        if not self.correct <= self.guesses <= self.canaries:
            raise ParameterError(
                f"{self.correct} right of {self.guesses} guesses about "
                f"{self.canaries} canaries is impossible",
                hint="give right guesses <= guesses <= canaries",
            )

    def perfect(self) -> Guesses:
        """Return what a run would show in which every guess is right."""
        return Guesses(
            canaries=self.canaries, guesses=self.guesses, correct=self.guesses
        )


def p_value(found: Guesses, *, epsilon: float, delta: float) -> float:
    """Bound the chance of so many right guesses under (epsilon, delta)-privacy.

    Raises:
        ParameterError: `epsilon` is negative or `delta` outside [0, 1), or NaN.

    Example:
        >>> some = Guesses(canaries=1000, guesses=100, correct=80)
        >>> round(p_value(some, epsilon=1.0, delta=0.0), 4)
        0.0716
    """
    checks.non_negative(epsilon=epsilon, delta=delta)
    import numpy as np  # noqa: PLC0415 - slow to load
    from scipy.stats import binom  # noqa: PLC0415 - slow to load

    right, share = found.correct, 1 / (1 + math.exp(-epsilon))
    reached = float(binom.sf(right - 1, found.guesses, share))
    if delta == 0 or right == 0:
        return min(reached, 1.0)
    back = np.arange(1, right + 1)
    between = binom.sf(right - back - 1, found.guesses, share) - reached
    most = float((between / back).max())
    return min(reached + 2 * found.canaries * delta * most, 1.0)


def epsilon_lower(found: Guesses, *, delta: float, significance: float) -> float:
    """Return the largest epsilon that the guesses refute; 0 if they refute none.

    Args:
        found: How the guesses came out.
        delta: Of the claim.
        significance: How often an honest run may be refuted; inside (0, 1).

    Example:
        >>> some = Guesses(canaries=1000, guesses=100, correct=100)
        >>> round(epsilon_lower(some, delta=1e-5, significance=0.05), 2)
        3.47
    """
    checks.probability(significance=significance)

    def refuted(epsilon: float) -> bool:
        return p_value(found, epsilon=epsilon, delta=delta) <= significance

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high) and high < _LARGEST:
        low, high = high, 2 * high
    for _ in range(_ROUNDS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def refutes(found: Guesses, curve: Tradeoff, *, significance: float) -> bool:
    """Return whether so many right guesses refute a trade-off curve.

    Args:
        found: How the guesses came out.
        curve: A lower bound on the least false negative rates, its own mirror image.
        significance: How often an honest run may be refuted; inside (0, 1).

    Raises:
        ParameterError: `significance` is not inside (0, 1).
    """
    checks.probability(significance=significance)
    m, k, v = found.canaries, found.guesses, found.correct
    right = significance * v / m
    wrong = significance * (k - v) / m
    for i in range(v - 1, -1, -1):
        least = float(curve.false_negative_rates([max(1 - right, 0.0)])[0])
        grown = max(wrong, least)
        right += i / (k - i) * (grown - wrong)
        wrong = grown
        if right + wrong > k / m:
            return True
    return False


def asked_rates(found: Guesses, significance: float) -> Reals:
    """Return the false positive rates at which `refutes` asks a curve."""
    import numpy as np  # noqa: PLC0415 - slow to load

    least = significance / (2 * found.canaries)
    most = min(found.guesses / found.canaries, 1.0)
    return 1 - np.geomspace(least, most, 24)


def curve_epsilon_lower(
    found: Guesses,
    event_at: Callable[[float], Event],
    *,
    delta: float,
    significance: float,
) -> float:
    """Return the epsilon of the leakiest mechanism of a family that is refuted.

    Args:
        found: How the guesses came out.
        event_at: From a factor on the noise to everything the run did; 1 is the claim.
        delta: Where epsilon is read off; of the claim.
        significance: How often an honest run may be refuted; inside (0, 1).

    Returns:
        A lower end of the epsilon of the least noise that is refuted; 0 if none is
        between 1/64 and 64 of the claimed noise.
    """
    rates = asked_rates(found, significance)

    def refuted(factor: float) -> bool:
        curve = tradeoff.curve(event_at(factor), rates, tolerance=1e-4)
        return refutes(found, curve, significance=significance)

    low, high = 1 / _WIDEST, _WIDEST
    if not refuted(high):
        return 0.0
    if refuted(low):
        high = low
    while high / low > 1 + _RELATIVE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if refuted(middle) else (middle, high)
    return accounting.epsilon(event_at(high), delta=delta).lower
