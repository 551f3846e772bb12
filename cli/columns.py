"""Tables that fit: columns leave in order of rank, numbers are never cropped.

On a narrow screen a table library squeezes columns until numbers lose digits, and a
cropped epsilon is a wrong epsilon. So each column has a rank, and those of the highest
rank leave, whole, until the rest fits. What left is said below the table. Where even
those that stay do not fit, each row becomes a block, one line for each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_LEAST_TEXT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        title: Its heading.
        side: "right" for numbers.
        rank: 0 stays at any width; the highest leaves first.
        folds: Whether a long text may take several lines; numbers may not.
    """

    title: str
    side: Literal["left", "right"] = "left"
    rank: int = 0
    folds: bool = False


def print_fitted(
    out: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> None:
    """Print a table with the columns that fit, and name those that do not.

    Args:
        out: Where.
        columns: All of them, in order.
        rows: One text per column.
    """
    kept = list(range(len(columns)))
    while _width(columns, rows, kept) > out.width:
        most = max(columns[index].rank for index in kept)
        if most == 0:
            break
        kept.remove(next(i for i in reversed(kept) if columns[i].rank == most))
    if _width(columns, rows, kept) > out.width:
        _print_blocks(out, columns, rows)
        return
    out.print(
        _table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
    )
    left = [c.title for i, c in enumerate(columns) if i not in kept]
    if left:
        out.print(f"(no room here for: {', '.join(left)}; --json has everything)")


def _print_blocks(
    out: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> None:
    """Print each row as lines; a long text is broken by the terminal, never cut."""
    widest = max(len(column.title) for column in columns)
    for row in rows:
        for column, text in zip(columns, row, strict=True):
            out.print(Text(f"{column.title:<{widest}}  {text}"), soft_wrap=True)
        out.print()


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        made.add_column(
            column.title,
            justify=column.side,
            min_width=_least(column, [row[index] for row in rows]),
            no_wrap=not column.folds,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def _width(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], kept: Sequence[int]
) -> int:
    """Return the least width at which these columns lose nothing."""
    cells = [(columns[i], [row[i] for row in rows]) for i in kept]
    return 2 + sum(_least(column, texts) + 2 for column, texts in cells)


def _least(column: Column, texts: Sequence[str]) -> int:
    """Return the least width of a column: its widest text, or word if it may fold."""
    everything = [column.title, *texts]
    if column.folds:
        words = [word for text in everything for word in text.split()]
        return max(_LEAST_TEXT, *(len(word) for word in words))
    return max(len(text) for text in everything)
