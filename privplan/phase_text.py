"""Phases as a person types them: text in, events out.

    sgd:RATE,NOISE,STEPS     Poisson-sampled Gaussian steps, as in DP-SGD
    gaussian:NOISE,COUNT     Gaussian queries over all records
    laplace:NOISE,COUNT      Laplace queries over all records
    pure:EPSILON,COUNT       queries of pure epsilon, such as a noisy maximum
    none, synthetic          reads no private record
    raw                      reads private records without noise

COUNT may be left away and is then 1. One number of one phase may be `?`: the unknown
that a question is about.

Why `pure` stands for every pure mechanism: among all mechanisms whose log-ratio never
exceeds epsilon, two-point randomised response loses the most. Any other is a
post-processing of its answer, so its trade-off curve is above, alone and in every
composition (Kairouz, Oh, Viswanath 2015, arXiv:1311.0776, theorem 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from privplan.errors import ParameterError
from privplan.events import (
    Event,
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Unknown(StrEnum):
    """Which number of a phase is asked for."""

    NOISE_MULTIPLIER = "noise_multiplier"
    SAMPLE_RATE = "sample_rate"
    STEPS = "steps"


# What the fields of each kind are called, in order; pure epsilons are never unknown.
_EPSILON = "epsilon"
_FIELDS: dict[str, tuple[str, ...]] = {
    "sgd": (Unknown.SAMPLE_RATE, Unknown.NOISE_MULTIPLIER, Unknown.STEPS),
    "gaussian": (Unknown.NOISE_MULTIPLIER, Unknown.STEPS),
    "laplace": (Unknown.NOISE_MULTIPLIER, Unknown.STEPS),
    "pure": (_EPSILON, Unknown.STEPS),
    "none": (),
    "synthetic": (),
    "raw": (),
}
_FORMS = {
    "sgd": "sgd:RATE,NOISE,STEPS",
    "gaussian": "gaussian:NOISE,COUNT",
    "laplace": "laplace:NOISE,COUNT",
    "pure": "pure:EPSILON,COUNT",
    "none": "none",
    "synthetic": "synthetic",
    "raw": "raw",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseText:
    """One phase, read; perhaps with one number still unknown.

    Attributes:
        text: As it was typed.
        kind: `sgd`, `gaussian`, `laplace`, `pure`, `none`, `synthetic` or `raw`.
        words: What was typed for each field; NaN, infinity and zero are refused when
            the event is built.
        unknown: Which field is `?`; None if none is.
    """

    text: str
    kind: str
    words: tuple[str, ...]
    unknown: Unknown | None

    def event(self) -> Event:
        """Return the event this phase stands for.

        Raises:
            ParameterError: A number is malformed, outside its range or still unknown.

        Example:
            >>> parse("gaussian:20").event()
            GaussianEvent(noise_multiplier=20.0)
        """
        try:
            return self._event()
        except ParameterError as error:
            raise ParameterError(
                f"phase {self.text!r}: {error.message}", hint=error.hint
            ) from error

    def filled(self, value: float) -> PhaseText:
        """Return the phase with its unknown, if it has one, replaced by a number.

        Example:
            >>> parse("sgd:0.05,?,500").filled(1.25).text
            'sgd:0.05,1.25,500'
        """
        if self.unknown is None:
            return self
        words = tuple(f"{value!r}" if word == "?" else word for word in self.words)
        text = f"{self.kind}:{','.join(words)}"
        return replace(self, text=text, words=words, unknown=None)

    def _event(self) -> Event:
        if self.unknown is not None:
            raise ParameterError(
                f"its {_named(self.unknown)} is unknown",
                hint="give every number, or ask privplan calibrate",
            )
        if self.kind == "raw":
            return NonPrivateEvent()
        if not self.words:
            return NoOpEvent()
        *numbers, last = self.words
        event = _leaf(self.kind, [_number(word) for word in numbers])
        count = _count(last)
        return event if count == 1 else SelfComposedEvent(event=event, count=count)


def parse(text: str) -> PhaseText:
    """Read one phase.

    Raises:
        ParameterError: The kind is unknown, a number is missing, one too many or none,
            or more than one is `?`.

    Example:
        >>> parse("sgd:0.05,?,500").unknown.value
        'noise_multiplier'
    """
    kind, colon, rest = text.strip().partition(":")
    if kind not in _FIELDS:
        raise ParameterError(
            f"phase {text!r} is of no known kind",
            hint="write one of " + " | ".join(_FORMS.values()),
        )
    fields = _FIELDS[kind]
    words = tuple(word.strip() for word in rest.split(",")) if colon else ()
    if len(words) == len(fields) - 1 and words and kind != "sgd":
        words = (*words, "1")
    if len(words) != len(fields) or not all(words):
        raise ParameterError(
            f"phase {text!r} does not have the numbers that {kind!r} needs",
            hint=f"write it as {_FORMS[kind]}",
        )
    asked = [field for field, word in zip(fields, words, strict=True) if word == "?"]
    if len(asked) > 1 or asked == [_EPSILON]:
        raise ParameterError(
            f"phase {text!r} asks for more than one number"
            if len(asked) > 1
            else f"phase {text!r} asks for the epsilon of a pure query",
            hint="put one ? in the place of a noise multiplier, rate or count",
        )
    found = PhaseText(
        text=text.strip(),
        kind=kind,
        words=words,
        unknown=Unknown(asked[0]) if asked else None,
    )
    if not asked:
        found.event()
    return found


def the_unknown(unknowns: Sequence[Unknown | None]) -> tuple[int, Unknown]:
    """Return which phase is open and what is asked of it.

    Args:
        unknowns: What each phase leaves open; None for nothing.

    Raises:
        ParameterError: No phase is open, or more than one is.

    Example:
        >>> the_unknown([parse(x).unknown for x in ("gaussian:20", "sgd:0.05,1.1,?")])
        (1, <Unknown.STEPS: 'steps'>)
    """
    found = [(i, asked) for i, asked in enumerate(unknowns) if asked is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise ParameterError(
            f"{len(found)} phases leave a number open, but one budget has one unknown",
            hint="give every number but one; begin with the phase that matters least",
        )
    raise ParameterError(
        "no phase holds a ?, so there is nothing to solve for",
        hint="write ? in the place of the unknown, such as --phase 'sgd:0.05,?,500'",
    )


def _leaf(kind: str, numbers: list[float]) -> Event:
    match kind:
        case "sgd":
            rate, noise = numbers
            return PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
        case "gaussian":
            return GaussianEvent(noise_multiplier=numbers[0])
        case "laplace":
            return LaplaceEvent(noise_multiplier=numbers[0])
        case _:
            return RandomizedResponseEvent(epsilon=numbers[0])


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        _refuse(word, "a number", "1.1 or 1e-3")


def _count(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 16):
        _refuse(word, "a whole number", "500")
    return int(word)


def _refuse(word: str, what: str, such_as: str) -> NoReturn:
    raise ParameterError(
        f"{word[:40]!r} is not {what}", hint=f"write {what} such as {such_as}"
    )


def _named(unknown: Unknown) -> str:
    return unknown.value.replace("_", " ")
