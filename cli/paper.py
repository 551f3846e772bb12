"""The paper results are printed on: console, tables, JSON.

A column of numbers never shrinks below its widest number: a cropped epsilon is a wrong
epsilon. Results go to standard output, talk to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_NARROWEST = 60
_COMMAND = "privplan "


def console() -> Console:
    """Return the console for results: standard output, never narrower than 60."""
    return _console(sys.stdout)


def talk(text: str) -> None:
    """Say something on standard error, after the results so far.

    Lines are folded between words where there is a width to keep: a terminal's, or
    COLUMNS. A line with a command in it stays whole, to be copied.
    """
    sys.stdout.flush()
    width = _width_of_talk()
    for line in text.split("\n"):
        said = line if width is None or _COMMAND in line else _folded(line, width)
        sys.stderr.write(said + "\n")


def print_json(value: object) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _width_of_talk() -> int | None:
    """Return the width to keep on standard error; None where nobody set one."""
    if "COLUMNS" not in os.environ and not sys.stderr.isatty():
        return None
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def _folded(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    parts = textwrap.wrap(
        line,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts)


def _console(stream: object) -> Console:
    out = Console(file=stream, highlight=False, soft_wrap=False)  # type: ignore[arg-type]
    if out.width < _NARROWEST:
        out = Console(file=stream, highlight=False, width=_NARROWEST)  # type: ignore[arg-type]
    return out


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Table:
    """Build a plain table; right-aligned columns hold numbers and never crop.

    Args:
        columns: Title and "left" or "right".
        rows: Texts.
    """
    rows = [list(row) for row in rows]
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, (title, side) in enumerate(columns):
        widest = max([len(title), *(len(row[index]) for row in rows)])
        number = side == "right"
        made.add_column(
            title,
            justify="right" if number else "left",
            min_width=widest if number else None,
            no_wrap=number,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
