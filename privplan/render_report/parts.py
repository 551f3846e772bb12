"""What a rendered report is made of: texts, tables, badges, figures, sections.

Values of text only, so that HTML and Markdown can be written from the same ones, and so
that nothing else can slip in: there is no part that holds a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

from markupsafe import Markup


class Tone(StrEnum):
    """How a badge looks; the text says the same, so colour is never alone."""

    CHARGED = "charged"
    PUBLIC = "public"
    LOCAL = "local"
    GOOD = "good"
    CARE = "care"
    BAD = "bad"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A word in a frame."""

    tone: Tone
    text: str


Cell: TypeAlias = str | Badge


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of short texts."""

    kind: ClassVar[str] = "listing"
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Text to be copied as it stands."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        columns: Their titles; none if names and values need no title.
        rows: All of one length.
        right: Which columns are numbers, aligned to the right.
        narrow: Which columns are digests, broken anywhere.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[int] = frozenset()
    narrow: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing.

    Attributes:
        drawing: SVG, already escaped.
        caption: What it shows, and how to read it.
    """

    kind: ClassVar[str] = "figure"
    drawing: Markup
    caption: str


Block: TypeAlias = Text | Listing | Code | Table | Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the report with a title of its own.

    Attributes:
        anchor: Its place in the page, for links.
        title: Its title.
        blocks: What is in it, in order.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def facts(caption: str, rows: Sequence[tuple[str, Cell]]) -> Table:
    """Return a table of names and values."""
    return Table(caption=caption, columns=(), rows=tuple(rows))
