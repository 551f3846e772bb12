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

Source: Canonne, Kamath & Steinke 2020, arXiv:2004.00010, section 2; Mironov, Talwar &
Zhang 2019, arXiv:1908.10530, section 3.
"""

from __future__ import annotations

from privplan import renyi
from privplan.errors import PolicyError
from privplan.events import (
    Event,
    GaussianEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    phases,
)

WHOLE_ORDERS = tuple(order for order in renyi.ORDERS if order == int(order))
_COVERED = (GaussianEvent, PoissonSampledGaussianEvent, NoOpEvent)


def epsilon_upper(event: Event, *, delta: float) -> float:
    """Bound epsilon of steps with discrete Gaussian noise on whole-number sums.

    Under add-or-remove-one; the noise multiplier of an event is sigma over radius.

    Args:
        event: Everything that touches the data.
        delta: Between 0 and 1.

    Raises:
        PolicyError: The tree holds an event that is not of this kind.
        ParameterError: `delta` is not strictly between 0 and 1.

    Example:
        >>> from privplan.events import SelfComposedEvent
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=1.1)
        >>> run = SelfComposedEvent(event=step, count=1000)
        >>> round(epsilon_upper(run, delta=1e-5), 3)
        3.529
    """
    for phase in phases(event):
        if not isinstance(phase.event, _COVERED):
            raise PolicyError(
                f"nothing is proven here about a {type(phase.event).__name__} with "
                "whole-number noise",
                hint="use Gaussian queries and DP-SGD steps alone",
            )
    return renyi.epsilon_upper(event, delta=delta, orders=WHOLE_ORDERS)
