"""What events cost: epsilon of a delta, and delta of an epsilon, as brackets.

The answer to "what is epsilon" is two numbers, `lower <= epsilon <= upper`, and the
name of the route that found them. Only `upper` may be promised to anybody; `lower`
shows that nothing was wasted. Routes, best first:

    closed form       Gaussians only; one step; one Laplace query; two-point queries
    contour           everything else, to about 9 digits (`contour/`)
    PLD               dp-accounting, where the contour declines (`opinions.py`)
    no amplification  steps counted as if every record were in every batch

Both directions of add-or-remove-one are computed, and the larger counts. Zero-out
gives the same numbers for these events: blanking a record shifts each sum by as much
as removing it. Replace-one doubles the sensitivity of plain queries. For sampled
steps no dominating pair under composition is known, so there the upper end is group
privacy (replace = remove, then add), and the lower end a replacement by a record
whose gradient is zero; both hold, but they are far apart.

`sample_rate` and `noise_multiplier` become q and s below this floor and nowhere else.
This module imports numpy and scipy when asked a question, not before.

Source: accounting in Zhu, Dong, Wang 2022, arXiv:2106.08567; group privacy in Dwork &
Roth 2014, theorem 2.2; why replace-one is hard in Lebeda, Regehr, Kamath, Steinke
2024, arXiv:2405.20769.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import checks
from privplan.budget import Adjacency
from privplan.errors import CannotCertifyError
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    PoissonSampledGaussianEvent,
    phases,
)

if TYPE_CHECKING:
    from privplan.contour.loss import Loss
    from privplan.events import Event, Phase

_NO_AMPLIFICATION = "closed form, without amplification by sampling"
_GROUP = "group privacy over both directions"
_MOST_GAUSSIAN = 1e12  # mu^2 beyond it: an epsilon of 10^12 protects nobody
_SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Two numbers with the truth between them.

    Attributes:
        lower: Never above the truth.
        upper: Never below the truth; the only one to promise.
        method: Which route answered.
    """

    lower: float
    upper: float
    method: str

    def __post_init__(self) -> None:
        if not 0 <= self.lower <= self.upper:
            raise AssertionError(f"no bracket: {self.lower!r}, {self.upper!r}")


