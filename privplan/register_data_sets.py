"""A data set in a register: what was granted, what runs took, what is left.

Sums are exact: numbers are added as the decimals they are written as, so that two
halves of a budget are the budget. What is left is rounded down, never up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING

from privplan import canonical, moments, register_filter
from privplan.budget import PrivacyBudget
from privplan.errors import BudgetExceededError, PolicyError
from privplan.events import ComposedEvent, Event, SelfComposedEvent
from privplan.filters import PrivacyFilter
from privplan.grants import RDP_FILTER, Grant
from privplan.ledger_entries import LedgerHead
from privplan.register_entries import Begin, Reserve, Settle

if TYPE_CHECKING:
    from privplan.plan_plot import Figure

NOTHING_READ = ComposedEvent(events=())


@dataclass(slots=True, kw_only=True)
class Reservation:
    """One run's share of a data set.

    Attributes:
        entry: As it was reserved.
        head: The entry of the register that reserved it.
        begun: The ledger of its run; None before there is one.
        settled: How it ended; None while it may go on.
    """

    entry: Reserve
    head: LedgerHead
    begun: Begin | None = None
    settled: Settle | None = None

    @property
    def cost(self) -> tuple[Fraction, Fraction]:
        """What it takes of the data set now: epsilon, delta."""
        said = self.settled or self.entry
        return _exact(said.epsilon), _exact(said.delta)

    @property
    def charged(self) -> Event:
        """What a filter counts: all of it while it may go on, then what was begun."""
        if self.settled is None:
            return self.entry.event
        counted = self.settled.counted
        return ComposedEvent(
            events=tuple(
                SelfComposedEvent(event=phase.event, count=counted[phase.phase])
                for phase in self.entry.phases
                if counted[phase.phase] > 0
            )
        )

    @property
    def state(self) -> str:
        """Say how it stands, in one word."""
        if self.settled is not None:
            return "settled"
        return "reserved" if self.begun is None else "begun"


@dataclass(slots=True, kw_only=True)
class DataSet:
    """A data set, what was granted, and what was taken of it.

    Attributes:
        name: As the officer calls it.
        grants: In order, with the officer's keyid; the last one is in force.
        commitments: To the forms of the data (such as two image sizes) that are it.
        reservations: By name, in order.
        void: Why the grant in force does not count; None if it does.
        spent: What was taken, running and settled: epsilon, delta; exact.
    """

    name: str
    grants: list[tuple[Grant, str]] = field(default_factory=list)
    commitments: set[str] = field(default_factory=set)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    void: str | None = None
    spent: tuple[Fraction, Fraction] = (Fraction(), Fraction())

    @property
    def grant(self) -> Grant:
        """The grant in force."""
        return self.grants[-1][0]

    def take(self, reservation: Reservation) -> None:
        """Count a new reservation."""
        self.reservations[reservation.entry.reservation] = reservation
        epsilon, delta = reservation.cost
        self.spent = self.spent[0] + epsilon, self.spent[1] + delta

    def settle(self, reservation: Reservation, entry: Settle) -> None:
        """Count a reservation at what it cost in the end."""
        before = reservation.cost
        reservation.settled = entry
        after = reservation.cost
        self.spent = (
            self.spent[0] - before[0] + after[0],
            self.spent[1] - before[1] + after[1],
        )

    @property
    def filter(self) -> PrivacyFilter | None:
        """The filter that adds its runs up; None if epsilons and deltas do."""
        if self.grant.composition != RDP_FILTER:
            return None
        runs = self.reservations.values()
        return register_filter.filter_of(self.grant, [run.charged for run in runs])

    @property
    def added(self) -> tuple[float, float]:
        """The epsilons and deltas of its runs added up; never below the truth."""
        epsilon, delta = self.spent
        return _up(epsilon), _up(delta)

    @property
    def taken(self) -> tuple[float, float]:
        """What was taken: epsilon, delta; never below the truth."""
        found = self.filter
        if found is None:
            return self.added
        epsilon = register_filter.shown_epsilon(found)
        return epsilon, self.grant.delta if epsilon > 0 else 0.0

    @property
    def left(self) -> tuple[float, float]:
        """What may still be reserved: epsilon, delta; never above the truth."""
        if self.void is not None:
            return 0.0, 0.0
        if self.filter is not None:
            return max(0.0, self.grant.epsilon - self.taken[0]), self.grant.delta
        epsilon, delta = self.spent
        return (
            _down(_exact(self.grant.epsilon) - epsilon),
            _down(_exact(self.grant.delta) - delta),
        )

    def check_room(
        self, epsilon: float, delta: float, event: Event = NOTHING_READ
    ) -> None:
        """Require that a cost fits beside what was taken.

        Args:
            epsilon: What is asked for, where epsilons add up.
            delta: The same of delta.
            event: What is asked for, where a filter adds up.

        Raises:
            PolicyError: The grant in force does not count.
            BudgetExceededError: It does not fit; says what is spent, asked, allowed,
                and what to do.

        Example:
            >>> terms = {"epsilon": 4.0, "delta": 1e-6, "composition": "basic"}
            >>> grant = Grant.model_construct(**terms)
            >>> DataSet(name="x-rays", grants=[(grant, "")]).check_room(4.0, 1e-6)
        """
        if self.void is not None:
            raise PolicyError(
                f"the grant of data set '{self.name}' does not count: {self.void}",
                hint="ask an officer for a new grant: privplan budget grant --amend",
            )
        if self.admits(epsilon, delta, event):
            return
        if self.filter is not None:
            raise self._filtered(self.filter, epsilon, event)
        spent, left = self.taken, self.left
        over = spent[0] + epsilon > self.grant.epsilon
        name, place = ("epsilon", 0) if over else ("delta", 1)
        asked, allowed = (epsilon, delta)[place], self.granted[place]
        raise BudgetExceededError(
            f"data set '{self.name}' has spent {name} {_six(spent[place])} of "
            f"{allowed:g}, and this asks for {_six(asked)}",
            stage=self.name,
            needed=spent[place] + asked,
            target=allowed,
            hint=_ways_out(name, left[place]),
        )

    @property
    def granted(self) -> tuple[float, float]:
        """What is granted over all runs: epsilon, delta."""
        return self.grant.epsilon, self.grant.delta

    def plot(self) -> Figure:
        """Return what each run took and what is left, as a picture."""
        from privplan import views  # noqa: PLC0415 - a view; stands above

        return views.spending(self)

    def _repr_html_(self) -> str:
        from privplan import views  # noqa: PLC0415 - a view; stands above

        return views.data_set(self)._repr_html_()

    def _filtered(
        self, found: PrivacyFilter, epsilon: float, event: Event
    ) -> BudgetExceededError:
        together = register_filter.shown_epsilon(
            replace(found, admitted=(*found.admitted, event))
        )
        spent, allowed = register_filter.shown_epsilon(found), self.grant.epsilon
        return BudgetExceededError(
            f"data set '{self.name}' has spent epsilon {_six(spent)} of {allowed:g} by "
            f"its rdp filter, and this asks for {_six(epsilon)}: together "
            f"{_six(together)}",
            stage=self.name,
            needed=together,
            target=allowed,
            hint=f"plan with less: what fits is {found.left}; or settle a run that "
            "ended early with privplan budget settle; or ask an officer for more with "
            "privplan budget grant --amend",
        )

    def admits(self, epsilon: float, delta: float, event: Event = NOTHING_READ) -> bool:
        """Tell whether a cost fits what is granted, beside what was taken.

        Raises:
            PolicyError: A filter adds up here, and has no bound for the event.
        """
        found = self.filter
        if found is not None:
            return math.isfinite(epsilon) and found.admits(event)
        if not (0 <= epsilon < math.inf and 0 <= delta < math.inf):
            return False
        spent = self.spent
        return spent[0] + _exact(epsilon) <= _exact(self.grant.epsilon) and spent[
            1
        ] + _exact(delta) <= _exact(self.grant.delta)


def check_promise(grant: Grant, asked: PrivacyBudget, moment: datetime) -> None:
    """Require that a grant is about what a plan promises, and still runs.

    Raises:
        PolicyError: It is about another unit or neighbour, or has expired.
    """
    granted = grant.as_budget()
    if (asked.adjacency, asked.unit) != (granted.adjacency, granted.unit):
        raise PolicyError(
            f"data set '{grant.data_set}' was granted a budget for {_promise(granted)}"
            f", but this is for {_promise(asked)}",
            hint="make a plan with what was granted, or ask an officer for a grant",
        )
    if grant.expires is not None and moment > moments.parse(grant.expires):
        raise PolicyError(
            f"the grant of data set '{grant.data_set}' ended on {grant.expires[:10]}",
            hint="ask an officer for a new grant: privplan budget grant --amend",
        )


def _promise(budget: PrivacyBudget) -> str:
    unit = budget.unit
    return f"{unit.max_records} records per '{unit.name}', {budget.adjacency}"


def _six(number: float) -> str:
    return f"{canonical.round_up(number, 6):g}"


def _ways_out(name: str, left: float) -> str:
    option = "--eps" if name == "epsilon" else "--delta"
    smaller = (
        f"plan again with {option} {canonical.round_down(left, 6):g} or less"
        if left > 0
        else "use the models that were trained already"
    )
    return (
        f"{smaller}; or settle a run that ended early with privplan budget settle; or "
        "ask an officer for more with privplan budget grant --amend"
    )


def _exact(number: float) -> Fraction:
    return Fraction(canonical.decimal_text(number))


def _down(number: Fraction) -> float:
    near = float(number)
    if _exact(near) > number:
        near = math.nextafter(near, -math.inf)
    return max(near, 0.0)


def _up(number: Fraction) -> float:
    near = float(number)
    return math.nextafter(near, math.inf) if _exact(near) < number else near
