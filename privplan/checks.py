"""Range checks for public numbers.

Every check is written so that NaN fails: `if not 0 < x < inf`, never `if x <= 0`.
The names of the arguments become the names in the message, so a call reads
`checks.positive(noise_multiplier=z)` and the user sees `noise_multiplier`.

These are for *public* parameters only: the offending value is printed.
"""

from __future__ import annotations

import math

from privplan.errors import ParameterError

_EXAMPLES = {
    "records": "1000", "steps": "100", "noise_multiplicity": "4", "devices": "2",
    "physical_batch_size": "64", "learning_rate": "0.001", "classes": "10",
    "height": "32", "width": "32", "image_size": "32", "channels": "3",
    "max_records": "4", "count": "1000",
}  # fmt: skip
"""What to propose, by name: a plain 100 would be odd for some."""


def positive(**values: float) -> None:
    """Require finite numbers above zero.

    Raises:
        ParameterError: A value is zero, negative, infinite or NaN.

    Example:
        >>> positive(noise_multiplier=1.0)
        >>> positive(noise_multiplier=float("nan"))
        Traceback (most recent call last):
        privplan.errors.ParameterError: noise_multiplier is nan, but it must be a \
finite number above 0. To fix: give noise_multiplier a value such as 1.0
    """
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ParameterError(
                f"{name} is {value!r}, but it must be a finite number above 0",
                hint=f"give {name} a value such as {_EXAMPLES.get(name, '1.0')}",
            )


def non_negative(**values: float) -> None:
    """Require finite numbers of at least zero.

    Raises:
        ParameterError: A value is negative, infinite or NaN.
    """
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ParameterError(
                f"{name} is {value!r}, but it must be a finite number of at least 0",
                hint=f"give {name} a value of 0 or more",
            )


def probability(**values: float) -> None:
    """Require numbers strictly between zero and one, such as delta.

    Raises:
        ParameterError: A value is outside the open interval (0, 1), or NaN.
    """
    for name, value in values.items():
        if not 0 < value < 1:
            raise ParameterError(
                f"{name} is {value!r}, but it must lie strictly between 0 and 1",
                hint=f"give {name} a value such as 1e-5",
            )


def rate(**values: float) -> None:
    """Require numbers above zero and at most one, such as a sample rate.

    Raises:
        ParameterError: A value is outside (0, 1], or NaN.
    """
    for name, value in values.items():
        if not 0 < value <= 1:
            raise ParameterError(
                f"{name} is {value!r}, but it must be above 0 and at most 1",
                hint=f"give {name} a value such as 0.05",
            )


def fraction(**values: float) -> None:
    """Require numbers of at least zero and below one, such as an EMA decay.

    Raises:
        ParameterError: A value is outside [0, 1), or NaN.
    """
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ParameterError(
                f"{name} is {value!r}, but it must be at least 0 and below 1",
                hint=f"give {name} a value such as 0.1",
            )


def count(**values: int) -> None:
    """Require whole numbers of at least one, such as a number of steps.

    Raises:
        ParameterError: A value is below one, or not a whole number.
    """
    for name, value in values.items():
        if type(value) is not int or not 1 <= value < 2**53:
            whole = type(value) is int and value > 0
            asked = "below 2^53, about 9e15" if whole else "of at least 1"
            raise ParameterError(
                f"{name} is {value!r}, but it must be a whole number {asked}",
                hint=f"give {name} a value such as {_EXAMPLES.get(name, 100)}",
            )


def name(**values: str) -> None:
    """Require names: 1 to 200 characters that can be printed on one line.

    Raises:
        ParameterError: A value is empty, longer, or has a line break in it.

    Example:
        >>> name(data_set="x-rays 2025")
    """
    for what, value in values.items():
        if not (1 <= len(value) <= 200 and value.isprintable()):
            raise ParameterError(
                f"{what} is {value[:40]!r}, but a name has 1 to 200 printable "
                "characters",
                hint=f"give {what} a short name on one line",
            )
