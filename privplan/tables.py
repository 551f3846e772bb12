"""A table of texts: prints as text, shows as HTML in a notebook; no library needed.

What is shown is what a caller put in, as text; every text is escaped. No column is
narrower than what is in it, so no number is ever cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that prints as text and shows as HTML.

    Attributes:
        caption: What it shows, in one line.
        titles: Of the columns.
        rows: One text per column.
        notes: Sentences below.
        words: How many columns of words there are, at the left; the rest are numbers.

    Example:
        >>> Table(caption="Prices", titles=("what", "euro"), rows=(("tea", "2"),))
        Prices
        what  euro
        ──────────
        tea      2
    """

    caption: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1

    def __str__(self) -> str:
        """Return the table as text, no column narrower than what is in it."""
        everything = [self.titles, *self.rows]
        columns = range(len(self.titles))
        widths = [max(len(row[i]) for row in everything) for i in columns]
        lines = [self._line(row, widths) for row in everything]
        lines.insert(1, "─" * max(len(line) for line in lines))
        return "\n".join([self.caption, *lines, *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "".join(self._cell("th", text, i) for i, text in enumerate(self.titles))
        body = "".join(
            "<tr>"
            + "".join(self._cell("td", text, i) for i, text in enumerate(row))
            + "</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return (
            '<table><caption style="text-align:left;white-space:nowrap">'
            f"{escape(self.caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{notes}"
        )

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            text.ljust(width) if i < self.words else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    def _cell(self, tag: str, text: str, column: int) -> str:
        side = "left" if column < self.words else "right"
        return f'<{tag} style="text-align:{side}">{escape(text)}</{tag}>'
