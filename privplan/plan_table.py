"""A plan as a table, for a notebook or a text file; no terminal library needed.

The same columns as `privplan plan` prints, from the same costs. Everything is public.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from privplan import events, plan_size, plan_words
from privplan.canonical import text_down, text_up
from privplan.summary import PhaseCost, phase_costs

if TYPE_CHECKING:
    from privplan.plan import Plan

_TITLES = (
    "phase", "does", "steps", "noise", "eps alone", "so far", "back", "noise/signal",
)  # fmt: skip
_WORDS = 2  # columns of words, at the left; the rest are numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTable:
    """A table that prints as text and shows as HTML.

    Attributes:
        caption: What is planned, in one line.
        titles: Of the columns.
        rows: One text per column.
        notes: Sentences below.
    """

    caption: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Return the table as text, no column narrower than what is in it."""
        everything = [self.titles, *self.rows]
        widths = [max(len(row[i]) for row in everything) for i in range(len(_TITLES))]
        lines = [_line(row, widths) for row in everything]
        lines.insert(1, "─" * len(lines[0]))
        return "\n".join([self.caption, *lines, *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "".join(_cell("th", text, i) for i, text in enumerate(self.titles))
        body = "".join(
            f"<tr>{''.join(_cell('td', text, i) for i, text in enumerate(row))}</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return (
            f"<table><caption>{escape(self.caption)}</caption><thead><tr>{head}</tr>"
            f"</thead><tbody>{body}</tbody></table>{notes}"
        )


def table(plan: Plan) -> PlanTable:
    """Return a plan as a table.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> made = table(make_plan(PlanRequest(target_epsilon=1.0, stages="")))
        >>> [row[0] for row in made.rows], made.rows[1][4]
        (['synthetic', 'private'], '1.0000')
    """
    budget = plan.budget
    trained = plan_size.trained_parameters(plan.data, plan.training)
    costs = phase_costs(plan, trained_parameters=trained)
    upper = text_up(plan.accounting.epsilon_upper, 4)
    notes = (
        f"whole plan: epsilon {upper} of {budget.target_epsilon:g}",
        plan_words.why_not_add_up(plan, costs),
        plan_words.in_words(plan),
    )
    return PlanTable(
        caption=f"Plan {plan.digest[:12]}: epsilon {budget.target_epsilon:g}, delta "
        f"{budget.target_delta:g}, {budget.adjacency.value}, unit {budget.unit}, "
        f"n = {plan.data.records:,}",
        titles=_TITLES,
        rows=tuple(_row(cost) for cost in costs),
        notes=tuple(note for note in notes if note is not None),
    )


def _row(cost: PhaseCost) -> tuple[str, ...]:
    reads, ratio = cost.reads_private_records, cost.noise_to_signal
    return (
        cost.name,
        cost.what,
        f"{cost.steps:,}",
        _noise(cost.event),
        text_up(cost.alone, 4) if reads else "0",
        text_up(cost.so_far, 4) if cost.so_far > 0 else "0",
        text_down(cost.given_back, 4) if reads else "0",
        "-" if ratio is None else f"{ratio:.3g}",
    )


def _noise(event: events.Event) -> str:
    match event:
        case (
            events.PoissonSampledGaussianEvent()
            | events.PoissonSampledDiscreteGaussianEvent()
        ) | events.GaussianEvent():
            return f"{event.noise_multiplier:g}"
        case _:
            return "-"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.ljust(width) if i < _WORDS else text.rjust(width)
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _cell(tag: str, text: str, column: int) -> str:
    side = "left" if column < _WORDS else "right"
    return f'<{tag} style="text-align:{side}">{escape(text)}</{tag}>'
