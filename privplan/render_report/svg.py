"""Small drawings: axes, lines, bars and marks as SVG, the same bytes everywhere.

Each drawing has a title and a description for whoever cannot see it. Lines differ in
colour *and* in dashes, and carry their name beside them, so that they can be told apart
in grey print and by the colour-blind. Colours come from the style sheet of the page.

Units: positions are pixels of a picture 640 wide; values are those of the axes.
Source: colours after Okabe and Ito 2008, "Color universal design".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 28, 16, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis.

    Attributes:
        label: What is measured, with its unit.
        low: Value at its beginning.
        high: Value at its end; above `low`.
        ticks: Values and their texts.
        log: Whether equal distances are equal ratios.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies: 0 at the beginning, 1 at the end, never beyond.

        Example:
            >>> axis = Axis(label="delta", low=1e-4, high=1.0, ticks=(), log=True)
            >>> axis.share(1e-2), axis.share(0.0)
            (0.5, 0.0)
        """
        if self.log:
            value = max(value, self.low)
            found = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            found = (value - self.low) / (self.high - self.low)
        return min(max(found, 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through points, with its name beside one of them.

    Attributes:
        points: (x, y) in units of the axes, in order of x.
        look: Solid and dark, dashed and dark, or dotted and grey.
        label: Its name; nothing if empty.
        at: Where the name stands, in units of the axes.
        side: Which end of the name is there.
    """

    points: tuple[tuple[float, float], ...]
    look: Literal["main", "limit", "guide"]
    label: str = ""
    at: tuple[float, float] = (0.0, 0.0)
    side: Literal["start", "end"] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar from the x axis, with a text under it."""

    left: float
    right: float
    height: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point that matters, with a text beside it.

    Attributes:
        x: Where it is.
        y: Where it is.
        label: The text.
        away: Pixels from the point to the text: to the right, and down.
    """

    x: float
    y: float
    label: str
    away: tuple[float, float] = (9.0, -7.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything that is drawn.

    Attributes:
        name: Of the drawing within its page; letters and dashes.
        title: Said by screen readers first.
        description: What can be seen, in a sentence or two.
        x: The axis below.
        y: The axis at the left.
        bars: Drawn first.
        lines: Drawn next.
        marks: Drawn last.
    """

    name: str
    title: str
    description: str
    x: Axis
    y: Axis
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()


def draw(picture: Picture) -> Markup:
    """Draw a picture.

    Returns:
        An `svg` element; every text in it is escaped.

    Example:
        >>> axis = Axis(label="x", low=0.0, high=1.0, ticks=((0.0, "0"),))
        >>> one = Picture(name="a", title="<b>", description="d", x=axis, y=axis)
        >>> str(draw(one))[:42]
        '<svg class="drawing" viewBox="0 0 640 300"'
        >>> "<b>" in draw(one)
        False
    """
    parts = [
        *_grid(picture.x, picture.y),
        *(_bar(picture, bar) for bar in picture.bars),
        *(_line(picture, line) for line in picture.lines),
        *(_mark(picture, mark) for mark in picture.marks),
    ]
    head = Markup(
        '<svg class="drawing" viewBox="0 0 {w} {h}" role="img" '
        'aria-labelledby="{n}-title {n}-text">'
        '<title id="{n}-title">{title}</title><desc id="{n}-text">{text}</desc>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        n=picture.name,
        title=picture.title,
        text=picture.description,
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def _x(axis: Axis, value: float) -> str:
    return _pixels(_LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT))


def _y(axis: Axis, value: float) -> str:
    return _pixels(HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM))


def _pixels(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")


def _grid(x: Axis, y: Axis) -> Iterable[Markup]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for value, text in y.ticks:
        at = _y(y, value)
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, at, right)
        yield _text(_LEFT - 8, f"{float(at) + 4:g}", text, look="tick", side="end")
    for value, text in x.ticks:
        at = _x(x, value)
        yield Markup('<path class="axis" d="M{} {}v5"/>').format(at, bottom)
        yield _text(at, bottom + 18, text, look="tick", side="middle")
    yield Markup('<path class="axis" d="M{} {}H{}"/>').format(_LEFT, bottom, right)
    middle = (_LEFT + right) // 2
    yield _text(middle, HEIGHT - 8, x.label, look="label", side="middle")
    yield Markup(
        '<text class="label" transform="translate(15 {}) rotate(-90)" '
        'text-anchor="middle">{}</text>'
    ).format((_TOP + bottom) // 2, y.label)


def _bar(picture: Picture, bar: Bar) -> Markup:
    left, right = _x(picture.x, bar.left), _x(picture.x, bar.right)
    top, bottom = _y(picture.y, bar.height), HEIGHT - _BOTTOM
    middle = _pixels((float(left) + float(right)) / 2)
    return Markup('<path class="bar" d="M{} {}V{}H{}V{}"/>').format(
        left, bottom, top, right, bottom
    ) + _text(middle, bottom + 18, bar.label, look="tick", side="middle")


def _line(picture: Picture, line: Line) -> Markup:
    drawn = Markup('<path class="line {}" d="M{}"/>').format(
        line.look, _path(picture, line.points)
    )
    if not line.label:
        return drawn
    x, y = line.at
    name = _text(
        _x(picture.x, x),
        _y(picture.y, y),
        line.label,
        look=f"name {line.look}",
        side=line.side,
    )
    return drawn + name


def _path(picture: Picture, points: Sequence[tuple[float, float]]) -> str:
    places = [f"{_x(picture.x, x)} {_y(picture.y, y)}" for x, y in points]
    return "L".join(places)


def _mark(picture: Picture, mark: Mark) -> Markup:
    x, y = _x(picture.x, mark.x), _y(picture.y, mark.y)
    right, down = mark.away
    return Markup('<circle class="mark" cx="{}" cy="{}" r="4.5"/>').format(
        x, y
    ) + _text(
        _pixels(float(x) + right),
        _pixels(float(y) + down),
        mark.label,
        look="name",
        side="start",
    )


def _text(x: float | str, y: float | str, text: str, *, look: str, side: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        look, x, y, side, text
    )
