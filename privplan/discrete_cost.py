"""What discrete Gaussian noise on whole-number sums costs: Renyi, at whole orders.

Let every record move the sum by a vector v of whole numbers with |v| <= radius, and let
the noise be discrete Gaussian of parameter sigma in each coordinate. For whole k >= 0

    mean over the noise of (p(x - v) / p(x))^k  =  exp((k^2 - k) |v|^2 / (2 sigma^2)),

*exactly* as for the continuous Gaussian: completing the square leaves a sum over the
lattice shifted by k v, and a whole shift does not change it. Poisson sampling at a
whole order is a binomial sum of such means, so it, too, is that of the continuous
Gaussian. That is the direction "one record more"; the other is no larger, because
x -> v - x swaps the two worlds and maps the lattice onto itself (Mironov et al. 2019,
section 3.1).

At other orders, and for the exact trade-off curve, none of this holds: there the shift
k v is not whole. So what `accounting` finds for the continuous Gaussian is not claimed
for the discrete one; this room is, and it is a little larger.

Beside them a plan may ask other queries, with continuous noise. Renyi divergences of
one order add up over mechanisms that are each chosen after the earlier answers, so at
each whole order theirs are added; their own divergences hold at every order.

Source: Canonne, Kamath & Steinke 2020, arXiv:2004.00010, section 2 and proposition 12;
Mironov, Talwar & Zhang 2019, arXiv:1908.10530, section 3; Mironov 2017,
arXiv:1702.07476, proposition 1 (adding up).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privplan import checks, renyi
from privplan.events import PoissonSampledDiscreteGaussianEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privplan.events import Event, Phase

METHOD = "Renyi at whole orders, upper end only"
WHOLE_ORDERS = tuple(order for order in renyi.ORDERS if order == int(order))
_UNIT = 2.0**-52


def occurs(found: Iterable[Phase]) -> bool:
    """Return whether some of the noise is discrete."""
    kind = PoissonSampledDiscreteGaussianEvent
    return any(isinstance(phase.event, kind) for phase in found)


def epsilon_upper(event: Event, *, delta: float) -> float:
    """Bound epsilon of a tree in which some noise is discrete.

    Under add-or-remove-one and zero-out.

    Args:
        event: Everything that touches the data.
        delta: Between 0 and 1.

    Raises:
        ParameterError: `delta` is not strictly between 0 and 1.

    Example:
        >>> from privplan.events import SelfComposedEvent
        >>> step = PoissonSampledDiscreteGaussianEvent(
        ...     sample_rate=0.02, noise_multiplier=1.1
        ... )
        >>> run = SelfComposedEvent(event=step, count=1000)
        >>> round(epsilon_upper(run, delta=1e-5), 3)
        3.588
    """
    return renyi.epsilon_upper(event, delta=delta, orders=WHOLE_ORDERS)


def delta_upper(event: Event, *, epsilon: float) -> float:
    """Bound delta of a tree in which some noise is discrete: the inverse.

    Args:
        event: Everything that touches the data.
        epsilon: At least 0.

    Raises:
        ParameterError: `epsilon` is negative, infinite or NaN.

    Example:
        >>> step = PoissonSampledDiscreteGaussianEvent(
        ...     sample_rate=0.02, noise_multiplier=1.1
        ... )
        >>> found = delta_upper(step, epsilon=1.0)
        >>> round(epsilon_upper(step, delta=found), 9)
        1.0
    """
    checks.non_negative(epsilon=epsilon)
    return min(1.0, *(_delta_at(event, order, epsilon) for order in WHOLE_ORDERS))


def _delta_at(event: Event, order: float, epsilon: float) -> float:
    """Solve `renyi.epsilon_at` for delta, swollen by the rounding of its terms."""
    found = renyi.divergence(event, order)
    if not found < math.inf:
        return 1.0
    log_delta = (order - 1) * (found - epsilon + math.log1p(-1 / order))
    log_delta -= math.log(order)
    size = order * (found + epsilon + 1)
    return math.exp(min(log_delta + 16 * _UNIT * size, 0.0))
