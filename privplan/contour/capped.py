"""A bound that always answers: Chernoff's, with rare huge losses set aside.

Where the contour declines, a participation is so rare that delta is decided by outputs
far out in one step, and E[exp(t L)] is dominated by outputs farther still. So cap it:
an output beyond an edge counts in full, and the rest is bounded by Chernoff,

    delta(eps) <= n P(y > edge) + c(t) M_edge(t) e^(-t eps)      for every edge and t,

with M_edge the moment generating function up to the edge. It is an upper bound on
epsilon, some per cent loose, and never fails; there is no lower end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from privplan.contour import pure
from privplan.contour.loss import Direction
from privplan.contour.tilt import first_spacing, log_ratio

if TYPE_CHECKING:
    from privplan.contour.arrays import Reals
    from privplan.contour.loss import Loss, Sampled

_TS = np.geomspace(1e-3, 1e7, 241)
_SHARES = (0.3, 0.03, 1e-3)
_REACH = 9.5
_MOST_POINTS = 4_000
_SAFETY = 1 + 1e-6  # sums stand for integrals here, to about 1e-9


def epsilon_upper(loss: Loss, delta: float) -> float:
    """Bound epsilon from above, in one direction.

    Example:
        >>> from privplan.contour.loss import Direction, Loss, Sampled
        >>> step = Sampled(1e-6, 0.5, 10)
        >>> bound = epsilon_upper(Loss(0.0, (step,), (), Direction.REMOVE), 1e-9)
        >>> 0.00713 < bound < 0.05
        True
    """
    return min(_bound(loss, delta, share) for share in _SHARES)


def _bound(loss: Loss, delta: float, share: float) -> float:
    log_touch = -_TS * np.log1p(1 / _TS) - np.log1p(_TS)
    total = 0.5 * loss.gaussian * _TS * (_TS + 1) + log_touch
    for step in loss.sampled:
        allowed = share * delta / len(loss.sampled)
        total = total + step.n * _log_mgf(step, loss.direction, allowed)
    for query in loss.pure:
        total = total + query.n * pure.log_mgf(query, _TS + 0j).real
    epsilon = (total - math.log(delta * (1 - share))) / _TS
    return max(0.0, float(np.nanmin(epsilon))) * _SAFETY


def _log_mgf(step: Sampled, direction: Direction, allowed: float) -> Reals:
    """Return log M_edge at each t, the edge chosen to cost at most `allowed`."""
    remove = direction is Direction.REMOVE
    high = _edge(step, allowed) if remove else _REACH
    spacing = max(0.25 * first_spacing(step), (high + _REACH) / _MOST_POINTS)
    y = np.linspace(-_REACH, high, math.ceil((high + _REACH) / spacing) + 1)
    ratio = log_ratio(y, step)
    weight = -0.5 * y * y + math.log((y[1] - y[0]) / math.sqrt(2 * math.pi))
    power = _TS + 1 if remove else -_TS
    inside = special.logsumexp(power[:, None] * ratio + weight, axis=1)
    # Below the range the loss is at most its value there; above, when adding, too.
    most = np.where(remove, 0.0, -_TS * math.log1p(-step.q))
    return np.asarray(np.logaddexp(inside, most - 45.0))


def _edge(step: Sampled, allowed: float) -> float:
    """Return a y beyond which n steps have at most the allowed probability."""
    y = np.arange(0.0, 40.0 + 1 / step.s, 0.05)
    record, others = special.log_ndtr(1 / step.s - y), special.log_ndtr(-y)
    tail = np.logaddexp(math.log(step.q) + record, math.log1p(-step.q) + others)
    fits = np.flatnonzero(math.log(step.n) + tail <= math.log(allowed))
    return float(y[fits[0]] if fits.size else y[-1])
