"""What the parser says of a value it cannot read, in the words of our own refusals.

Invalid value for '--eps': Input should be a valid number, unable to parse string
--eps is 'abc', but it must be a number
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_INVALID = re.compile(r"^Invalid value for '?(?P<option>[^':]+)'?: (?P<why>.*)$")
_MUST = (
    (re.compile(r"^Input should be a valid number.*"), "it must be a number"),
    (re.compile(r"^Input should be a valid integer.*"), "it must be a whole number"),
    (re.compile(r"^.*'[^']*' is not one of (.*)$"), r"it must be one of \1"),
    (re.compile(r"^Value error, "), ""),
)


def plainly(message: str, given: Sequence[str]) -> str:
    """Say which value was wrong and what is allowed; other messages stay as they are.

    Args:
        message: What the parser says, on one line.
        given: The command line.

    Example:
        >>> parser = "Invalid value for '--n': Input should be a valid integer, got 2.5"
        >>> plainly(parser, ["plan", "--n", "2.5"])
        "--n is '2.5', but it must be a whole number"
        >>> plainly("Missing option '--out'", ["pretrain"])
        "Missing option '--out'"
    """
    found = _INVALID.match(message)
    if found is None:
        return message
    option, why = found["option"], found["why"]
    for pattern, words in _MUST:
        why = pattern.sub(words, why)
    value = _value_of(option, given)
    return f"{option} is {value!r}, but {why}" if value else f"{option}: {why}"


def _value_of(option: str, given: Sequence[str]) -> str | None:
    """Return the text after an option, or behind its equals sign."""
    for position, argument in enumerate(given):
        if argument == option and position + 1 < len(given):
            return given[position + 1][:60]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2][:60]
    return None
