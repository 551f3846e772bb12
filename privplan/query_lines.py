"""Queries beside training: one Gaussian vector each, with sensitivity and release.

Class counts to sample from, the number of records, a mean image, second moments: each
reads every record, so each is a line of the budget (`budget_lines.py`).

    labels     a vote per record and class           L2 sensitivity sqrt(votes)
    count      the number of records                 1
    mean       sum of clipped vectors, and number    1 in the units of the row
    moments    the same, and second moments          1 in the units of the row
    scores     a score per finished candidate        sqrt(candidates)

A *row* is what one record adds to the vector that is released. A record added or
removed changes the vector by its row, so the longest row is the sensitivity; the code
that really asks the query is held to it by tests. Noise goes on sums, never on a mean:
who divides by the realised count divides by a private number.

Units: noise multipliers are noise standard deviation over sensitivity; `noise_std` is
in the units of what is released.
Source: Dwork & Roth 2014, theorem A.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privplan import checks
from privplan.errors import ParameterError
from privplan.events import GaussianEvent

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class _GaussianLine:
    """A line that is one Gaussian vector query, asked `count` times.

    Attributes:
        noise_multiplier: Noise standard deviation over the L2 sensitivity; above 0.
        count: How often it is asked, each time with fresh noise.
    """

    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        checks.positive(noise_multiplier=self.noise_multiplier)
        checks.count(count=self.count)

    @property
    def event(self) -> GaussianEvent:
        """Return one asking."""
        return GaussianEvent(noise_multiplier=self.noise_multiplier)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelHistogram(_GaussianLine):
    """How many records each class has.

    A record votes for at most `votes` different classes, 1 for each, so its row has
    `votes` ones: length sqrt(votes), in any number of classes.

    Attributes:
        votes: The most classes one record votes for; 1 for its label.

    Example:
        >>> LabelHistogram(noise_multiplier=50.0, votes=4).noise_std
        100.0
    """

    name: ClassVar[str] = "labels"
    votes: int = 1

    def __post_init__(self) -> None:
        _GaussianLine.__post_init__(self)
        checks.count(votes=self.votes)

    @property
    def noise_std(self) -> float:
        """Return the noise on each class count, in records."""
        return self.noise_multiplier * math.sqrt(self.votes)

    @property
    def releases(self) -> str:
        """Say what leaves."""
        return (
            "the number of records in each class, with Gaussian noise of standard "
            f"deviation {self.noise_std:.4g} on each"
        )

    def row(self, labels: Sequence[int], *, classes: int) -> tuple[float, ...]:
        """Return what a record adds: its first `votes` different known classes."""
        known = [label for label in dict.fromkeys(labels) if 0 <= label < classes]
        chosen = set(known[: self.votes])
        return tuple(1.0 if label in chosen else 0.0 for label in range(classes))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCount(_GaussianLine):
    """How many records there are: every record adds 1.

    Example:
        >>> RecordCount(noise_multiplier=100.0).noise_std
        100.0
    """

    name: ClassVar[str] = "count"

    @property
    def noise_std(self) -> float:
        """Return the noise on the count, in records."""
        return self.noise_multiplier

    @property
    def releases(self) -> str:
        """Say what leaves."""
        return (
            "the number of records, with Gaussian noise of standard deviation "
            f"{self.noise_std:.4g}"
        )

    def row(self) -> tuple[float, ...]:
        """Return what a record adds."""
        return (1.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanQuery(_GaussianLine):
    """The sum of vectors and their number, as one query; their quotient is free.

    With u = x / R pulled into the unit ball, the row is (sqrt(1-w) u, sqrt(w)), whose
    squared length is at most 1 - w + w = 1.

    Attributes:
        radius: R, from a public centre, beyond which a vector is pulled in; public.
        count_share: w, the share of the squared sensitivity that the number has.

    Example:
        >>> line = MeanQuery(noise_multiplier=20.0, radius=6.0, count_share=0.19)
        >>> round(line.noise_std, 4), round(line.count_noise_std, 4)
        (133.3333, 45.8831)
    """

    name: ClassVar[str] = "mean"
    radius: float = 1.0
    count_share: float = 0.1

    def __post_init__(self) -> None:
        _GaussianLine.__post_init__(self)
        checks.positive(radius=self.radius)
        checks.probability(count_share=self.count_share)

    @property
    def noise_std(self) -> float:
        """Return the noise on each entry of the sum, in the units of the vectors."""
        return self.noise_multiplier * self.radius / math.sqrt(1 - self.count_share)

    @property
    def count_noise_std(self) -> float:
        """Return the noise on the number of vectors."""
        return self.noise_multiplier / math.sqrt(self.count_share)

    @property
    def releases(self) -> str:
        """Say what leaves."""
        return (
            f"the sum of all vectors, pulled into length {self.radius:g}, with noise "
            f"{self.noise_std:.4g} on each entry, and their number with noise "
            f"{self.count_noise_std:.4g}"
        )

    def row(self, vector: Sequence[float]) -> tuple[float, ...]:
        """Return what a record adds; one that is not finite adds nothing."""
        unit = pulled_in(vector, self.radius)
        if unit is None:
            return (0.0,) * (len(vector) + 1)
        scale = math.sqrt(1 - self.count_share)
        return (*(scale * u for u in unit), math.sqrt(self.count_share))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondMoments(_GaussianLine):
    """Sum, number and second moments of vectors, as one query: mean and covariance.

    With |u| <= 1 as above the row is (sqrt(w1) u, sqrt(w2), sqrt(w3) u u^T), the matrix
    as its upper triangle with sqrt(2) off the diagonal, so that its length is |u|^2.
    The squared length is w1 |u|^2 + w2 + w3 |u|^4 <= 1.

    Attributes:
        radius: R, from a public centre, beyond which a vector is pulled in; public.
        shares: (w1, w2, w3), shares of the squared sensitivity; they add up to 1.
    """

    name: ClassVar[str] = "moments"
    radius: float = 1.0
    shares: tuple[float, float, float] = (0.5, 0.05, 0.45)

    def __post_init__(self) -> None:
        _GaussianLine.__post_init__(self)
        checks.positive(radius=self.radius)
        for share in self.shares:
            checks.positive(share=share)
        if not math.isclose(sum(self.shares), 1.0, abs_tol=1e-9):
            raise ParameterError(
                f"the shares {self.shares} do not add up to 1",
                hint="give shares such as (0.5, 0.05, 0.45)",
            )

    @property
    def releases(self) -> str:
        """Say what leaves."""
        return (
            f"sum, number and second moments of all vectors, pulled into length "
            f"{self.radius:g}, with Gaussian noise {self.noise_multiplier:.4g} times "
            "what one record can change"
        )

    def row(self, vector: Sequence[float]) -> tuple[float, ...]:
        """Return what a record adds; one that is not finite adds nothing."""
        size = len(vector)
        unit = pulled_in(vector, self.radius)
        if unit is None:
            return (0.0,) * (size + 1 + size * (size + 1) // 2)
        first, second, third = (math.sqrt(share) for share in self.shares)
        moments = (
            third * unit[i] * unit[j] * (1.0 if i == j else math.sqrt(2))
            for i in range(size)
            for j in range(i, size)
        )
        return (*(first * u for u in unit), second, *moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateScores(_GaussianLine):
    """The scores of several finished candidates, such as checkpoints; to pick freely.

    A record moves each score by at most 1, such as a count of validation records
    that came out right, so its row has `candidates` entries of size up to 1.

    Attributes:
        candidates: How many scores.

    Example:
        >>> CandidateScores(noise_multiplier=20.0, candidates=9).noise_std
        60.0
    """

    name: ClassVar[str] = "scores"
    candidates: int

    def __post_init__(self) -> None:
        _GaussianLine.__post_init__(self)
        checks.count(candidates=self.candidates)

    @property
    def noise_std(self) -> float:
        """Return the noise on each score."""
        return self.noise_multiplier * math.sqrt(self.candidates)

    @property
    def releases(self) -> str:
        """Say what leaves."""
        return (
            f"the scores of {self.candidates} candidates, each moved by a record by at "
            f"most 1, with Gaussian noise of standard deviation {self.noise_std:.4g}"
        )

    def row(self, scores: Sequence[float]) -> tuple[float, ...]:
        """Return what a record adds: its part of each score, pulled into [-1, 1]."""
        if len(scores) != self.candidates or not all(map(math.isfinite, scores)):
            return (0.0,) * self.candidates
        return tuple(min(max(score, -1.0), 1.0) for score in scores)


def pulled_in(vector: Sequence[float], radius: float) -> tuple[float, ...] | None:
    """Return a vector over its radius, pulled into the unit ball; None if not finite.

    Example:
        >>> pulled_in([3.0, 4.0], 2.5), pulled_in([1.0], 4.0)
        ((0.6, 0.8), (0.25,))
    """
    length = math.hypot(*vector)
    if not length < math.inf:
        return None
    scale = max(radius, length)
    return tuple(x / scale for x in vector)
