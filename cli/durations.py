"""Durations as people write them: 90s, 10m, 2h, 1.5d."""

from __future__ import annotations

from privplan.errors import ParameterError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_of(text: str) -> float:
    """Read a duration.

    Raises:
        ParameterError: It is not a positive number with a unit.

    Example:
        >>> seconds_of("10m"), seconds_of("1.5h")
        (600.0, 5400.0)
    """
    try:
        found = float(text[:-1]) * _SECONDS[text[-1:]]
    except (KeyError, ValueError):
        found = 0.0
    if not 0 < found < float("inf"):
        raise ParameterError(
            f"'{text[:20]}' is no duration",
            hint="write it like 90s, 10m or 2h",
        )
    return found


def in_words(seconds: float) -> str:
    """Say how long something takes, to the digits a guess deserves.

    Example:
        >>> in_words(0.42), in_words(42.0), in_words(600.0), in_words(36_000.0)
        ('0.42 s', '42 s', '10 min', '10 h')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h"
