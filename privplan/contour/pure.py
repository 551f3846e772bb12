"""The moment generating function of one pure query's loss.

A Laplace query of epsilon e has loss +e with probability 1/2, -e with probability
exp(-e)/2, and a continuous part between. The two-point query is the worst case of
every pure e-private mechanism: +e with probability 1/(1+exp(-e)), else -e. Both are
the same when P and Q are exchanged.

Source: Dwork & Roth 2014, section 3.3; Kairouz, Oh, Viswanath 2015, arXiv:1311.0776.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from privplan.contour.arrays import Complex
    from privplan.contour.loss import Pure


def log_mgf(query: Pure, z: Complex) -> Complex:
    """Return log E[exp(z L)] of one query, for Re z > 0; some branch of the logarithm.

    Example:
        >>> from privplan.contour.loss import Pure
        >>> float(log_mgf(Pure(1.0, True, 1), np.array([0j])).real[0])
        0.0
    """
    e = query.epsilon
    if query.two_point:
        p = 1 / (1 + math.exp(-e))
        return np.asarray(z * e + np.log(p + (1 - p) * np.exp(-2 * z * e)))
    # The factor exp(z e) is taken out, so that nothing overflows.
    fade = (2 * z + 1) * e
    mixed = 0.5 + 0.5 * np.exp(-fade) + 0.5 * e * _decay_mean(fade)
    return np.asarray(z * e + np.log(mixed))


def log_top(query: Pure) -> float:
    """Return log of the chance that one query loses all of its epsilon."""
    if query.two_point:
        return -math.log1p(math.exp(-query.epsilon))
    return -math.log(2.0)


def _decay_mean(x: Complex) -> Complex:
    """Return (1 - exp(-x)) / x, the mean of exp(-x v) over v in [0, 1]."""
    return np.asarray(-np.expm1(-x) / x)


def moments(query: Pure, t: float) -> tuple[float, float, float]:
    """Return log E[exp(t L)] and the mean and variance of the loss tilted by t > 0."""
    e = query.epsilon
    loss = np.linspace(-e, e, 201)
    if query.two_point:
        weight = np.zeros(201)
        weight[-1] = 1 / (1 + math.exp(-e))
        weight[0] = 1 - weight[-1]
    else:
        weight = 0.25 * np.exp(0.5 * (loss - e)) * (loss[1] - loss[0])
        weight[[0, -1]] = 0.5 * weight[[0, -1]] + [0.5 * math.exp(-e), 0.5]
    weight = weight * np.exp(t * (loss - e))
    weight /= weight.sum()
    mean = float(weight @ loss)
    log_m = float(log_mgf(query, np.array([complex(t)]))[0].real)
    return log_m, mean, float(weight @ (loss - mean) ** 2)
