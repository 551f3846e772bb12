"""One value, one byte string, one digest; and JSON read without surprises.

A digest is only as good as the bytes under it. RFC 8785 gives every JSON value one
byte string, so a plan has the same SHA-256 on every machine. Numbers that matter are
written as decimal *strings*: no reader re-rounds them, and NaN has no spelling.

Reading is the other half: a document with a key written twice, with NaN, or larger
than it has any reason to be is refused before anything looks inside.

Source: RFC 8785, JSON Canonicalization Scheme.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any

import rfc8785

from privplan.errors import DocumentError, ParameterError

if TYPE_CHECKING:
    from pathlib import Path

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")

Json = dict[str, Any] | list[Any] | str | int | float | bool | None


def canonical_bytes(value: Json) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Raises:
        ParameterError: The value is not JSON: NaN, an integer beyond 2^53, an object.

    Example:
        >>> canonical_bytes({"b": 1, "a": ["x"]})
        b'{"a":["x"],"b":1}'
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, TypeError, ValueError) as error:
        raise ParameterError(
            f"this value has no canonical JSON form ({error})",
            hint="use text, whole numbers below 2^53, lists and plain dictionaries",
        ) from error


def digest(value: Json) -> str:
    """Return the SHA-256 of a JSON value's canonical bytes, in hex.

    Example:
        >>> digest({})[:16]
        '44136fa355b3678a'
    """
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex; the file is read in pieces.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decimal_text(value: float) -> str:
    """Write a finite number as the shortest decimal text that reads back equal.

    Raises:
        ParameterError: The number is infinite or NaN.

    Example:
        >>> decimal_text(1e-05), decimal_text(2.0)
        ('1e-05', '2.0')
    """
    if not math.isfinite(value):
        raise ParameterError(
            f"{value!r} cannot be written into a document",
            hint="documents hold finite numbers only",
        )
    return repr(float(value))


def read_decimal(text: str) -> float:
    """Read a number that `decimal_text` wrote.

    One value has one text: digits that a float cannot hold are refused, so that no
    document can be changed without changing what it says.

    Raises:
        ParameterError: The text is not such a number, or overflows.

    Example:
        >>> read_decimal("0.25")
        0.25
    """
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if repr(value) != text:
        value = math.nan
    if not math.isfinite(value):
        raise ParameterError(
            f"{text[:40]!r} is not a decimal number in its shortest form",
            hint="write it like '0.5', '12.0' or '1e-05'",
        )
    return value


def round_up(value: float, digits: int) -> float:
    """Round to `digits` significant digits, never below the value.

    Example:
        >>> round_up(1.23401, 4), round_up(0.5, 3)
        (1.235, 0.5)
    """
    return float(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(value))


def round_down(value: float, digits: int) -> float:
    """Round to `digits` significant digits, never above the value.

    Example:
        >>> round_down(1.23499, 4)
        1.234
    """
    return float(Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(value))


def short_up(value: float, digits: int) -> str:
    """Return a number with at most so many digits, rounded up as the decimal it is.

    Where `round_up` takes 5e-05 as the binary number a little above it, this takes it
    as it is written: what was granted as 0.00005 shows as that.

    Example:
        >>> short_up(5e-05, 4), short_up(0.000123456, 4)
        ('5e-05', '0.0001235')
    """
    return _short_decimal(value, digits, ROUND_CEILING)


def short_down(value: float, digits: int) -> str:
    """Return a number with at most so many digits, rounded down as the decimal it is.

    Example:
        >>> short_down(0.00015, 4), short_down(0.000123456, 4)
        ('0.00015', '0.0001234')
    """
    return _short_decimal(value, digits, ROUND_FLOOR)


def _short_decimal(value: float, digits: int, rounding: str) -> str:
    near = Context(prec=digits, rounding=rounding).create_decimal(decimal_text(value))
    return f"{float(near):.{digits}g}"


def text_up(value: float, places: int) -> str:
    """Write a number with fixed decimals, never below its value; for epsilons.

    Example:
        >>> text_up(0.99941, 3), text_up(0.0, 3), text_up(float("inf"), 3)
        ('1.000', '0.000', 'inf')
    """
    if not math.isfinite(value):
        return str(value)
    step = Decimal(1).scaleb(-places)
    return str(Decimal(value).quantize(step, rounding=ROUND_CEILING))


def text_down(value: float, places: int) -> str:
    """Write a number with fixed decimals, never above its value; for what is left.

    Example:
        >>> text_down(0.99999, 3)
        '0.999'
    """
    if not math.isfinite(value):
        return str(value)
    step = Decimal(1).scaleb(-places)
    return str(Decimal(value).quantize(step, rounding=ROUND_FLOOR))


def read_json(text: bytes, *, what: str) -> dict[str, Any]:
    """Read one JSON object strictly.

    Args:
        text: The bytes of the document, UTF-8.
        what: What it should be, for the message: "plan", "report".

    Raises:
        DocumentError: Too large, not UTF-8, not JSON, a key twice, NaN, not an object.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise DocumentError(
            f"this {what} has {len(text):,} bytes, more than {MAX_DOCUMENT_BYTES:,}",
            hint=f"check that the file really is a {what}",
        )
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DocumentError(
            f"this is not a {what}: {_short(error)}",
            hint=f"give a {what} written by privplan, unchanged",
        ) from error
    if not isinstance(value, dict):
        raise DocumentError(
            f"this is not a {what}: its JSON is not an object",
            hint=f"give a {what} written by privplan, unchanged",
        )
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} overflows")
    return value


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
