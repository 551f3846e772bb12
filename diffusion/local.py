"""Numbers computed from private data, kept from leaving by their type.

A score against private records is a release nobody accounted for. Such a number may
be looked at by those who may see the records, and may go nowhere else. So it travels
inside `Local`, which has no JSON form, no fields to list, no copy on disk, prints as a
label, and is opened in one place per caller, by a method whose name says what it does.

This keeps honest code from slips. It does not keep Python from a determined hand.
"""

from typing import Generic, Never, TypeVar

ValueT = TypeVar("ValueT")


class Local(Generic[ValueT]):
    """A value that must not leave this machine.

    Example:
        >>> Local(0.93)
        Local(hidden)
    """

    __slots__ = ("__value",)

    def __init__(self, value: ValueT) -> None:
        self.__value = value

    def show_to_the_data_holder(self) -> ValueT:
        """Return the value, for a screen that only the data holder sees."""
        return self.__value

    def __repr__(self) -> str:
        return "Local(hidden)"

    def __reduce__(self) -> Never:
        raise TypeError("a Local is neither pickled nor copied")
