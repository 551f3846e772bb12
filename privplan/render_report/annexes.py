"""Audits, utility, and the glossary.

Audits and preflight checks are shown as they stand in the signed report, whatever
fields they have, so that a new kind of audit needs no new page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from privplan.canonical import decimal_text
from privplan.render_report.parts import (
    Badge,
    Block,
    Cell,
    Section,
    Table,
    Text,
    Tone,
    facts,
)
from privplan.render_report.source import LocalNumber, Source

AUDITS = {"preflight": "Preflight", "audits": "Audits"}
BADGES = {
    "charged": Badge(tone=Tone.CHARGED, text="CHARGED"),
    "public": Badge(tone=Tone.PUBLIC, text="PUBLIC"),
    "local": Badge(tone=Tone.LOCAL, text="LOCAL"),
}
_MEANS = {
    "charged": "computed from private records and paid for inside epsilon",
    "public": "computed on data that are public",
    "local": "computed from private records and paid for by nobody: never release it",
}
GLOSSARY = (
    ("accountant", "A program that computes epsilon from the events of a run."),
    (
        "adjacency, neighbours",
        "Which two data sets must be hard to tell apart; here those that differ in one "
        "unit, added or removed.",
    ),
    (
        "clipping",
        "Shrinking one record's gradient to a fixed length, so that no record counts "
        "for more than another.",
    ),
    (
        "commitment",
        "A number that fixes which data were used and tells nothing about them, except "
        "to the holder of a key.",
    ),
    ("delta", "The chance that the bound by epsilon does not hold; far below 1/n."),
    ("digest", "The SHA-256 of some bytes: another byte, another digest."),
    (
        "DP-SGD",
        "Training in which each step adds Gaussian noise to a sum of clipped gradients "
        "of a random batch.",
    ),
    (
        "epsilon",
        "How much more likely any output can become because of one unit: at most a "
        "factor of e to the epsilon. Smaller is safer.",
    ),
    (
        "false alarm",
        "An attacker's guess that somebody was in the data who was not.",
    ),
    ("ledger", "The list of steps, written before each step, that cannot be edited."),
    (
        "noise multiplier",
        "The standard deviation of the noise over the length that a record can have.",
    ),
    (
        "post-processing",
        "Anything computed from a protected output without the records; costs nothing.",
    ),
    ("privacy profile", "Delta at every epsilon; a claim is one point of it."),
    ("sample rate", "The chance with which each record is in the batch of a step."),
    ("sigma", "The noise level of a diffusion model; nothing to do with privacy."),
    ("unit of privacy", "Who or what is protected: one record, or one person."),
)


def audits(source: Source) -> Section:
    """Return the section about audits, if the report holds any.

    Args:
        source: The signed report.
    """
    blocks: list[Block] = []
    for name, title in AUDITS.items():
        found = source.said.get(name)
        if found:
            blocks += _shown(title, found)
    if not blocks:
        blocks = [
            Text(
                text="This report holds no audit and no preflight check. The claim "
                "rests on the mechanism and its accounting, not on attacks that failed."
            )
        ]
    return Section(anchor="audits", title="Audits and checks", blocks=tuple(blocks))


def _shown(title: str, value: Any) -> Iterable[Block]:  # noqa: ANN401 - JSON
    """Show some JSON: one table for plain values, one for each list of records."""
    if isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        yield _records(title, value)
        return
    if not isinstance(value, dict):
        yield facts(title, [(title, _flat(value))])
        return
    plain = {k: v for k, v in value.items() if not _nested(v)}
    if plain:
        yield facts(title, [(_name(k), _flat(v)) for k, v in plain.items()])
    for key, inner in value.items():
        if _nested(inner):
            yield from _shown(f"{title}: {_name(key)}", inner)


def _records(title: str, value: Sequence[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for record in value for key in record))
    return Table(
        caption=title,
        columns=tuple(_name(column) for column in columns),
        rows=tuple(
            tuple(_flat(record.get(column, "")) for column in columns)
            for record in value
        ),
    )


def _nested(value: Any) -> bool:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return any(isinstance(inner, dict) for inner in value)
    return isinstance(value, dict)


def _flat(value: Any) -> str:  # noqa: ANN401 - JSON
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "–"
        case dict():
            return "; ".join(f"{_name(k)} {_flat(v)}" for k, v in value.items())
        case list():
            return ", ".join(_flat(inner) for inner in value)
        case _:
            return str(value)


def _name(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")


def utility(source: Source, local: Sequence[LocalNumber]) -> Section:
    """Return the section about utility, each number with its badge.

    Args:
        source: The signed report.
        local: Numbers for the data holder's eyes, which nobody signed.
    """
    signed = source.said["utility"]
    rows: list[tuple[Cell, ...]] = [
        (_name(str(one["name"])), str(one["value"]), _badge(one), str(one["data"]))
        for one in signed
    ]
    rows += [
        (
            _name(one.name),
            decimal_text(one.value),
            BADGES["local"],
            "private records; not signed",
        )
        for one in local
    ]
    shown = {str(one.get("kind", "public")) for one in signed}
    shown |= {"local"} if local else set()
    blocks: list[Block] = [
        Table(
            caption="How good the images are, as measured.",
            columns=("measure", "value", "", "computed on"),
            rows=tuple(rows),
            right=frozenset({1}),
        )
        if rows
        else Text(text="This report holds no measurement of utility."),
        *(
            Text(text=f"{kind.upper()}: {text}.")
            for kind, text in _MEANS.items()
            if kind in shown
        ),
    ]
    return Section(anchor="utility", title="Utility", blocks=tuple(blocks))


def _badge(one: dict[str, Any]) -> Badge:
    kind = str(one.get("kind", "public"))
    return BADGES.get(kind, Badge(tone=Tone.BAD, text=kind.upper()))


def glossary() -> Section:
    """Return the glossary."""
    return Section(
        anchor="glossary",
        title="Glossary",
        blocks=(facts("Words of this report", GLOSSARY),),
    )
