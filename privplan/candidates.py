"""Candidates for a plan: steps, batch and noise draws, and what is expected of them.

Two figures rank them. Both need one public number, `spread_ratio` = v_t / v_x: how
much the gradient of one record varies over its noise draws, against how much the mean
gradients of two records differ. It can be measured on synthetic images; nothing here
depends on private data.

**Score**, 0 to 1: the part of the budget's precision that is reached, times the part
of a clipped gradient that is signal,

    eta^2 (v_x + s) / (v_x + s + v_t / K)                           s = v_x

**Gain**, in noiseless steps: T steps whose noise has r times the power of their signal
get as far as T / (1 + r) without noise. With r = T / (F^2 a) and a = s' / (s' + v_x +
v_t / K), the power of the mean gradient within a clipped one,

    gain = T / (1 + T / (F^2 a))                                    s' = v_x / 10

Where noise rules, gain is the score times a constant: more steps bring nothing, and a
larger batch does. Where noise is small, gain is T: signal is to spare, and more steps
use it. s' lies between 3 v_x and v_x / 100, where training on digits began and ended
(geometric mean 0.2), towards the end. The rule finds 5,000 steps of 3,700 records for
the published MNIST run at epsilon 10, which took 4,500 of 4,000.

These are for search and display. They promise no quality.

Source: McCandlish et al. 2018, arXiv:1812.06162, section 2.2 (progress of a noisy
step); McKenna et al. 2025, arXiv:2501.18914; Dockhorn et al. 2023, arXiv:2210.09929
(K; the published run). s and s': our own measurements on 8 x 8 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from privplan import calibration, canonical, checks, events
from privplan.efficiency import MuLeft, efficiency, feasibility
from privplan.errors import ParameterError
from privplan.rough_noise import Training, rough_noise_multiplier

if TYPE_CHECKING:
    from privplan.budget import PrivacyBudget
    from privplan.events import Event

SPREAD_RATIO = 5.0
"""v_t / v_x: 5.4 for a net trained on strokes, 5.1 on digits after private training."""

NOTHING = events.ComposedEvent(events=())

_MEAN_IN_SCORE = 1.0  # s / v_x
_MEAN_IN_GAIN = 0.1  # s' / v_x
_RATE_DIGITS = 3


class Start(StrEnum):
    """From which weights private training begins."""

    SCRATCH = "scratch"
    PREPARED = "prepared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How much a plan may compute in its private steps.

    Attributes:
        draws: Rows through the network, forward and backward: K times B times T.
        seconds_per_draw: On the machine that will run it; None if not measured.
        seconds_per_step: What a step takes beside its draws.
    """

    draws: float
    seconds_per_draw: float | None = None
    seconds_per_step: float = 0.0

    def __post_init__(self) -> None:
        checks.positive(draws=self.draws)
        checks.non_negative(seconds_per_step=self.seconds_per_step)
        if self.seconds_per_draw is not None:
            checks.positive(seconds_per_draw=self.seconds_per_draw)

    def seconds(self, draws: float, *, steps: int) -> float | None:
        """Return how long some draws in some steps take, where that was measured."""
        each = self.seconds_per_draw
        return None if each is None else draws * each + steps * self.seconds_per_step

    def draws_in(self, steps: int) -> float:
        """Return the draws that are left once every step had its own time."""
        if self.seconds_per_draw is None:
            return self.draws
        return self.draws - steps * self.seconds_per_step / self.seconds_per_draw


