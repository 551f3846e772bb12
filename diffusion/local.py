"""Numbers computed from private data, kept from leaving by their type.

A score against private records is a release nobody accounted for. Such a number may
be looked at by those who may see the records, and may go nowhere else. So it travels
inside `Local`, which has no JSON form, prints as a label, and is opened in one place
per caller, by a method whose name says what it does.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Local(Generic[ValueT]):
    """A value that must not leave this machine.

    Example:
        >>> Local(0.93)
        Local(hidden)
    """

    _value: ValueT

    def show_to_the_data_holder(self) -> ValueT:
        """Return the value, for a screen that only the data holder sees."""
        return self._value

    def __repr__(self) -> str:
        return "Local(hidden)"
