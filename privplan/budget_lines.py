"""Budget lines: everything beside training that a budget pays for, by name and price.

A line is a value that turns into an event and says in one sentence what it releases.
`marginal` says what each costs, alone and on top of everything else: the accountant
composes jointly, so the second is far less than the first, and is what dropping the
line would give back.

    labels, count, mean, moments, scores    Gaussian queries (`query_lines.py`)
    select                                  the best candidate, by a noisy maximum

The text of `--query` is read by `line_grammar.py`. An adaptive clipping norm is no
line: its query shares the noise of every training step (`ClippingQuantile`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privplan import accounting, checks
from privplan.errors import ParameterError
from privplan.events import (
    ComposedEvent,
    NoOpEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)
from privplan.query_lines import (
    CandidateScores,
    LabelHistogram,
    MeanQuery,
    RecordCount,
    SecondMoments,
)
from privplan.selection import NoisyMaximum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privplan.events import Event

_NOTHING = NoOpEvent()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateChoice:
    """The pick of one of several finished candidates, such as checkpoints.

    For the same noise `CandidateScores` often adds less to a whole plan, because a pure
    query is counted at its worst; this line is better where it stands alone.

    Attributes:
        epsilon: The pure cost of one pick; above 0.
        candidates: How many to pick from; does not change the cost.
        count: How many picks, each with fresh noise.

    Example:
        >>> CandidateChoice(epsilon=0.05, candidates=8).event
        RandomizedResponseEvent(epsilon=0.05)
    """

    name: ClassVar[str] = "select"
    epsilon: float
    candidates: int
    count: int = 1

    def __post_init__(self) -> None:
        checks.positive(epsilon=self.epsilon)
        checks.count(candidates=self.candidates, count=self.count)

    @property
    def maximum(self) -> NoisyMaximum:
        """Return the mechanism, which knows its noise."""
        return NoisyMaximum(epsilon=self.epsilon, candidates=self.candidates)

    @property
    def event(self) -> RandomizedResponseEvent:
        """Return one pick."""
        return self.maximum.event

    @property
    def releases(self) -> str:
        """Say what leaves."""
        return (
            f"which of {self.candidates} candidates has the largest score, by scores "
            f"that a record moves by at most 1 plus Gumbel noise of scale "
            f"{self.maximum.noise_scale:.4g}; no score"
        )


Line = (
    LabelHistogram
    | RecordCount
    | MeanQuery
    | SecondMoments
    | CandidateScores
    | CandidateChoice
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippingQuantile:
    """A clipping norm that follows a quantile of the gradient norms, step by step.

    Each step also asks how many gradients of the batch were within the norm. A record
    in the batch adds +1/2 or -1/2 (within or not), so this query has sensitivity 1/2,
    and is asked of the same batch as the gradients. Gradients over C with noise z_g and
    votes over 1/2 with noise 2 s are one vector query of squared sensitivity-to-noise

        1/z^2 = 1/z_g^2 + 1/(2 s)^2,

    so the step costs what a step of noise multiplier z costs, and z_g is what is left
    for the gradients.

    Attributes:
        votes_noise_std: s, noise on the sum of votes, in records; above 0.

    Source: Andrew et al. 2021, arXiv:1905.03871, theorem 1.
    """

    votes_noise_std: float

    def __post_init__(self) -> None:
        checks.positive(votes_noise_std=self.votes_noise_std)

    def gradient_noise_multiplier(self, noise_multiplier: float) -> float:
        """Return the gradients' noise multiplier, given that of the whole step.

        Raises:
            ParameterError: The votes alone cost at least as much as the step may.

        Example:
            >>> quantile = ClippingQuantile(votes_noise_std=13.45)
            >>> round(quantile.gradient_noise_multiplier(1.397), 5)
            1.39889
        """
        checks.positive(noise_multiplier=noise_multiplier)
        ratio = noise_multiplier / (2 * self.votes_noise_std)
        share = ratio * ratio  # inf where a power would raise
        if not share < 1:
            raise ParameterError(
                f"votes with noise {self.votes_noise_std:g} cost as much as a whole "
                f"step of noise multiplier {noise_multiplier:g} or more",
                hint=f"give the votes noise well above {noise_multiplier / 2:.4g}, "
                "such as a twentieth of the expected batch",
            )
        return noise_multiplier / math.sqrt(1 - share)

    def step_noise_multiplier(self, gradient_noise_multiplier: float) -> float:
        """Return what to account for, given the noise on the gradients."""
        checks.positive(gradient_noise_multiplier=gradient_noise_multiplier)
        ratio = gradient_noise_multiplier / (2 * self.votes_noise_std)
        return gradient_noise_multiplier / math.hypot(1, ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCost:
    """What one line costs.

    Attributes:
        name: Of the line.
        alone: Epsilon if nothing else were asked.
        on_top: Epsilon it adds to everything else: what dropping it gives back.
    """

    name: str
    alone: float
    on_top: float


def total_event(lines: Sequence[Line]) -> Event:
    """Return all lines as one event.

    Example:
        >>> line = RecordCount(noise_multiplier=100.0, count=2)
        >>> total_event([line]).events[0].count
        2
    """
    return ComposedEvent(
        events=tuple(
            SelfComposedEvent(event=line.event, count=line.count) for line in lines
        )
    )


def marginal(
    lines: Sequence[Line], rest: Event = _NOTHING, *, delta: float
) -> tuple[LineCost, ...]:
    """Price each line, alone and on top of all others and of the rest.

    Args:
        lines: What is asked beside training.
        rest: Everything else, such as training.
        delta: Between 0 and 1.

    Returns:
        One cost per line, in their order; upper ends, under add-or-remove-one.

    Raises:
        ParameterError: `delta` is not strictly between 0 and 1.

    Example:
        >>> from privplan.events import PoissonSampledGaussianEvent
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=2.0)
        >>> rest = SelfComposedEvent(event=step, count=200)
        >>> labels = LabelHistogram(noise_multiplier=50.0)
        >>> (cost,) = marginal([labels], rest, delta=1e-5)
        >>> round(cost.alone, 3), round(cost.on_top, 3)
        (0.059, 0.001)
    """

    def epsilon(chosen: Sequence[Line], rest: Event) -> float:
        whole = ComposedEvent(events=(total_event(chosen), rest))
        return accounting.epsilon(whole, delta=delta).upper

    total = epsilon(lines, rest)
    costs = []
    for i, line in enumerate(lines):
        others = (*lines[:i], *lines[i + 1 :])
        costs.append(
            LineCost(
                name=line.name,
                alone=epsilon((line,), _NOTHING),
                on_top=max(0.0, total - epsilon(others, rest)),
            )
        )
    return tuple(costs)
