"""Capping: leave out outputs so far out that their chance is far below delta.

With a small sample rate, E[exp(t L)] is soon dominated by outputs that practically
never occur: at a t that suits the rest, it explodes. They do not matter for delta, so
they are left out, each output y being kept with a share exp(-e^((y - cap) / soft)),
which dies faster than any exp(t L) grows and is analytic, as the quadrature needs. If
P(left out) is the chance that any of n steps loses its output, then

    delta of what is kept  <=  delta  <=  delta of what is kept + P(left out).

Only removal needs it: when a record is added, losses are bounded.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from privplan.contour.loss import Direction
from privplan.contour.tilt import log_kept, too_hard

if TYPE_CHECKING:
    from privplan.contour.loss import Loss, Sampled

_SOFT = 0.12
_ROOT_2PI = math.sqrt(2 * math.pi)


def capped(loss: Loss, delta: float, tolerance: float) -> tuple[Loss, float]:
    """Cap each kind of step; return the rest and P(left out) <= tolerance * delta.

    Raises:
        CannotCertifyError: Nothing to cap: no sampled steps, or adding a record.
    """
    if not loss.sampled or loss.direction is Direction.ADD:
        raise too_hard("capping does not help")
    allowed = tolerance * delta / len(loss.sampled)
    steps, total = [], 0.0
    for step in loss.sampled:
        soft = min(_SOFT, 0.4 * step.s)
        low, high = 0.0, 60.0 + 1 / step.s
        for _ in range(10):
            middle = 0.5 * (low + high)
            lost = _left_out(replace(step, cap=middle, soft=soft))
            low, high = (low, middle) if lost <= allowed else (middle, high)
        found = replace(step, cap=high, soft=soft)
        steps.append(found)
        total += _left_out(found)
    if not total <= tolerance * delta:
        raise too_hard("capping does not help")
    return replace(loss, sampled=tuple(steps)), total


def _left_out(step: Sampled) -> float:
    """Return n times the chance that one output is left out."""
    y = np.arange(-10.0, max(step.cap, 1 / step.s) + 12.0, 0.25 * step.soft)
    others, record = np.exp(-0.5 * y * y), np.exp(-0.5 * (y - 1 / step.s) ** 2)
    chance = (1 - step.q) * others + step.q * record
    lost = -np.expm1(log_kept(y, step)) * chance
    return float(1.01 * step.n * lost.sum() * (y[1] - y[0]) / _ROOT_2PI)
