"""A report as Markdown: the same parts as the page, without its figures.

Every text from the report is escaped, so that none of it can become a heading, a link,
HTML or a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from privplan.render_report.decision import Decision
from privplan.render_report.page import Page
from privplan.render_report.parts import (
    Block,
    Cell,
    Code,
    Figure,
    Listing,
    Section,
    Table,
    Text,
)

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&@!#$]|:(?=//)|(?<=www)\.")
_BEGINS = re.compile(r"(\d*)(?:[-+=]|[.)](?!\S))")  # a list, a rule or a heading


def escaped(text: str) -> str:
    r"""Escape text for Markdown; whatever is not printable becomes a space.

    Example:
        >>> escaped("a|b\n# <c>")
        'a\\|b \\# \\<c\\>'
        >>> escaped("1. no list"), escaped("- nor this, x-ray")
        ('1\\. no list', '\\- nor this, x-ray')
    """
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    found = _SPECIAL.sub(lambda sign: f"\\{sign[0]}", line.strip())
    begins = _BEGINS.match(found)
    return found if begins is None else f"{begins[1]}\\{found[begins.end(1) :]}"


def write(page: Page) -> str:
    """Write a page as Markdown.

    Args:
        page: What it says.
    """
    lines = [*_first(page.decision)]
    for section in page.sections:
        lines += _section(section)
    return "\n".join(lines) + "\n"


def _first(first: Decision) -> Iterable[str]:
    yield from (f"# {first.verdict}", "")
    yield from (f"* {escaped(reason)}" for reason in first.reasons)
    yield ""
    if first.unfinished:
        yield from (f"**{escaped(first.unfinished)}**", "")
    yield from (escaped(first.statement), "")
    if first.in_words:
        yield from (escaped(first.in_words), "")
    yield from _rows(("", ""), [(name, value) for value, name, _ in first.figures])
    yield from ("## Budget", "")
    yield from _rows(("", ""), first.budget)
    yield from ("## What is released", "", escaped(first.released), "")
    yield f"The claim covers {escaped('; '.join(first.covers))}."
    yield from ("", "## What must hold", "")
    yield from (f"* {escaped(text)}" for _, text in first.assumptions)
    yield from ("", "## What is left out", "")
    for group in first.exclusions:
        yield f"* **{escaped(group.title)}**: {escaped(', '.join(group.names))}"
    yield from ("", "## Check it", "", "```", "privplan verify report.json", "```", "")
    yield from (f"The signed bytes have SHA-256 `{first.digest}`.", "")


def _section(section: Section) -> Iterable[str]:
    yield from (f"## {escaped(section.title)}", "")
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterable[str]:
    match block:
        case Text():
            yield from (escaped(block.text), "")
        case Listing():
            yield from (f"* {escaped(item)}" for item in block.items)
            yield ""
        case Code():
            yield from ("```", block.text, "```", "")
        case Table():
            yield from (f"*{escaped(block.caption)}*", "")
            titles = block.columns or ("",) * len(block.rows[0]) if block.rows else ()
            yield from _rows(titles, block.rows)
        case Figure():
            yield from (f"*Figure, in the HTML report: {escaped(block.caption)}*", "")


def _rows(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterable[str]:
    yield "| " + " | ".join(escaped(title) for title in titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(_cell(cell) for cell in row) + " |"
    yield ""


def _cell(cell: Cell) -> str:
    return escaped(cell) if isinstance(cell, str) else f"**{escaped(cell.text)}**"
