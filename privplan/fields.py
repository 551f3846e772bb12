"""The field types that plans, reports and keys are made of.

A document is read by machines that disagree about floats. So a number that matters
is decimal text in JSON and a float in Python, a digest is 64 hex digits, and every
model here is strict and frozen: an unknown field, a wrong type or a NaN is refused
with the path of the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from privplan import canonical, events
from privplan.errors import DocumentError, IntegrityError


class Document(BaseModel):
    """Base of every document model: strict, frozen, no unknown fields."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False
    )


def _number(value: object, info: ValidationInfo) -> object:
    if info.mode == "json":
        if not isinstance(value, str):
            raise ValueError('must be decimal text, such as "0.5"')
        return canonical.read_decimal(value)
    return value


Number = Annotated[
    float,
    BeforeValidator(_number),
    PlainSerializer(canonical.decimal_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"}),
]
"""A float in Python, decimal text in JSON."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hex."""

Count = Annotated[int, Field(ge=1, lt=2**53)]
"""A whole number of at least one."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
"""A short text."""


def _event(value: object) -> events.Event:
    return value if isinstance(value, events.Event) else events.from_json(value)


EventField = Annotated[
    events.Event,
    PlainValidator(_event),
    PlainSerializer(events.to_json, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "required": ["type"]}),
]
"""A privacy event; its JSON is that of `events.to_json`."""


ModelT = TypeVar("ModelT", bound=Document)


def read_document(model: type[ModelT], text: bytes, *, what: str) -> ModelT:
    """Read a document strictly.

    Args:
        model: What it should be.
        text: Its bytes.
        what: What it is called in messages: "plan", "report".

    Raises:
        DocumentError: It is not that document; the message names the field.
        ParameterError: A number is outside its range.
    """
    canonical.read_json(text, what=what)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise DocumentError(
            f"this is not a {what}: {where[:80]}: {first['msg'][:120]}",
            hint=f"give a {what} written by privplan, unchanged",
        ) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let a refusal say which file it is about: several may have been named.

    Raises:
        DocumentError, IntegrityError: As inside, with the path before it.

    Example:
        >>> with naming(Path("b.json")):
        ...     canonical.read_json(b"[]", what="plan")
        Traceback (most recent call last):
        privplan.errors.DocumentError: b.json: this is not a plan: its JSON is not an \
object. To fix: give a plan written by privplan, unchanged
    """
    try:
        yield
    except (DocumentError, IntegrityError) as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
