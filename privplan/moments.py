"""Moments in time, as documents write them: UTC, ISO 8601, to the second.

A moment in a document is what its writer says. Whoever holds the key that signs can
say any time, so nothing that protects against a stolen key may rest on one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from privplan.errors import ParameterError


def now() -> datetime:
    """Return the time of this machine's clock, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def text(moment: datetime) -> str:
    """Write a moment.

    Example:
        >>> text(datetime(2026, 1, 31, 12, tzinfo=UTC))
        '2026-01-31T12:00:00+00:00'
    """
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def parse(said: str) -> datetime:
    """Read a moment; a day alone is its first second, in UTC.

    Raises:
        ParameterError: It is neither a day nor a moment with its time zone.

    Example:
        >>> text(parse("2026-01-31"))
        '2026-01-31T00:00:00+00:00'
        >>> text(parse("2026-01-31T12:00:00+02:00"))
        '2026-01-31T10:00:00+00:00'
    """
    try:
        if len(said) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(said), time(), UTC)
        moment = datetime.fromisoformat(said)
        in_utc = moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError) as error:
        raise _no_moment(said) from error
    if moment.tzinfo is None:
        raise _no_moment(said)
    return in_utc


def _no_moment(said: str) -> ParameterError:
    return ParameterError(
        f"{said[:40]!r} is not a day or a moment",
        hint="write it like 2027-01-31 or 2027-01-31T12:00:00+00:00",
    )
