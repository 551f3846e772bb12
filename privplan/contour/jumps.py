"""Rare participation: split off the steps in which the record plays a part.

If a record takes part rarely, its loss has almost an atom: all the outcomes in which
it never mattered. The characteristic function then decays slowly, and a plain sum
would need millions of nodes. But those outcomes have hardly any loss, and contribute
nothing at a larger epsilon. So each step's outputs are divided by a smooth ramp w(y)
into *bulk* and *jump*, and

    delta(eps) = [ part with at least one jump ] + [ part with none ]

The second is bounded, by Chernoff's inequality for the bulk alone. The first has
transform Phi - B with Phi = prod phi_j^n, B = prod (phi_j - J_j)^n and

    |Phi(u) - B(u)| <= sum of n |J_j(u)|,   |J_j(u)| <= min(V1 / u, V2 / u^2),

where V1, V2 are total variations of the jump's density and of its derivative: the
rest beyond U is of order 1/U^3, and a few thousand nodes are enough.

Source: the division by participation follows Koskela, Jälkö, Honkela 2020,
arXiv:1906.03049, in spirit only; ramp and bounds are our own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from privplan.contour import pure
from privplan.contour.cumulants import log_touch
from privplan.contour.loss import Direction
from privplan.contour.nodes import (
    Nodes,
    absolute_error,
    fine_enough,
    log1p_parts,
    sum_error,
)
from privplan.contour.tilt import (
    ROUNDING,
    first_spacing,
    log_kept,
    log_ratio,
    too_hard,
)

if TYPE_CHECKING:
    from privplan.contour.arrays import Reals
    from privplan.contour.cumulants import Cumulants
    from privplan.contour.loss import Loss, Sampled
    from privplan.contour.tilt import TiltedStep


_LEVELS = 2.0 ** -np.arange(0.5, 16.0, 0.75)  # loss at the ramp, relative to epsilon
_EDGES = np.arange(0.0, 38.0, 0.25)
_SHIFTS = np.geomspace(0.3, 300.0, 24)
_POINTS = 4096
_FREQUENCIES = 1.09 ** np.arange(0.0, 200.0)


@dataclass(frozen=True, slots=True)
class Ramp:
    """Where one kind of step is divided: w(y) = normal cdf of (y - centre) / width."""

    centre: float
    width: float

    def share(self, y: Reals) -> Reals:
        """Return w(y), the share of an output that counts as a jump."""
        return np.asarray(special.ndtr((y - self.centre) / self.width))


@dataclass(frozen=True, slots=True)
class Split:
    """Ramps, one for each kind of step, and the bound on what has no jump."""

    ramps: tuple[Ramp, ...]
    t: float
    log_bulk: float
    log_beyond: float

    def rest(self, epsilon: float) -> float:
        """Return a bound on the part of delta(eps) without any jump."""
        below = math.exp(min(self.log_bulk - self.t * epsilon, 0.0))
        return 1.01 * (below + math.exp(self.log_beyond))


def choose_split(loss: Loss, epsilon: float, log_allowed: float) -> Split:
    """Put the ramps as high as the bound on the rest allows.

    The rest is bounded in two parts: outputs beyond an edge, counted in full however
    little of them the ramp leaves, and below it Chernoff's bound.
    """
    if not loss.sampled or loss.direction is Direction.ADD or epsilon <= 0:
        raise too_hard("it has no rare large losses")
    for level in epsilon * _LEVELS:
        ramps = tuple(_ramp_at(step, float(level)) for step in loss.sampled)
        edges = tuple(
            _edge(step, ramp, log_allowed - math.log(4.0 * len(ramps)))
            for step, ramp in zip(loss.sampled, ramps, strict=True)
        )
        log_beyond = log_allowed - math.log(4.0)
        split = _bulk(loss, ramps, edges, epsilon, log_beyond)
        if split.log_bulk - split.t * epsilon <= log_beyond:
            return split
    raise too_hard("steps without the record's part lose too much")


def _bulk(
    loss: Loss,
    ramps: tuple[Ramp, ...],
    edges: tuple[float, ...],
    epsilon: float,
    log_beyond: float,
) -> Split:
    """Bound the part below the edges, at the best of a few t."""
    parts = tuple(zip(loss.sampled, ramps, edges, strict=True))
    most = max(float(log_ratio(np.array([edge]), step)[0]) for step, _, edge in parts)
    ts = _SHIFTS / max(most, 1e-9)
    log_bulk = 0.5 * loss.gaussian * ts * (ts + 1)
    for step, ramp, edge in parts:
        log_bulk = log_bulk + step.n * _log_bulk(step, ramp, edge, ts)
    for query in loss.pure:
        log_bulk = log_bulk + query.n * pure.log_mgf(query, ts + 0j).real
    log_bulk = log_bulk + np.array([log_touch(float(t)) for t in ts])
    best = int((log_bulk - ts * epsilon).argmin())
    return Split(ramps, float(ts[best]), float(log_bulk[best]), log_beyond)


def _edge(step: Sampled, ramp: Ramp, log_allowed: float) -> float:
    """Return the least y beyond which n steps leave less than the allowed bulk."""
    y = ramp.centre + ramp.width * _EDGES
    record, others = special.log_ndtr(1 / step.s - y), special.log_ndtr(-y)
    tail = np.logaddexp(math.log(step.q) + record, math.log1p(-step.q) + others)
    left = math.log(step.n) + special.log_ndtr(-_EDGES) + tail
    fits = np.flatnonzero(left <= log_allowed)
    return float(y[fits[0]] if fits.size else y[-1])


def _ramp_at(step: Sampled, level: float) -> Ramp:
    """Return the ramp centred where one step's loss is `level`."""
    w = math.log1p(math.expm1(level) / step.q)
    return Ramp(step.s * w + 0.5 / step.s, 0.7 * min(step.s, 1.0))


