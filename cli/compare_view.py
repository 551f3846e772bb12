"""Plans side by side, on any width: first what differs, then what all have in common.

    differs                 A        B
    ≠ target epsilon      1.0      2.0

Plans have letters. Where not all columns fit, the table is printed again for the rest
of them. No number leaves and none is cropped.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from rich.console import Console

from cli.paper import console, print_json, table
from privplan.errors import ParameterError
from privplan.plan import Plan
from privplan.plan_compare import Row, compare

_MARK = "≠"
_FIXED = 4  # the mark and the edges of the table
_GAP = 2


def plans(
    titles: Sequence[str], shown: Sequence[Plan], *, time: bool, as_json: bool
) -> None:
    """Print plans side by side.

    Args:
        titles: What each is called: a path, or what was changed.
        shown: The plans.
        time: Whether to time their phases on this machine.
        as_json: Whether to say it as one JSON object.

    Raises:
        ParameterError: There is nothing to compare with.
    """
    if len(shown) < 2:
        raise ParameterError(
            "one plan cannot be compared with itself alone",
            hint="name two plans or more; privplan plan show prints one",
        )
    seconds: list[Mapping[str, float]] = []
    if time:
        from diffusion.plan_speed import phase_seconds  # noqa: PLC0415 - imports torch

        seconds = [phase_seconds(plan) for plan in shown]
    rows = compare(shown, seconds)
    letters = [_letter(index) for index in range(len(shown))]
    if as_json:
        print_json(_as_json(letters, titles, shown, rows))
        return
    out = console()
    for letter, title, plan in zip(letters, titles, shown, strict=True):
        out.print(f"{letter}  {plan.digest[:12]}  {title}", soft_wrap=True)
    different = [row for row in rows if row.differs]
    for first, last in _groups(different, out.width):
        _print(out, letters[first:last], different, first, last)
    common = [[row.name, row.values[0]] for row in rows if not row.differs]
    if common:
        out.print(table([("the same in all", "left"), ("", "right")], common))
    out.print(f"{len(different)} of {len(rows)} rows differ")


def _print(
    out: Console, letters: Sequence[str], rows: Sequence[Row], first: int, last: int
) -> None:
    columns = [("differs", "left"), *((letter, "right") for letter in letters)]
    texts = [[f"{_MARK} {row.name}", *row.values[first:last]] for row in rows]
    out.print(table(columns, texts))


def _groups(rows: Sequence[Row], width: int) -> list[tuple[int, int]]:
    """Return which plans share a table: as many as fit, and never fewer than one."""
    if not rows:
        return []
    count = len(rows[0].values)
    widths = [max(len(row.values[i]) for row in rows) + _GAP for i in range(count)]
    room = width - _FIXED - max(len(row.name) for row in rows) - _GAP
    groups, first = [], 0
    while first < count:
        last = first + 1
        while last < count and sum(widths[first : last + 1]) <= room:
            last += 1
        groups.append((first, last))
        first = last
    return groups


def _letter(index: int) -> str:
    """Return A to Z, then A2 to Z2, and so on."""
    again, place = divmod(index, len(string.ascii_uppercase))
    return string.ascii_uppercase[place] + (str(again + 1) if again else "")


def _as_json(
    letters: Sequence[str],
    titles: Sequence[str],
    shown: Sequence[Plan],
    rows: Sequence[Row],
) -> dict[str, object]:
    return {
        "plans": [
            {"letter": letter, "title": title, "digest": plan.digest}
            for letter, title, plan in zip(letters, titles, shown, strict=True)
        ],
        "rows": [
            {"name": row.name, "values": list(row.values), "differs": row.differs}
            for row in rows
        ],
    }
