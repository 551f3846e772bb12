"""Answers of accounting as a person or a program reads them.

Costs are rounded up, and what would be given back is rounded down. In JSON a number
that is infinite or does not exist is null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cli.paper import console, print_json, table
from privplan import canonical
from privplan.accounting import Bracket
from privplan.budget import Adjacency
from privplan.questions import Calibrated
from privplan.shares import Bill

_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was asked and what it costs.

    Attributes:
        bill: Jointly, and phase by phase.
        phases: Their texts, in the order of the bill.
        adjacency: Under which it was counted.
        delta: If epsilon was asked for.
        epsilon: If delta was asked for.
    """

    bill: Bill
    phases: Sequence[str]
    adjacency: Adjacency
    delta: float | None
    epsilon: float | None


def answer(found: Answer, *, as_json: bool) -> None:
    """Print what phases cost, jointly and one by one."""
    if as_json:
        print_json(_as_json(found))
        return
    out = console()
    asked = _asked(found)
    if len(found.phases) > 1:
        rows = [
            [text, _up(found, share.alone.upper), _down(found, share.given_back)]
            for text, share in zip(found.phases, found.bill.shares, strict=True)
        ]
        titles = [("phase", "left"), (f"{asked} alone", "right")]
        out.print(table([*titles, ("given back if dropped", "right")], rows))
    jointly = found.bill.jointly
    given = ("delta", found.delta) if found.epsilon is None else ("eps", found.epsilon)
    low, high = _ends(found, jointly)
    columns = [(f"{asked} from", "right"), ("to", "right"), (given[0], "right")]
    out.print(
        table(
            [*columns, ("method", "left")],
            [[low, high, f"{given[1]:g}", jointly.method]],
        )
    )
    if found.adjacency is not Adjacency.ADD_OR_REMOVE_ONE:
        out.print(f"Neighbours: {found.adjacency.value}")


def calibrated(solved: Calibrated, found: Answer, *, as_json: bool) -> None:
    """Print the unknown that was found, and what everything then costs."""
    if as_json:
        value = {"unknown": solved.unknown.value, solved.unknown.value: solved.value}
        print_json(value | _as_json(found))
        return
    name = solved.unknown.value.replace("_", " ")
    shown = (
        f"{solved.value:,}" if isinstance(solved.value, int) else f"{solved.value:g}"
    )
    console().print(table([("found", "left"), ("", "right")], [[name, shown]]))
    answer(found, as_json=False)


def _asked(found: Answer) -> str:
    return "epsilon" if found.epsilon is None else "delta"


def _ends(found: Answer, bracket: Bracket) -> tuple[str, str]:
    if found.epsilon is None:
        return (
            canonical.text_down(bracket.lower, 6),
            canonical.text_up(bracket.upper, 6),
        )
    return (
        f"{canonical.round_down(bracket.lower, 6):g}",
        f"{canonical.round_up(bracket.upper, 6):g}",
    )


def _up(found: Answer, value: float) -> str:
    if found.epsilon is None:
        return canonical.text_up(value, _DIGITS)
    return f"{canonical.round_up(value, _DIGITS):g}"


def _down(found: Answer, value: float) -> str:
    if math.isnan(value):
        return "-"
    if found.epsilon is None:
        return canonical.text_down(value, _DIGITS)
    return f"{canonical.round_down(value, _DIGITS):g}"


def _as_json(found: Answer) -> dict[str, object]:
    given = {"delta": found.delta} if found.epsilon is None else {}
    asked_at = {} if found.epsilon is None else {"at_epsilon": found.epsilon}
    jointly = found.bill.jointly
    return {
        _asked(found): _bracket(jointly),
        "method": jointly.method,
        **given,
        **asked_at,
        "adjacency": found.adjacency.value,
        "phases": [
            {
                "phase": text,
                "alone": _bracket(share.alone),
                "given_back": _number(share.given_back),
            }
            for text, share in zip(found.phases, found.bill.shares, strict=True)
        ],
    }


def _bracket(found: Bracket) -> dict[str, float | None]:
    return {"lower": _number(found.lower), "upper": _number(found.upper)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
