"""Renyi divergences of events, bounded from above, and what they say of epsilon.

A bound of *every* moment of the loss is looser than the loss itself: by some per cent
of epsilon. It is kept for the two places where the exact loss is no use: a filter, for
runs chosen after seeing earlier results (`filters.py`), and the choice of the best of
several runs (`selection.py`).

    Gaussian                  order / (2 z^2)
    Poisson-sampled Gaussian  log A / (order - 1), A = E_Q[((1-q) + q e^w)^order]
        in whole numbers      the same, at the next whole order (`discrete_cost.py`)
    Laplace, two-point        closed forms

A is a sum of positive terms at whole orders and a quadrature with a bound on its error
between them. A record removed costs at least as much as one added (the source,
theorem 5 and corollary 7), so one direction is computed and both are bounded. Every
value is swollen by the rounding of its terms.

Letters: q sample rate, z noise multiplier.
Source: Mironov 2017, arXiv:1702.07476; Mironov, Talwar, Zhang 2019, arXiv:1908.10530,
section 3; Canonne, Kamath, Steinke 2020, arXiv:2004.00010, proposition 12.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from privplan import checks
from privplan.errors import CannotCertifyError, ParameterError
from privplan.events import (
    ChargedEvent,
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    PoissonSampledDiscreteGaussianEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    phases,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privplan.events import Event

_UNIT = 2.0**-52
_BELOW_ONE_NODE = 1e-17  # of A: what the quadrature's range leaves out, 100 times over
_MOST_ORDER = 1e5

ORDERS: tuple[float, ...] = (
    *(1.125, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 4.0, 4.5, 5.0),
    *(5.5, *map(float, range(6, 33)), *map(float, range(34, 65, 2))),
    *map(float, (72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 768)),
    *map(float, (1024, 1536, 2048, 4096)),
)
"""Orders worth trying: from epsilon about 50 (1.125) down to about 0.005 (4096)."""


def divergence(event: Event, order: float) -> float:
    """Bound the Renyi divergence of everything an event tree does.

    Under add-or-remove-one, in both directions; divergences of the same order add up.

    Args:
        event: What touches the data, as one tree.
        order: Above 1, at most 100,000.

    Returns:
        An upper bound; infinite where there is none.

    Raises:
        ParameterError: `order` is outside its range, or NaN.

    Example:
        >>> round(divergence(GaussianEvent(noise_multiplier=2.0), 8.0), 9)
        1.0
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.0)
        >>> round(divergence(step, 2.0), 9)
        0.000171813
    """
    check_order(order)
    terms = [part.count * _one(part.event, order) for part in phases(event)]
    return math.fsum(terms) * (1 + 4 * _UNIT)


def curve(event: Event, orders: Sequence[float] = ORDERS) -> tuple[float, ...]:
    """Bound the Renyi divergence of an event tree at several orders."""
    return tuple(divergence(event, order) for order in orders)


def check_order(order: float) -> None:
    """Refuse an order at which nothing is bounded here."""
    if not 1 < order <= _MOST_ORDER:
        raise ParameterError(
            f"the Renyi order is {order!r}, but it must be above 1 and at most 100,000",
            hint="give an order such as 16.0",
        )


def epsilon_at(order: float, divergence: float, delta: float) -> float:
    """Turn a Renyi divergence of one order into an epsilon.

    Example:
        >>> round(epsilon_at(16.0, 0.5, 1e-5), 6)
        1.018151
    """
    checks.probability(delta=delta)
    return max(0.0, (divergence + _surcharge(order, delta)) * (1 + 8 * _UNIT))


def divergence_within(order: float, epsilon: float, delta: float) -> float:
    """Return the most Renyi divergence of one order that keeps an epsilon.

    The inverse of `epsilon_at`, from below; negative where even none is too much.
    """
    checks.probability(delta=delta)
    rest = _surcharge(order, delta)
    return epsilon - rest - 16 * _UNIT * (epsilon + abs(rest))


def _surcharge(order: float, delta: float) -> float:
    """Return what an epsilon exceeds the divergence by; swollen by its rounding."""
    rest = math.log(delta) + math.log(order)
    found = math.log1p(-1 / order) - rest / (order - 1)
    return found + 8 * _UNIT * (1 + abs(math.log(delta)) / (order - 1))


def epsilon_upper(
    event: Event, *, delta: float, orders: Sequence[float] = ORDERS
) -> float:
    """Bound epsilon by the best of several orders; for what was committed beforehand.

    Example:
        >>> from privplan import canonical
        >>> query = GaussianEvent(noise_multiplier=2.0)
        >>> canonical.text_up(epsilon_upper(query, delta=1e-5), 3)
        '2.169'
    """
    return best(curve(event, orders), delta=delta, orders=orders)


def best(
    divergences: Sequence[float], *, delta: float, orders: Sequence[float] = ORDERS
) -> float:
    """Return the smallest epsilon that any order proves.

    Each order is a proof of its own, so for one fixed mechanism the best may be taken
    afterwards.
    """
    pairs = zip(orders, divergences, strict=True)
    return min(epsilon_at(order, found, delta) for order, found in pairs)


@lru_cache(maxsize=50_000)
def _one(event: ChargedEvent, order: float) -> float:
    found = math.inf
    match event:
        case GaussianEvent(noise_multiplier=noise):
            found = 0.5 * order / noise / noise if noise > 1e-150 else math.inf
        case PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise):
            found = _sampled(rate, noise, order)
        case PoissonSampledDiscreteGaussianEvent(
            sample_rate=rate, noise_multiplier=noise
        ):  # a divergence grows with its order, and whole orders are proven
            found = _sampled(rate, noise, float(math.ceil(order)))
        case LaplaceEvent(noise_multiplier=noise):
            found = _laplace(1 / noise, order)
        case RandomizedResponseEvent(epsilon=epsilon):
            found = _two_point(epsilon, order)
        case NonPrivateEvent():
            pass
    return found * (1 + 4 * _UNIT) if found >= 0 else math.inf


def _laplace(epsilon: float, order: float) -> float:
    up, down = (order - 1) * epsilon, -order * epsilon
    if up > 1:
        log_a = up + math.log(order + (order - 1) * math.exp(down - up))
        log_a -= math.log(2 * order - 1)
        return min(epsilon, (log_a + 8 * _UNIT * (1 + up)) / (order - 1))
    first, second = order * math.expm1(up), (order - 1) * math.expm1(down)
    excess = (first + second + 8 * _UNIT * (first - second)) / (2 * order - 1)
    return min(epsilon, math.log1p(excess) / (order - 1))


def _two_point(epsilon: float, order: float) -> float:
    x = (order - 1) * epsilon
    lead = math.tanh(0.5 * epsilon)
    if x > 1:
        log_a = x + math.log1p(0.5 * (lead - 1) * -math.expm1(-2 * x))
    else:
        log_a = math.log1p(2 * math.sinh(0.5 * x) ** 2 + lead * math.sinh(x))
    return min(epsilon, (log_a + 8 * _UNIT * x) / (order - 1))


def _sampled(rate: float, noise: float, order: float) -> float:
    """Bound one sampled step; no worse than if every record were in the batch."""
    plain = 0.5 * order / noise / noise if noise > 1e-150 else math.inf
    if rate == 1 or not plain * order < 1e6:  # far beyond any epsilon that protects
        return plain
    if order == int(order):
        log_a = _log_a_whole(rate, noise, int(order))
    else:
        log_a = _log_a_between(rate, noise, order)
    return min(plain, log_a / (order - 1))


def _log_a_whole(rate: float, noise: float, order: int) -> float:
    """Return log A at a whole order: equation 4 of section 3.3, less its leading 1.

    The binomial weights sum to 1, so A - 1 sums them times e^x - 1 with x =
    (k^2 - k) / (2 z^2): positive terms, no cancellation, however rare the sampling.
    """
    import numpy as np  # noqa: PLC0415 - slow import
    from scipy import special  # noqa: PLC0415 - slow import

    k = np.arange(2, order + 1, dtype=np.float64)
    log_choose = special.gammaln(order + 1) - special.gammaln(k + 1)
    log_choose -= special.gammaln(order - k + 1)
    x = k * (k - 1) / (2 * noise * noise)
    log_term = log_choose + k * math.log(rate) + (order - k) * math.log1p(-rate)
    log_term += x + np.log(-np.expm1(-x))
    size = 3 * math.lgamma(order + 1) - order * math.log(rate) + float(x[-1]) + order
    total = float(special.logsumexp(log_term)) + 8 * _UNIT * size
    return float(np.logaddexp(0.0, total)) if total > -30 else math.exp(total)


def _log_a_between(rate: float, noise: float, order: float) -> float:
    """Return log A at any order, by the quadrature of `contour/tilt.py`."""
    from privplan.contour.loss import Direction, Sampled  # noqa: PLC0415 - slow import
    from privplan.contour.strip import strip_error  # noqa: PLC0415 - slow import
    from privplan.contour.tilt import TiltedStep, first_spacing  # noqa: PLC0415

    step = Sampled(rate, noise, 1)
    try:
        tilted = TiltedStep(
            step, Direction.REMOVE, order - 1, 0.5 * first_spacing(step)
        )
    except CannotCertifyError:
        return math.inf
    log_wrong, _ = strip_error(tilted, 0.0, -60.0)
    wrong = math.exp(min(log_wrong, 700.0)) + _BELOW_ONE_NODE
    return tilted.log_mgf + 2 * tilted.log_mgf_error + math.log1p(wrong)