def _log_bulk(step: Sampled, ramp: Ramp, edge: float, ts: Reals) -> Reals:
    """Return log of the integral of (1 - w) N exp((t+1) r) up to the edge, by t."""
    low = min(-9.5, edge - 1.0)
    count = math.ceil(4 * (edge - low) / min(first_spacing(step), ramp.width))
    if not count < 20_000:
        raise too_hard("its bulk is too wide")
    y = np.linspace(low, edge, count + 1)
    bulk = special.log_ndtr((ramp.centre - y) / ramp.width) - 0.5 * y * y
    total = (ts + 1)[:, None] * log_ratio(y, step) + bulk
    peak = total.max(axis=1)
    mass = np.exp(total - peak[:, None]).sum(axis=1)
    unit = (edge - low) / count / math.sqrt(2 * math.pi)
    return np.asarray(peak + np.log(mass * unit))


def variations(tilted: TiltedStep, ramp: Ramp) -> tuple[float, float]:
    """Return bounds on V1 and V2 of the jump's density under the tilt."""
    step = tilted.step
    y = np.linspace(tilted.y[0], tilted.y[-1], _POINTS)
    ratio = log_ratio(y, step)
    x = (y - ramp.centre) / ramp.width
    log_share = special.log_ndtr(x)
    w = (y - 0.5 / step.s) / step.s
    log_slope = w + math.log(step.q / step.s) - ratio
    log_weight = tilted.power * ratio - 0.5 * y * y - tilted.log_mgf + log_share
    kept = log_kept(y, step)
    log_weight += kept
    density = np.exp(log_weight - log_slope) / math.sqrt(2 * math.pi)
    chance = np.exp(w + math.log(step.q) - ratio)
    ramp_slope = np.exp(-0.5 * x * x - log_share) / math.sqrt(2 * math.pi)
    bend = ramp_slope / ramp.width - y + ((tilted.power + 1) * chance - 1) / step.s
    bend += kept / step.soft
    derivative = density * bend * np.exp(-log_slope)
    first, second = (
        float(np.abs(np.diff(f)).sum() + abs(f[0]) + abs(f[-1]))
        for f in (density, derivative)
    )
    return 1.05 * first, 1.05 * second


class SplitNodes(Nodes):
    """Nodes for the part of delta with at least one jump, plus a bound on the rest."""

    __slots__ = ("_split",)

    def _reach(
        self, here: Cumulants, epsilon: float, log_wanted: float
    ) -> tuple[float, float]:
        self._split = choose_split(here.loss, epsilon, log_wanted - 1.0)
        first = second = 0.0
        for tilted, ramp in zip(here.steps, self._split.ramps, strict=True):
            one, two = variations(tilted, ramp)
            first += tilted.step.n * one
            second += tilted.step.n * two
        u = _FREQUENCIES * (1.5 / math.sqrt(here.v))
        tail = np.log(np.minimum(first / (2 * u**2), second / (3 * u**3)) / math.pi)
        tail -= 0.5 * here.loss.gaussian * u * u
        allowed = log_wanted - (here.k - here.t * epsilon)
        fits = np.flatnonzero(tail <= allowed)
        if not fits.size:
            raise too_hard("its jumps are too sharp")
        return float(u[fits[0]]), float(tail[fits[0]])

    def _sum_phases(self, here: Cumulants, log_wanted: float) -> None:
        u = self._u
        log_all, log_none = self._start(here), self._start(here)
        relative = np.zeros(u.size)
        sums = ((log_all, np.zeros(u.size)), (log_none, np.zeros(u.size)))
        for first, ramp in zip(here.steps, self._split.ramps, strict=True):
            tilted, slip = fine_enough(
                first, float(u[-1]), log_wanted, ramp_width=ramp.width
            )
            n = tilted.step.n
            below = tilted.minus_one(float(u[1]), u.size)
            share = ramp.share(tilted.y) * tilted.weight
            jump = tilted.minus_one(float(u[1]), u.size, share) + share.sum()
            absolute = 2 * absolute_error(tilted, slip, u)
            absolute += 8 * ROUNDING * float(share.sum())
            self._add_step(tilted, slip)
            for (log_sum, log_most), part in zip(
                sums, (below, below - jump), strict=True
            ):
                size, log_one = log1p_parts(part)
                np.add(log_sum, n * log_one, out=log_sum)
                with np.errstate(divide="ignore"):
                    np.add(log_most, n * np.log(size + absolute), out=log_most)
                    relative = np.maximum(relative, n * absolute / size)
        relative = relative * len(here.steps)
        relative += self._add_pure(here, log_all, log_none)
        bulk = np.exp(log_none)
        self._base = np.exp(log_all) - bulk
        self._scale_error += ROUNDING * (16 + 4 * abs(self._log_scale))
        self._error = sum_error(np.exp(log_all.real), relative, sums[0][1])
        self._error += sum_error(np.abs(bulk), relative, sums[1][1])

    def bracket(self, epsilon: float) -> tuple[float, float]:
        """Return bounds on delta(eps); the part without a jump is in the upper one."""
        low, high = super().bracket(epsilon)
        return low, min(high + self._split.rest(epsilon), 1.0)
