"""What a plan would cost a data set, before anybody reserves it.

The same cost and the same rules as a reservation, on a copy: nothing is written, and
another run may take the room in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from privplan import moments, register, register_making
from privplan.canonical import short_down, short_up, text_down, text_up
from privplan.errors import BudgetExceededError, PolicyError
from privplan.ledger_entries import START
from privplan.plan import Plan
from privplan.register_data_sets import DataSet, Reservation, check_promise
from privplan.register_entries import Reserve
from privplan.tables import Table
from privplan.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What a data set is, and what it would be after one more run.

    Attributes:
        data_set: Its name.
        granted: Epsilon and delta over all runs.
        taken: Before the run, rounded up.
        asked: By the run: what a reservation of its plan would take.
        together: Taken after the run; None if it does not fit.
        left: After the run, rounded down; what is left now if it does not fit.
        problem: Why it does not fit; empty if it does.
        cure: What could be done about that.
    """

    data_set: str
    granted: tuple[float, float]
    taken: tuple[float, float]
    asked: tuple[float, float]
    together: tuple[float, float] | None
    left: tuple[float, float]
    problem: str = ""
    cure: str = ""

    @property
    def fits(self) -> bool:
        """Whether a reservation would be admitted now."""
        return self.together is not None

    def table(self) -> Table:
        """Return it as a table: text when printed, HTML in a notebook."""
        rows = [
            ("granted over all runs", *(f"{number:g}" for number in self.granted)),
            ("taken so far", *_up(self.taken)),
            ("asked by this plan", *_up(self.asked)),
        ]
        if self.together is not None:
            rows.append(("taken after it", *_up(self.together)))
        left = "left after it" if self.fits else "left now"
        rows.append((left, text_down(self.left[0], 4), short_down(self.left[1], 4)))
        notes = () if self.fits else (self.problem, f"To fix: {self.cure}")
        verdict = "it fits" if self.fits else "it does not fit"
        return Table(
            caption=f"One more run on data set '{self.data_set}': {verdict}",
            titles=("", "epsilon", "delta"),
            rows=tuple(rows),
            notes=notes,
        )

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def prospect(
    path: Path, data_set: str, plan: Plan, *, trust: Trust | None = None
) -> Prospect:
    """Tell what a plan would cost a data set, and whether it fits.

    Args:
        path: The register.
        data_set: The name of the data set.
        plan: Its events are counted again, as a reservation would.
        trust: Whose grants count; None takes the officer of the first entry.

    Raises:
        PolicyError: The register does not know the data set, or no route counts the
            plan's events.
        LedgerError: There is no register there.
        IntegrityError: Its chain is broken.
    """
    known = register.named(register.read(path, trust), data_set)
    entry = register_making.reserve(plan, refundable=False)
    after, problem, cure = known, "", ""
    try:
        check_promise(known.grant, plan.budget.as_budget(), moments.now())
        known.check_room(entry.epsilon, entry.delta, entry.event)
        after = _after(known, entry)
    except (BudgetExceededError, PolicyError) as error:
        problem, cure = error.message, error.hint
    return Prospect(
        data_set=known.name,
        granted=known.granted,
        taken=known.taken,
        asked=(entry.epsilon, entry.delta),
        together=None if problem else after.taken,
        left=after.left,
        problem=problem,
        cure=cure,
    )


def _after(known: DataSet, entry: Reserve) -> DataSet:
    copy = replace(known, reservations=dict(known.reservations))
    copy.take(Reservation(entry=entry, head=START))
    return copy


def _up(numbers: tuple[float, float]) -> tuple[str, str]:
    return text_up(numbers[0], 4), short_up(numbers[1], 4)
