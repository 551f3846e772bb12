"""A quick estimate of the noise a plan needs, to compare many plans.

Calibration certifies what it finds, which takes up to seconds where participations
are few. A search over dozens of plans needs a thousandth of that care: this room
solves for delta alone, to a percent, with a handful of secant steps from the Gaussian
that resembles the run.

Never for a claim: whatever is chosen is calibrated again by `calibration`.

Source: the start is the central limit theorem of Bu et al. 2020, arXiv:1911.11607,
mu^2 = q^2 T (exp(1/z^2) - 1), solved for z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import checks, events
from privplan.errors import CannotCertifyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privplan.budget import PrivacyBudget
    from privplan.events import Event

_DELTA_CLOSE = 0.02  # of log delta; moves the noise by a thousandth or less
_EPSILON_CLOSE = 0.02  # of log epsilon; moves the noise by half a percent or less
_FIRST_STEP = 0.05
_LARGEST_STEP = 0.5
_HARDER = 1.5  # where the contour declines, the resembling Gaussian is this much off
_TRIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The steps of one private phase, whose noise is sought.

    Attributes:
        sample_rate: q.
        steps: T.
    """

    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        checks.rate(sample_rate=self.sample_rate)
        checks.count(steps=self.steps)

    def event(self, noise_multiplier: float) -> Event:
        """Return what these steps do to the records at a noise multiplier."""
        step = events.PoissonSampledGaussianEvent(
            sample_rate=self.sample_rate, noise_multiplier=noise_multiplier
        )
        return events.SelfComposedEvent(event=step, count=self.steps)

    def beside(self, fixed: Event) -> Callable[[float], Event]:
        """Return the event of these steps and of what is fixed, for calibration."""
        return lambda z: events.ComposedEvent(events=(fixed, self.event(z)))


def rough_noise_multiplier(
    training: Training, *, fixed: Event, mu: float, budget: PrivacyBudget
) -> float:
    """Estimate the noise multiplier that spends a budget.

    Args:
        training: q and T.
        fixed: What else the plan does to the records; alone inside the budget.
        mu: What the fixed events leave, as `efficiency.MuLeft.left`.
        budget: What may be spent in all.

    Returns:
        Within a thousandth where the fast accountant answers; where it declines, by
        Chernoff's bound, up to a tenth too large.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.efficiency import mu_left
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> found = rough_noise_multiplier(
        ...     Training(sample_rate=0.01, steps=1000), fixed=events.NoOpEvent(),
        ...     mu=mu_left(budget, events.NoOpEvent()).left, budget=budget,
        ... )
        >>> round(found, 2)  # calibrated: 1.41462
        1.41
    """
    from privplan.contour import both  # noqa: PLC0415 - loads numpy and scipy

    checks.positive(mu=mu)
    if training.sample_rate == 1:
        return math.sqrt(training.steps) / mu
    make = training.beside(fixed)
    epsilon, delta = budget.target_epsilon, budget.target_delta

    def by_delta(x: float) -> float:
        found = events.phases(make(math.exp(x)))
        return both.estimate(found, epsilon) - math.log(delta)

    def by_bound(x: float) -> float:
        found = both.epsilon_upper(events.phases(make(math.exp(x))), delta)
        return math.log(min(max(found, 1e-9), 1e9) / epsilon)

    fraction = mu / (training.sample_rate * math.sqrt(training.steps))
    start = -0.5 * math.log(math.log1p(fraction**2))
    try:
        return math.exp(_secant(by_delta, start, close=_DELTA_CLOSE))
    except CannotCertifyError:
        harder = start + math.log(_HARDER)
        return math.exp(_secant(by_bound, harder, close=_EPSILON_CLOSE))


def _secant(gap: Callable[[float], float], x: float, *, close: float) -> float:
    """Follow a falling function to near its root; the last point tried, if it is far.

    Steps are bounded, since delta falls ever more steeply with more noise.
    """
    y = gap(x)
    step = math.copysign(_FIRST_STEP, y)
    for _ in range(_TRIES):
        if abs(y) <= close:
            break
        before = (x, y)
        x += step
        y = gap(x)
        slope = (y - before[1]) / step
        step = -y / slope if slope < 0 else math.copysign(_LARGEST_STEP, y)
        step = max(-_LARGEST_STEP, min(step, _LARGEST_STEP))
    return x