def epsilon(
    event: Event,
    *,
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bracket:
    """Bound the epsilon of everything an event tree did to the data.

    Args:
        event: What happened, as one tree; parts compose jointly.
        delta: Between 0 and 1.
        adjacency: Which data sets count as neighbours.

    Returns:
        Bounds on the smallest epsilon >= 0 that holds with this delta.

    Raises:
        ParameterError: `delta` is not strictly between 0 and 1.

    Example:
        >>> from privplan.events import SelfComposedEvent
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=1.1)
        >>> found = epsilon(SelfComposedEvent(event=step, count=1000), delta=1e-5)
        >>> round(found.upper, 6), found.method
        (2.393827, 'contour')
    """
    checks.probability(delta=delta)
    found = phases(event)
    special = _nothing_or_everything(found, math.inf)
    if special is not None:
        return special
    if adjacency is Adjacency.REPLACE_ONE:
        return _replace_epsilon(found, delta)
    return _epsilon(found, delta, 1.0)


def delta(
    event: Event,
    *,
    epsilon: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bracket:
    """Bound the delta of everything an event tree did to the data.

    Args:
        event: What happened, as one tree; parts compose jointly.
        epsilon: At least 0; at 0 delta is the total variation distance.
        adjacency: Which data sets count as neighbours.

    Raises:
        ParameterError: `epsilon` is negative, infinite or NaN.
        CannotCertifyError: No route can bound it.

    Example:
        >>> found = delta(GaussianEvent(noise_multiplier=1.0), epsilon=1.0)
        >>> round(found.upper, 6), found.method
        (0.126937, 'closed form')
    """
    checks.non_negative(epsilon=epsilon)
    found = phases(event)
    special = _nothing_or_everything(found, 1.0)
    if special is not None:
        return special
    if adjacency is Adjacency.REPLACE_ONE:
        return _replace_delta(found, epsilon)
    return _delta(found, epsilon, 1.0)


def _nothing_or_everything(found: tuple[Phase, ...], most: float) -> Bracket | None:
    if not found:
        return Bracket(lower=0.0, upper=0.0, method="nothing read")
    if any(isinstance(phase.event, NonPrivateEvent) for phase in found):
        return Bracket(lower=most, upper=most, method="read without noise")
    return None


def _epsilon(found: tuple[Phase, ...], delta: float, sensitivity: float) -> Bracket:
    from privplan.contour import solve

    remove, add = _losses(found, sensitivity)
    if not _unamplified(remove) < _MOST_GAUSSIAN:
        return Bracket(lower=0.0, upper=math.inf, method=_NO_AMPLIFICATION)
    try:
        low, high = solve.epsilon_bracket(remove, delta)
        if remove.sampled:
            other_low, other_high = solve.epsilon_bracket(add, delta, beyond=low)
            low, high = max(low, other_low), max(high, other_high)
    except CannotCertifyError:
        return _fallback_epsilon(found, remove, delta, sensitivity)
    return Bracket(lower=low, upper=high, method=_route(remove))


def _delta(found: tuple[Phase, ...], epsilon: float, sensitivity: float) -> Bracket:
    from privplan.contour import solve

    remove, add = _losses(found, sensitivity)
    if not _unamplified(remove) < _MOST_GAUSSIAN:
        return Bracket(lower=0.0, upper=1.0, method=_NO_AMPLIFICATION)
    try:
        low, high = solve.delta_bracket(remove, epsilon)
        if remove.sampled:
            other_low, other_high = solve.delta_bracket(add, epsilon)
            low, high = max(low, other_low), max(high, other_high)
    except CannotCertifyError:
        return _fallback_delta(found, remove, epsilon)
    return Bracket(lower=low, upper=high, method=_route(remove))


def _losses(found: tuple[Phase, ...], sensitivity: float) -> tuple[Loss, Loss]:
    from privplan.contour.loss import Direction, from_phases

    remove = from_phases(found, Direction.REMOVE, sensitivity=sensitivity)
    return remove, from_phases(found, Direction.ADD, sensitivity=sensitivity)


def _route(loss: Loss) -> str:
    from privplan.contour import closed

    return "contour" if closed.delta(loss, 1.0) is None else "closed form"


def _unamplified(loss: Loss) -> float:
    """Return mu^2 if every record were in every batch; an upper bound on the loss."""
    return loss.gaussian + math.fsum(step.n / step.s**2 for step in loss.sampled)


def _without_sampling(loss: Loss) -> Loss:
    from privplan.contour.loss import Loss

    return Loss(_unamplified(loss), (), loss.pure, loss.direction)


def _fallback_epsilon(
    found: tuple[Phase, ...], loss: Loss, delta: float, sensitivity: float
) -> Bracket:
    """Ask dp-accounting; where even that declines, forgo amplification."""
    from privplan import opinions
    from privplan.contour import solve

    if sensitivity == 1.0:
        answer = opinions.pld(found, delta=delta)
        if math.isfinite(answer.upper):
            return Bracket(lower=answer.lower, upper=answer.upper, method=answer.name)
    plain = _without_sampling(loss)
    try:
        _, high = solve.epsilon_bracket(plain, delta)
    except CannotCertifyError:
        pure = sum(query.n * query.epsilon for query in plain.pure)
        plain = type(plain)(plain.gaussian, (), (), plain.direction)
        high = pure + solve.epsilon_bracket(plain, delta)[1]
    return Bracket(lower=0.0, upper=high, method=_NO_AMPLIFICATION)


def _fallback_delta(found: tuple[Phase, ...], loss: Loss, epsilon: float) -> Bracket:
    from privplan import opinions
    from privplan.contour import solve

    answer = opinions.pld_delta(found, epsilon=epsilon)
    if answer is not None:
        return Bracket(lower=0.0, upper=answer, method=opinions.PLD)
    _, high = solve.delta_bracket(_without_sampling(loss), epsilon)
    return Bracket(lower=0.0, upper=high, method=_NO_AMPLIFICATION)


def _plain(found: tuple[Phase, ...]) -> bool:
    """Return whether replacing a record merely doubles every sensitivity."""
    return all(isinstance(p.event, GaussianEvent | LaplaceEvent) for p in found)


def _replace_epsilon(found: tuple[Phase, ...], delta: float) -> Bracket:
    """Compose remove and add: M(D+x) <= e^a M(D) + d1 <= e^(a+b) M(D+y) + ..."""
    if _plain(found):
        return _epsilon(found, delta, 2.0)
    first = _epsilon(found, delta, 1.0)
    best = math.inf
    for share in _SHARES:
        one = _epsilon(found, share * delta, 1.0).upper
        left = (1 - share) * delta * math.exp(-min(one, 600.0)) * (1 - 1e-9)
        if left > 1e-250:
            best = min(best, one + _epsilon(found, left, 1.0).upper)
    return Bracket(lower=first.lower, upper=best * (1 + 1e-12), method=_GROUP)


def _replace_delta(found: tuple[Phase, ...], epsilon: float) -> Bracket:
    if _plain(found):
        return _delta(found, epsilon, 2.0)
    lower = _delta(found, epsilon, 1.0).lower
    best = 1.0
    for part in range(17):
        one = epsilon * part / 16
        loss = _delta(found, one, 1.0).upper
        loss += math.exp(min(one, 700.0)) * _delta(found, epsilon - one, 1.0).upper
        best = min(best, loss * (1 + 1e-12))
    return Bracket(lower=min(lower, best), upper=best, method=_GROUP)


__all__ = ["Bracket", "PoissonSampledGaussianEvent", "delta", "epsilon"]