def compute_of_time(
    seconds: float, *, seconds_per_draw: float, seconds_per_step: float = 0.0
) -> Compute:
    """Return the compute that fits into some seconds.

    Args:
        seconds: Of private training, in all.
        seconds_per_draw: As measured on the machine that will run it.
        seconds_per_step: What a step takes beside its draws.

    Raises:
        ParameterError: A number is outside its range.

    Example:
        >>> compute_of_time(600.0, seconds_per_draw=0.002).draws
        300000.0
    """
    checks.positive(seconds=seconds, seconds_per_draw=seconds_per_draw)
    return Compute(
        draws=seconds / seconds_per_draw,
        seconds_per_draw=seconds_per_draw,
        seconds_per_step=seconds_per_step,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRequest:
    """What is fixed before the planner chooses; all of it public.

    Attributes:
        budget: What may be spent in all.
        records: n, declared.
        trained_parameters: P, the parameters that get noise.
        compute: What may be computed.
        fixed: What else is done to the records: queries, earlier runs.
        start: From which weights.
        steps: T, if the user fixed it.
        sample_rate: q, if the user fixed it.
        noise_multiplicity: K, if the user fixed it.
        spread_ratio: v_t / v_x.
    """

    budget: PrivacyBudget
    records: int
    trained_parameters: int
    compute: Compute
    fixed: Event = NOTHING
    start: Start = Start.SCRATCH
    steps: int | None = None
    sample_rate: float | None = None
    noise_multiplicity: int | None = None
    spread_ratio: float = SPREAD_RATIO

    def __post_init__(self) -> None:
        checks.count(records=self.records, trained_parameters=self.trained_parameters)
        if self.steps is not None:
            checks.count(steps=self.steps)
        if self.sample_rate is not None:
            checks.rate(sample_rate=self.sample_rate)
        if self.noise_multiplicity is not None:
            checks.count(noise_multiplicity=self.noise_multiplicity)
        checks.non_negative(spread_ratio=self.spread_ratio)
        if self.start not in list(Start):
            raise ParameterError(
                f"start is {self.start!r}, but it must be 'scratch' or 'prepared'",
                hint="give 'prepared' where training begins from synthetic images",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to spend the budget.

    Attributes:
        steps: T.
        sample_rate: q, three digits.
        noise_multiplicity: K.
        expected_batch_size: B = q n.
        noise_multiplier: Estimated while searching; calibrated in what is chosen.
        efficiency: eta, 0 to 1.
        feasibility: F.
        score: 0 to 1.
        gain: In noiseless steps.
        draws: K times B times T.
        seconds: Of all its draws, where the time of one was measured.
    """

    steps: int
    sample_rate: float
    noise_multiplicity: int
    expected_batch_size: float
    noise_multiplier: float
    efficiency: float
    feasibility: float
    score: float
    gain: float
    draws: float
    seconds: float | None


def candidate(
    request: ChoiceRequest, mu: MuLeft, *, steps: int, noise_multiplicity: int
) -> Candidate:
    """Return the candidate with the largest batch that the compute allows.

    Args:
        request: What is fixed.
        mu: What the fixed events leave.
        steps: T.
        noise_multiplicity: K.

    Returns:
        With an estimated noise multiplier.
    """
    training = Training(
        sample_rate=_rate(request, steps, noise_multiplicity), steps=steps
    )
    noise = rough_noise_multiplier(
        training, fixed=request.fixed, mu=mu.left, budget=request.budget
    )
    return judged(request, mu, training, noise_multiplicity, noise)


def calibrated(request: ChoiceRequest, mu: MuLeft, found: Candidate) -> Candidate:
    """Return a candidate with its noise multiplier calibrated and recounted.

    Raises:
        InfeasibleBudgetError: No noise is enough.
    """
    training = Training(sample_rate=found.sample_rate, steps=found.steps)
    noise = calibration.noise_multiplier(
        training.beside(request.fixed), budget=request.budget
    )
    return judged(request, mu, training, found.noise_multiplicity, noise)


def _rate(request: ChoiceRequest, steps: int, noise_multiplicity: int) -> float:
    if request.sample_rate is not None:
        return request.sample_rate
    batch = request.compute.draws_in(steps) / (noise_multiplicity * steps)
    rate = min(max(batch, 1.0) / request.records, 1.0)
    return canonical.round_down(rate, _RATE_DIGITS)


def judged(
    request: ChoiceRequest,
    mu: MuLeft,
    training: Training,
    noise_multiplicity: int,
    noise_multiplier: float,
) -> Candidate:
    """Return the figures of one way to spend the budget.

    Args:
        request: What is fixed.
        mu: What the fixed events leave.
        training: T and q.
        noise_multiplicity: K.
        noise_multiplier: As estimated, calibrated or planned.
    """
    steps, rate = training.steps, training.sample_rate
    eta = efficiency(
        sample_rate=rate, steps=steps, noise_multiplier=noise_multiplier, mu=mu.left
    )
    index = feasibility(
        records=request.records,
        mu=mu.left,
        trained_parameters=request.trained_parameters,
        efficiency=eta,
    )
    within = request.spread_ratio / noise_multiplicity
    signal = (1 + _MEAN_IN_SCORE) / (1 + _MEAN_IN_SCORE + within)
    power = index**2 * _MEAN_IN_GAIN / (1 + _MEAN_IN_GAIN + within)
    draws = noise_multiplicity * rate * request.records * steps
    return Candidate(
        steps=steps,
        sample_rate=rate,
        noise_multiplicity=noise_multiplicity,
        expected_batch_size=rate * request.records,
        noise_multiplier=noise_multiplier,
        efficiency=eta,
        feasibility=index,
        score=eta**2 * signal,
        gain=steps * power / (power + steps),
        draws=draws,
        seconds=request.compute.seconds(draws, steps=steps),
    )
