"""What a run looks like on a terminal: the budget, the phases, the checks, images.

     plan 4aa16021f662   runs/4aa16021f662   delta 0.00033
     epsilon    ━━━━━━━━━━━╸────────  0.7312 of 1, at the end 1.0000
     synthetic  ━━━━━━━━━━━━━━━━━━━━  600/600  0.02 s/step  done
     private    ━━━━━━━━━━╸─────────   53/100  1.30 s/step  61 s left
     checks     ledger whole, written before each step; saved 8 s ago

Bars give way on a narrow terminal, numbers do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.durations import in_words

_LEAST_BAR, _MOST_BAR = 6, 40


class PhaseLine:
    """How far one phase is, and how fast.

    Attributes:
        name: Of the phase.
        steps: In all.
        done: So far.
        seconds: Per step, mean of this session; None before the first.
    """

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.done = name, steps, 0
        self.seconds: float | None = None

    @property
    def speed(self) -> str:
        """Say how long one step takes."""
        return "" if self.seconds is None else f"{in_words(self.seconds)}/step"

    @property
    def left(self) -> str:
        """Say how long the rest takes."""
        if self.done >= self.steps:
            return "done"
        if self.seconds is None:
            return ""
        return f"{in_words(self.seconds * (self.steps - self.done))} left"


def dashboard(
    out: Console,
    *,
    head: str,
    budget: tuple[float, float, str],
    lines: Sequence[PhaseLine],
    checks: str,
    below: Sequence[RenderableType] = (),
) -> RenderableType:
    """Return the whole view.

    Args:
        out: Where it will be shown.
        head: The first line.
        budget: Epsilon so far, its target, and both in words.
        lines: The phases.
        checks: What was checked last.
        below: Anything else.
    """
    rows = [(line.name, f"{line.done:,}/{line.steps:,}", line) for line in lines]
    texts = [*(line.speed for line in lines), *(line.left for line in lines)]
    names = max(len("epsilon"), *(len(name) for name, _, _ in rows))
    counts = max(len(count) for _, count, _ in rows)
    room = out.width - names - counts - 2 * max(len(text) for text in texts) - 8
    bar = max(min(room, out.width - names - len(budget[2]) - 4, _MOST_BAR), _LEAST_BAR)
    top = _grid()
    top.add_row("epsilon".ljust(names), _bar(budget[0], budget[1], bar), budget[2])
    table = _grid()
    for name, count, line in rows:
        table.add_row(
            name.ljust(names),
            _bar(line.done, line.steps, bar),
            count.rjust(counts),
            line.speed,
            line.left,
        )
    said = Text(f"checks  {checks}", overflow="fold")
    return Group(Text(head, overflow="fold"), top, table, said, *below)


def _grid() -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(5):
        made.add_column(no_wrap=True, overflow="fold")
    return made


def _bar(done: float, whole: float, width: int) -> ProgressBar:
    return ProgressBar(total=whole or 1.0, completed=min(done, whole), width=width)
