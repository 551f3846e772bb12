"""The privacy loss of a composition, as the numbers the contour needs.

Two neighbouring data sets give two output distributions, P and Q. The privacy loss is
L = log dP/dQ, drawn under P, and losses of independent mechanisms add up. So all that
matters of a composition is, for each kind of mechanism, one distribution and a count:

    Gaussian queries    pool into one Gaussian with mu^2 = sum of 1 / noise^2
    sampled Gaussians   P = (1-q) N(0, s^2) + q N(1, s^2) against Q = N(0, s^2)
    pure queries        Laplace noise, or the two-point worst case of any pure query

Removing a record and adding one exchange P and Q, which matters for the sampled
Gaussian alone. Letters: q sample rate, s noise multiplier, n count.

Source: Zhu, Dong, Wang 2022, Optimal accounting of differential privacy via
characteristic function, arXiv:2106.08567 (dominating pairs in both directions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from privplan.errors import CannotCertifyError
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    PoissonSampledDiscreteGaussianEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privplan.events import Phase


class Direction(Enum):
    """Which of the two neighbours the outputs were drawn from."""

    REMOVE = "remove"
    ADD = "add"


@dataclass(frozen=True, slots=True)
class Sampled:
    """Steps of a Poisson-sampled Gaussian: rate q in (0, 1), noise s, count n.

    A finite `cap` leaves out outputs beyond it, over a width `soft` (`cap.py`).
    """

    q: float
    s: float
    n: int
    cap: float = math.inf
    soft: float = 1e3


@dataclass(frozen=True, slots=True)
class Pure:
    """Pure queries of one epsilon each; `two_point` or else Laplace noise."""

    epsilon: float
    two_point: bool
    n: int


@dataclass(frozen=True, slots=True)
class Loss:
    """The privacy loss of a whole composition, in one direction.

    Attributes:
        gaussian: mu^2 of all plain Gaussian queries together; 0 for none.
        sampled: Poisson-sampled Gaussians, the distinct ones.
        pure: Laplace and two-point queries, the distinct ones.
        direction: Removing a record (P is the mixture) or adding one.
    """

    gaussian: float
    sampled: tuple[Sampled, ...]
    pure: tuple[Pure, ...]
    direction: Direction

    def ceiling(self) -> float:
        """Return the largest possible loss; infinite if there is none."""
        if self.gaussian or (self.sampled and self.direction is Direction.REMOVE):
            return math.inf
        sampled = sum(-step.n * math.log1p(-step.q) for step in self.sampled)
        return sampled + sum(query.n * query.epsilon for query in self.pure)

    def clt(self) -> float:
        """Return mu^2 of the Gaussian that resembles the loss; a start, not a bound."""
        total = self.gaussian
        for step in self.sampled:
            growth = math.expm1(min(step.s**-2, 60.0))
            total += step.n * min(step.q**2 * growth, step.s**-2)
        return total + sum(q.n * min(q.epsilon, q.epsilon**2) for q in self.pure)

    def steps(self) -> int:
        """Return how many losses are added up, the pooled Gaussian as one."""
        sampled = sum(step.n for step in self.sampled)
        return sampled + sum(query.n for query in self.pure) + (self.gaussian > 0)


def from_phases(
    phases: Iterable[Phase], direction: Direction, *, sensitivity: float = 1.0
) -> Loss:
    """Translate the phases of an event tree.

    Args:
        phases: What `events.phases` returned; no `NonPrivateEvent` among them.
        direction: Removing or adding.
        sensitivity: Factor on the sensitivity of plain Gaussian and Laplace queries.

    Raises:
        CannotCertifyError: Some of the noise is discrete.

    Example:
        >>> from privplan.events import phases
        >>> query = GaussianEvent(noise_multiplier=2.0)
        >>> from_phases(phases(query), Direction.ADD).gaussian
        0.25
    """
    terms: list[float] = []
    sampled: list[Sampled] = []
    pure: list[Pure] = []
    for phase in phases:
        match phase.event:
            case GaussianEvent(noise_multiplier=noise):
                terms.append(phase.count * (sensitivity / noise) ** 2)
            case PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise):
                sampled.append(Sampled(rate, noise, phase.count))
            case PoissonSampledDiscreteGaussianEvent():
                raise CannotCertifyError(
                    "these are losses of continuous noise",
                    hint="ask privplan.accounting, which bounds discrete noise too",
                )
            case LaplaceEvent(noise_multiplier=noise):
                pure.append(Pure(sensitivity / noise, False, phase.count))  # noqa: FBT003
            case RandomizedResponseEvent(epsilon=epsilon):
                pure.append(Pure(epsilon, True, phase.count))  # noqa: FBT003
            case NonPrivateEvent():
                terms.append(math.inf)
    return Loss(math.fsum(terms), tuple(sampled), tuple(pure), direction)
