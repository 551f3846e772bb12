"""A measurement beside the range it must lie in.

Preflights and audits measure; what they found travels as name, value and range, so
that whoever reads it later can judge it again. A value that is no number has no place
in any range.
"""

from __future__ import annotations

import math

from privplan.fields import Document, Name, Number


class Measured(Document):
    """One measurement. `value` is None where what came out is not a number."""

    name: Name
    meaning: str
    value: Number | None
    low: Number
    high: Number

    @property
    def holds(self) -> bool:
        """Whether the value lies in its range; what is not a number does not."""
        return self.value is not None and self.low <= self.value <= self.high


def measure(
    name: str, value: float, band: tuple[float, float], meaning: str
) -> Measured:
    """Put a value beside its range.

    Args:
        name: What was measured.
        value: What came out; anything.
        band: The lowest and the highest value that are right; finite.
        meaning: What the value is, in one line.

    Example:
        >>> measure("noise", 0.98, (0.99, 1.01), "std over what is planned").holds
        False
        >>> measure("noise", float("nan"), (0.0, 1.0), "std").holds
        False
    """
    number = float(value)
    return Measured(
        name=name,
        meaning=meaning,
        value=number if math.isfinite(number) else None,
        low=float(band[0]),
        high=float(band[1]),
    )
