"""Small charts as SVG text: lines and bars, no library, the same bytes every time.

For notebooks and pages that must open without a network. A chart is a list of
elements in a box of its own; `side_by_side` puts boxes into one picture.

Units: pixels. Numbers on axes are written in their shortest form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 320, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 30, 44
_COLOURS = ("#1f5fa8", "#c2571a", "#2d7d46", "#7a4a9e")
_INK, _GRID = "#333", "#ddd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        label: What it is; empty for none.
        points: Pairs (x, y), finite, in order of x.
        dashed: Whether it is a limit rather than a finding.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


def line_chart(
    title: str, *, x: str, y: str, lines: Sequence[Line], log_y: bool = False
) -> str:
    """Return a chart of lines, as the inside of an SVG.

    Args:
        title: Above it.
        x: Below the horizontal axis.
        y: Beside the vertical axis.
        lines: At least one, with at least one point.
        log_y: Whether the vertical axis counts in powers of ten; y must be above 0.

    Example:
        >>> chart = line_chart(
        ...     "a", x="x", y="y", lines=[Line(label="", points=((0, 0), (1, 2)))]
        ... )
        >>> chart.count("<polyline")
        1
    """
    spots = [spot for line in lines for spot in line.points]
    across = _Axis(min(0.0, *(p[0] for p in spots)), max(p[0] for p in spots))
    low = min(p[1] for p in spots) if log_y else min(0.0, *(p[1] for p in spots))
    up = _Axis(low, max(p[1] for p in spots), log=log_y)
    parts = [_title(title), _frame(across, up), _names(x, y)]
    for index, line in enumerate(lines):
        colour = _COLOURS[index % len(_COLOURS)]
        where = " ".join(
            f"{_x(across.part(px)):.1f},{_y(up.part(py)):.1f}" for px, py in line.points
        )
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(
            f'<polyline points="{where}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{dash}/>'
        )
        if line.label:
            first = line.points[0]
            at = _x(across.part(first[0])) + 6, _y(up.part(first[1])) + 14
            parts.append(_text(*at, line.label, "start", colour))
    return "".join(parts)


def bar_chart(title: str, *, rows: Sequence[tuple[str, float, str]]) -> str:
    """Return horizontal bars, as the inside of an SVG.

    Args:
        title: Above it.
        rows: Label, length at least 0, and the text at the end of the bar.

    Example:
        >>> bar_chart("a", rows=[("b", 1.0, "1"), ("c", 0.0, "0")]).count("<rect")
        2
    """
    longest = max((length for _, length, _ in rows), default=0.0) or 1.0
    step = min((HEIGHT - _TOP - 20) / max(len(rows), 1), 34.0)
    parts = [_title(title)]
    for index, (label, length, text) in enumerate(rows):
        top = _TOP + 6 + index * step
        wide = length / longest * (WIDTH - 90 - 70)
        parts.append(_text(84, top + step / 2 + 1, label, "end", _INK))
        parts.append(
            f'<rect x="90" y="{top:.1f}" width="{wide:.1f}" height="{step * 0.62:.1f}" '
            f'fill="{_COLOURS[0]}"/>'
        )
        parts.append(_text(94 + wide, top + step / 2 + 1, text, "start", _INK))
    return "".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of an axis and what it is; both ends above 0."""

    low: float
    high: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A named row of spans."""

    label: str
    spans: tuple[Span, ...]


def span_chart(title: str, *, x: str, rows: Sequence[Row], kinds: Sequence[str]) -> str:
    """Return rows of coloured spans over a logarithmic axis, as the inside of an SVG.

    Twice as wide as other charts, for `alone`. Each kind has one colour; its name
    stands in the line below the title.

    Args:
        title: Above it.
        x: Below the axis.
        rows: At least one, with at least one span.
        kinds: All there are, four at most; each keeps its colour in every chart.

    Example:
        >>> row = Row(label="a", spans=(Span(low=0.1, high=1.0, kind="b"),))
        >>> span_chart("t", x="x", rows=[row], kinds=["b"]).count("<rect")
        2
    """
    spans = [span for row in rows for span in row.spans]
    axis = _Axis(min(s.low for s in spans), max(s.high for s in spans), log=True)
    present = {span.kind for span in spans}
    colours = {
        kind: colour
        for kind, colour in zip(kinds, _COLOURS, strict=False)
        if kind in present
    }
    left, wide = 130, 2 * WIDTH - 130 - 20
    step = min((HEIGHT - 56 - _BOTTOM) / len(rows), 34.0)
    bottom = 56 + step * len(rows)
    parts = [_text(WIDTH, 18, title, "middle", _INK, extra=' font-weight="bold"')]
    for index, (kind, colour) in enumerate(colours.items()):
        at = left + 110.0 * index
        parts += [_box(at, 30, 12, 12, colour), _text(at + 17, 40, kind, "start", _INK)]
    for tick in axis.ticks():
        at = left + wide * axis.part(tick)
        parts.append(_stroke(at, 52, at, bottom))
        parts.append(_text(at, bottom + 14, f"{tick:g}", "middle", _INK))
    for index, row in enumerate(rows):
        top = 56 + index * step
        parts.append(_text(left - 8, top + step / 2 + 1, row.label, "end", _INK))
        for span in row.spans:
            start, end = (left + wide * axis.part(v) for v in (span.low, span.high))
            size = max(end - start - 1, 1)
            parts.append(_box(start, top, size, step * 0.7, colours[span.kind]))
    parts.append(_text(left + wide / 2, bottom + 32, x, "middle", _INK))
    return "".join(parts)


def bars_height(rows: int) -> int:
    """Return how high a picture of so many bars has to be; more are drawn thinner."""
    return min(_TOP + 34 * rows + 12, HEIGHT)


def spans_height(rows: int) -> int:
    """Return how high a picture of so many rows of spans has to be."""
    return min(56 + 34 * rows + _BOTTOM, HEIGHT)


def alone(chart: str, *, alt: str, wide: int = 2 * WIDTH, high: int = HEIGHT) -> str:
    """Return an SVG of one chart, with a text for who cannot see it.

    Args:
        chart: Its inside.
        alt: The text.
        wide: In pixels; `span_chart` needs the default.
        high: In pixels.
    """
    return _whole(chart, wide, alt, high)


def side_by_side(charts: Sequence[str], *, alt: str) -> str:
    """Return one SVG of several charts, with a text for who cannot see it."""
    wide = WIDTH * len(charts)
    inside = "".join(
        f'<g transform="translate({WIDTH * index} 0)">{chart}</g>'
        for index, chart in enumerate(charts)
    )
    return _whole(inside, wide, alt)


def _whole(inside: str, wide: int, alt: str, high: int = HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" '
        f'width="{wide}" height="{high}" role="img" aria-label="{escape(alt)}" '
        f'font-family="sans-serif" font-size="11">'
        f'<rect width="{wide}" height="{high}" fill="#fff"/>{inside}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    log: bool = False

    def part(self, value: float) -> float:
        """Return where a value is, 0 to 1."""
        low, high, at = (self._scaled(v) for v in (self.low, self.high, value))
        return 0.5 if high <= low else (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round values on the axis."""
        if self.log:
            first, last = (
                math.ceil(math.log10(self.low)),
                math.floor(math.log10(self.high)),
            )
            step = max(-(-(last - first) // 4), 1)
            return [10.0**power for power in range(first, last + 1, step)]
        span = self.high - self.low or 1.0
        size = 10.0 ** math.floor(math.log10(span / 4))
        step_of = next(k * size for k in (1, 2, 5, 10) if span / (k * size) <= 5)
        count = math.floor(self.high / step_of + 1e-9)
        first_tick = math.ceil(self.low / step_of - 1e-9)
        return [k * step_of for k in range(first_tick, count + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _x(part: float) -> float:
    return _LEFT + part * (WIDTH - _LEFT - _RIGHT)


def _y(part: float) -> float:
    return HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM)


def _frame(across: _Axis, up: _Axis) -> str:
    parts = []
    for tick in across.ticks():
        at = _x(across.part(tick))
        parts.append(_stroke(at, _y(0), at, _y(1)))
        parts.append(_text(at, _y(0) + 14, f"{tick:g}", "middle", _INK))
    for tick in up.ticks():
        at = _y(up.part(tick))
        parts.append(_stroke(_x(0), at, _x(1), at))
        parts.append(_text(_LEFT - 5, at + 4, f"{tick:g}", "end", _INK))
    return "".join(parts)


def _box(x: float, y: float, wide: float, high: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" '
        f'fill="{colour}"/>'
    )


def _names(x: str, y: str) -> str:
    middle = (_y(0) + _y(1)) / 2
    return _text((_x(0) + _x(1)) / 2, HEIGHT - 10, x, "middle", _INK) + (
        f'<g transform="translate(12 {middle:.1f}) rotate(-90)">'
        f"{_text(0, 0, y, 'middle', _INK)}</g>"
    )


def _title(text: str) -> str:
    return _text(WIDTH / 2, 18, text, "middle", _INK, extra=' font-weight="bold"')


def _stroke(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{_GRID}"/>'
    )


def _text(
    x: float, y: float, text: str, anchor: str, colour: str, *, extra: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}>'
        f"{escape(text)}</text>"
    )
