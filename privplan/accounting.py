"""What events cost: epsilon of a delta, and delta of an epsilon, as brackets.

    lower <= the smallest epsilon for which (epsilon, delta) holds <= upper

Only `upper` may be promised to anybody; `lower` shows that nothing was wasted. Phases
are composed jointly, in both directions of add-or-remove-one, and the larger counts.
`method` names the route that answered, best first:

    closed form        Gaussians only; one step; one Laplace query; two-point queries
    contour            many steps, to about 9 digits
    grid               few steps, rare participation, pure queries: to about 4
    PLD                dp-accounting's, where all of these decline (`opinions`)
    Chernoff           where that declines too: an upper end only, some per cent loose
    Renyi              where some noise is discrete: an upper end only, some per cent
                       loose, the only one that is proven there (`discrete_cost`)

Adjacency. Zero-out costs what add-or-remove-one costs for these events: blanking a
record shifts each sum by as much as removing it. Replace-one doubles the sensitivity
of plain Gaussian and Laplace queries. For Poisson-sampled steps no pair of outputs is
known to be the worst under composition; such plans are refused there rather than
guessed.

`sample_rate` and `noise_multiplier` become q and s below this floor, nowhere else.
Numbers are computed on first use: importing this module loads no numpy.

Source: Zhu, Dong, Wang 2022, arXiv:2106.08567 (both directions); Lebeda, Regehr,
Kamath, Steinke 2024, arXiv:2405.20769 (why replace-one is hard).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import checks, discrete_cost
from privplan.budget import Adjacency
from privplan.errors import CannotCertifyError, PolicyError
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    StepEvent,
    phases,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privplan.events import Event, Phase

_RARE = "records hardly ever read"
_SLACK = 1e-9  # more than a sum of logarithms can round
_CHERNOFF = "Chernoff bound, upper end only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Two numbers with the truth between them.

    Attributes:
        lower: Never above the truth.
        upper: Never below the truth; this one is claimed.
        method: Which route answered.
    """

    lower: float
    upper: float
    method: str

    @property
    def least_claim(self) -> float:
        """Whoever wrote down less than this changed a number.

        Where noise is discrete nothing is known from below, and one formula gives the
        upper end, so it is that, but for rounding.
        """
        one_way = self.method == discrete_cost.METHOD
        return self.upper * (1 - _SLACK) if one_way else self.lower


