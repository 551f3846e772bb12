"""Compositions whose delta(eps) has a closed form, with bounds on its rounding.

    Gaussian queries only      one Gaussian with mu
    one sampled step only      two normal tails on each side of one threshold
    one Laplace query only     1 - exp((eps - e) / 2)
    two-point queries only     a binomial sum, if all have the same epsilon

Each function returns a value and a bound on its absolute rounding error: every
special function is taken to be right to 32 units in the last place, and differences
are charged for what cancels.

Source: Balle & Wang 2018, arXiv:1805.06530, theorem 8 (Gaussian); Dong, Roth, Su
2022, arXiv:1905.02383, corollary 2.13; Kairouz, Oh, Viswanath 2015 (two-point).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from privplan.contour.loss import Direction

if TYPE_CHECKING:
    from privplan.contour.loss import Loss, Pure, Sampled

_LAST_PLACES = 32 * float(np.finfo(np.float64).eps)
_SMALLEST = 1e-300  # what underflows to zero is below it
_ROOT_2 = math.sqrt(2.0)
_MOST_TERMS = 4_000_000


def delta(loss: Loss, epsilon: float) -> tuple[float, float] | None:
    """Bound delta at an epsilon, or return None where there is no closed form.

    Example:
        >>> from privplan.contour.loss import Loss
        >>> low, high = delta(Loss(1.0, (), (), Direction.ADD), 1.0)
        >>> round(low, 9), high / low < 1 + 1e-12
        (0.126936738, True)
    """
    found = _delta(loss, epsilon)
    if found is None:
        return None
    value, slack = found
    return max(0.0, value - slack), min(1.0, max(0.0, value + slack))


def _delta(loss: Loss, epsilon: float) -> tuple[float, float] | None:
    if not loss.sampled and not loss.pure:
        return gaussian(math.sqrt(loss.gaussian), epsilon)
    if loss.gaussian or len(loss.sampled) + len(loss.pure) > 1:
        return None
    if loss.sampled:
        return _one_step(loss.sampled[0], loss.direction, epsilon)
    query = loss.pure[0]
    if query.two_point:
        return _two_point(query, epsilon)
    if query.n == 1:
        value = max(0.0, -math.expm1(0.5 * (epsilon - query.epsilon)))
        return value, _LAST_PLACES * (1 + query.epsilon)
    return None


def gaussian(mu: float, epsilon: float) -> tuple[float, float]:
    """Return delta(eps) of a mu-GDP Gaussian and its rounding error.

    Written with the scaled erfc, delta = exp(-a^2/2) (E(a) - E(a + mu)) / 2 with
    a = eps/mu - mu/2, so that neither exp(eps) nor a far tail over- or underflows.
    """
    if mu == 0:
        return 0.0, 0.0
    a = epsilon / mu - 0.5 * mu
    b = epsilon / mu + 0.5 * mu
    scale = 0.5 * math.exp(-0.5 * a * a)
    second = scale * float(special.erfcx(b / _ROOT_2))
    if a > 0:
        first = scale * float(special.erfcx(a / _ROOT_2))
    else:
        first = float(special.ndtr(-a))
    # exp(-a^2/2) carries the rounding of a, a^2 times over.
    slack = _LAST_PLACES * (first + second) * (1 + a * a) + _SMALLEST
    return first - second, slack


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the mu whose Gaussian has delta(eps) = delta; about 12 digits.

    Example:
        >>> round(gaussian_mu(1.0, 1e-5), 9)
        0.268051123
    """
    low, high = 1e-12, 1.0
    while gaussian(high, epsilon)[0] < delta:
        low, high = high, 2 * high
    for _ in range(60):
        middle = math.sqrt(low * high)
        if gaussian(middle, epsilon)[0] < delta:
            low = middle
        else:
            high = middle
        if high < low * (1 + 1e-13):
            break
    return high


def _one_step(
    step: Sampled, direction: Direction, epsilon: float
) -> tuple[float, float] | None:
    if step.n != 1:
        return None
    q, s = step.q, step.s
    growth = math.expm1(epsilon) if epsilon < 700 else math.inf
    if direction is Direction.REMOVE:
        # Outputs above y are more likely with the record, by more than e^eps.
        level = epsilon + math.log1p((q - 1) * math.exp(-epsilon)) - math.log(q)
        y = s * level + 0.5 / s
        with_it, without = float(special.ndtr(1 / s - y)), float(special.ndtr(-y))
        first, second = q * with_it, (growth + q) * without if without else 0.0
    else:
        room = math.expm1(-epsilon) + q
        if room <= 0:
            return 0.0, 0.0
        y = s * math.log(room / q) + 0.5 / s
        with_it, without = float(special.ndtr(y - 1 / s)), float(special.ndtr(y))
        # 1 - e^eps (1-q) >= 0 whenever there is room.
        first = without * (q - (1 - q) * growth)
        second = (growth + 1) * q * with_it
    slack = _LAST_PLACES * (abs(first) + abs(second) + without) * (1 + y * y)
    slack += _SMALLEST
    return first - second, slack


def _two_point(query: Pure, epsilon: float) -> tuple[float, float] | None:
    e, n = query.epsilon, query.n
    if n > _MOST_TERMS:
        return None
    least = max(0, math.floor(0.5 * (n + epsilon / e)))
    true = np.arange(least, n + 1, dtype=np.float64)
    excess = (2 * true - n) * e - epsilon
    true, excess = true[excess > 0], excess[excess > 0]
    log_p, log_1p = -math.log1p(math.exp(-e)), -math.log1p(math.exp(e))
    log_choose = (
        special.gammaln(n + 1)
        - special.gammaln(true + 1)
        - special.gammaln(n - true + 1)
    )
    terms = np.exp(log_choose + true * log_p + (n - true) * log_1p)
    value = float((terms * -np.expm1(-excess)).sum())
    size = 4 + float(special.gammaln(n + 1)) + n * e
    return value, _LAST_PLACES * size * float(terms.sum())
