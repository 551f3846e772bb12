"""The text of `--query`, read into budget lines.

    NAME:NOISE[,COUNT][,KEY=VALUE...]      a noise multiplier, how often, and what else
    select:epsilon=E,candidates=K          has no noise multiplier, only keys

    labels:50    labels:50,votes=3    count:100,2    mean:20,radius=6
    moments:1.5,radius=6    scores:50,candidates=8    select:epsilon=0.05,candidates=8

It is strict: a price is never guessed. A name, a key or a number that is not known is
refused, and so is anything given twice.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from privplan.budget_lines import CandidateChoice
from privplan.errors import ParameterError
from privplan.query_lines import (
    CandidateScores,
    LabelHistogram,
    MeanQuery,
    RecordCount,
    SecondMoments,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privplan.budget_lines import Line

GRAMMAR = "NAME:NOISE[,COUNT][,KEY=VALUE...]"
_EXAMPLES = {
    "labels": "labels:50 or labels:50,votes=3",
    "count": "count:100",
    "mean": "mean:20,radius=6",
    "moments": "moments:1.5,radius=6",
    "scores": "scores:50,candidates=8",
    "select": "select:epsilon=0.05,candidates=8",
}
_KEYS = {
    "labels": {"votes"},
    "count": set[str](),
    "mean": {"radius", "count_share"},
    "moments": {"radius"},
    "scores": {"candidates"},
    "select": {"epsilon", "candidates", "count"},
}
_WHOLE_KEYS = {"votes", "candidates", "count"}
_NUMBER = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)


def parse_all(texts: Sequence[str]) -> tuple[Line, ...]:
    """Read every `--query`, in order; the same kind may occur more than once.

    Raises:
        ParameterError: One of them is not a line; the message names it.
    """
    return tuple(parse(text) for text in texts)


def parse(text: str) -> Line:
    """Read one `--query`.

    Raises:
        ParameterError: An unknown name or key; a number that is missing, malformed or
            out of range; something given twice.

    Example:
        >>> parse("labels:50,2")
        LabelHistogram(noise_multiplier=50.0, count=2, votes=1)
        >>> parse("select:epsilon=0.05,candidates=8")
        CandidateChoice(epsilon=0.05, candidates=8, count=1)
    """
    name, colon, rest = text.partition(":")
    if name not in _KEYS:
        raise ParameterError(
            f"--query '{text[:40]}' names no query",
            hint=f"write {GRAMMAR}; names are {', '.join(_KEYS)}",
        )
    if not colon or not rest:
        raise _malformed(text, "it has no noise")
    plain, keyed = _parts(text, rest)
    for key in keyed:
        if key not in _KEYS[name]:
            known = ", ".join(sorted(_KEYS[name])) or "none"
            raise _malformed(text, f"{key[:20]!r} is not one of its keys ({known})")
    if name == "select":
        return _select(text, plain, keyed)
    if not plain:
        raise _malformed(text, "it has no noise")
    noise = _number(text, "noise", plain[0])
    count = _whole(text, "count", plain[1]) if len(plain) > 1 else 1
    options = {
        key: _whole(text, key, value)
        if key in _WHOLE_KEYS
        else _number(text, key, value)
        for key, value in keyed.items()
    }
    if name == "scores" and "candidates" not in options:
        raise _malformed(text, "it needs candidates=..., by name")
    return _built(name, noise, count, options)


def _built(name: str, noise: float, count: int, options: dict[str, float]) -> Line:
    match name:
        case "labels":
            votes = int(options.get("votes", 1))
            return LabelHistogram(noise_multiplier=noise, count=count, votes=votes)
        case "mean":
            return MeanQuery(noise_multiplier=noise, count=count, **options)
        case "moments":
            radius = options.get("radius", 1.0)
            return SecondMoments(noise_multiplier=noise, count=count, radius=radius)
        case "scores":
            candidates = int(options["candidates"])
            return CandidateScores(
                noise_multiplier=noise, count=count, candidates=candidates
            )
        case _:
            return RecordCount(noise_multiplier=noise, count=count)


def _select(text: str, plain: list[str], keyed: dict[str, str]) -> CandidateChoice:
    if plain or not {"epsilon", "candidates"} <= set(keyed):
        raise _malformed(text, "it needs epsilon=... and candidates=..., by name")
    return CandidateChoice(
        epsilon=_number(text, "epsilon", keyed["epsilon"]),
        candidates=_whole(text, "candidates", keyed["candidates"]),
        count=_whole(text, "count", keyed.get("count", "1")),
    )


def _parts(text: str, rest: str) -> tuple[list[str], dict[str, str]]:
    """Split into at most two plain numbers, and then keys."""
    plain: list[str] = []
    keyed: dict[str, str] = {}
    for part in rest.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            if keyed or len(plain) == 2:
                raise _malformed(text, f"'{part[:20]}' has no name")
            plain.append(part)
        elif key in keyed:
            raise _malformed(text, f"'{key[:20]}' is given twice")
        else:
            keyed[key] = value
    return plain, keyed


def _number(text: str, what: str, value: str) -> float:
    found = float(value) if _NUMBER.fullmatch(value) else math.nan
    if not 0 < found < math.inf:
        raise _malformed(text, f"its {what} is '{value[:20]}', not a number above 0")
    return found


def _whole(text: str, what: str, value: str) -> int:
    found = int(value) if _WHOLE.fullmatch(value) else 0
    if not found >= 1:
        raise _malformed(
            text, f"its {what} is '{value[:20]}', not a whole number of at least 1"
        )
    return found


def _malformed(text: str, problem: str) -> ParameterError:
    name = text.partition(":")[0]
    return ParameterError(
        f"--query '{text[:60]}': {problem}", hint=f"write it like {_EXAMPLES[name]}"
    )