def epsilon(
    event: Event,
    *,
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bracket:
    """Bound the epsilon of everything an event tree did to the data.

    Args:
        event: What touched the data, as one tree.
        delta: Between 0 and 1.
        adjacency: Which data sets count as neighbours.

    Returns:
        Bounds on the smallest epsilon >= 0 that holds with this delta.

    Raises:
        ParameterError: `delta` is not strictly between 0 and 1.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> from privplan.events import PoissonSampledGaussianEvent, SelfComposedEvent
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=1.1)
        >>> found = epsilon(SelfComposedEvent(event=step, count=1000), delta=1e-5)
        >>> round(found.lower, 6), round(found.upper, 6), found.method
        (3.250074, 3.250074, 'contour')
    """
    checks.probability(delta=delta)
    found = phases(event)
    trivial = _nothing_or_everything(found, math.inf)
    if trivial is not None:
        return trivial
    sensitivity = _sensitivity(found, adjacency)
    if _hardly_ever_read(found, delta):
        return Bracket(lower=0.0, upper=0.0, method=_RARE)
    if discrete_cost.occurs(found):
        upper = discrete_cost.epsilon_upper(event, delta=delta)
        return Bracket(lower=0.0, upper=upper, method=discrete_cost.METHOD)
    from privplan.contour import both  # noqa: PLC0415 - loads numpy and scipy

    try:
        lower, upper, method = both.epsilon(found, delta, sensitivity=sensitivity)
    except CannotCertifyError:
        return _epsilon_otherwise(found, delta, sensitivity)
    return Bracket(lower=lower, upper=upper, method=method)


def delta(
    event: Event,
    *,
    epsilon: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bracket:
    """Bound the delta of everything an event tree did to the data.

    Args:
        event: What touched the data, as one tree.
        epsilon: At least 0; at 0, delta is the total variation distance.
        adjacency: Which data sets count as neighbours.

    Raises:
        ParameterError: `epsilon` is negative, infinite or NaN.
        PolicyError: No route is right for this event under this adjacency.

    Example:
        >>> found = delta(GaussianEvent(noise_multiplier=1.0), epsilon=1.0)
        >>> round(found.upper, 6), found.method
        (0.126937, 'closed form')
    """
    checks.non_negative(epsilon=epsilon)
    found = phases(event)
    trivial = _nothing_or_everything(found, 1.0)
    if trivial is not None:
        return trivial
    sensitivity = _sensitivity(found, adjacency)
    if discrete_cost.occurs(found):
        upper = discrete_cost.delta_upper(event, epsilon=epsilon)
        return Bracket(lower=0.0, upper=upper, method=discrete_cost.METHOD)
    from privplan.contour import both  # noqa: PLC0415 - loads numpy and scipy

    try:
        lower, upper, method = both.delta(found, epsilon, sensitivity=sensitivity)
    except CannotCertifyError:
        return _delta_otherwise(found, epsilon, sensitivity)
    return Bracket(lower=lower, upper=upper, method=method)


def _nothing_or_everything(found: Sequence[Phase], most: float) -> Bracket | None:
    if not found:
        return Bracket(lower=0.0, upper=0.0, method="nothing read")
    if any(isinstance(phase.event, NonPrivateEvent) for phase in found):
        return Bracket(lower=most, upper=most, method="read without noise")
    return None


def _hardly_ever_read(found: Sequence[Phase], delta: float) -> bool:
    """Return whether a record is in no batch at all, but for a chance of delta.

    The outputs of neighbours differ only if it is in some batch, so their total
    variation distance is at most 1 - prod (1 - q)^T, and epsilon is 0.
    """
    total = 0.0
    for phase in found:
        if not isinstance(phase.event, StepEvent):
            return False
        if phase.event.sample_rate == 1:
            return False
        total += phase.count * math.log1p(-phase.event.sample_rate)
    return -math.expm1(total) * (1 + _SLACK) <= delta


def _sensitivity(found: Sequence[Phase], adjacency: Adjacency) -> float:
    if adjacency is not Adjacency.REPLACE_ONE:
        return 1.0
    plain = GaussianEvent | LaplaceEvent
    if all(isinstance(phase.event, plain) for phase in found):
        return 2.0
    raise PolicyError(
        "sampled and pure queries have no replace-one epsilon here, and their "
        "add-or-remove-one epsilon would be too small",
        hint="state the claim under add-or-remove-one",
    )


def _epsilon_otherwise(
    found: Sequence[Phase], delta: float, sensitivity: float
) -> Bracket:
    """Answer where the contour declines: the smaller of two bounds that both hold."""
    from privplan import opinions  # noqa: PLC0415 - only where the contour declines
    from privplan.contour import both  # noqa: PLC0415 - loads numpy and scipy

    plain = both.epsilon_upper(found, delta, sensitivity=sensitivity)
    if sensitivity == 1 and plain < opinions.LARGEST_EPSILON:
        other = opinions.pld(found, delta=delta)
        if other.upper < plain:
            return Bracket(lower=other.lower, upper=other.upper, method=other.name)
    return Bracket(lower=0.0, upper=plain, method=_CHERNOFF)


def _delta_otherwise(
    found: Sequence[Phase], epsilon: float, sensitivity: float
) -> Bracket:
    from privplan import opinions  # noqa: PLC0415 - only where the contour declines
    from privplan.contour import both  # noqa: PLC0415 - loads numpy and scipy

    plain = both.delta_upper(found, epsilon, sensitivity=sensitivity)
    if sensitivity == 1:
        other = opinions.pld_delta(found, epsilon=epsilon)
        if other is not None and other < plain:
            return Bracket(lower=0.0, upper=other, method=opinions.PLD)
    return Bracket(lower=0.0, upper=plain, method=_CHERNOFF)
