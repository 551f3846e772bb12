"""`--caption-column`: what a plan says of records that have captions and no classes."""

from __future__ import annotations

from dataclasses import asdict, replace

from cli import plan_inputs
from privplan import checks
from privplan.budget import PrivacyUnit
from privplan.errors import ParameterError
from privplan.planner import DeclaredData

_EMBEDDED = "digits"


def declared_data(
    data: str | None,
    records: int | None,
    image_size: int | None,
    classes: int | None,
    unit: PrivacyUnit | None,
    captions: str | None,
) -> DeclaredData:
    """Turn what is known of the records into declared facts, captions included.

    Args:
        data: `--data`.
        records: `--n`.
        image_size: `--image-size`.
        classes: `--classes`.
        unit: The unit of privacy, if a column says whose a record is.
        captions: `--caption-column`; None where records have classes.

    Raises:
        ParameterError: Captions and classes, or captions of what has none.
        DataError: The source cannot be described, or has no such column.

    Example:
        >>> declared_data(None, 100, 8, None, None, "text").captions
        'text'
    """
    if captions is None:
        return plan_inputs.declared_data(data, records, image_size, classes, unit)
    checks.name(caption_column=captions)
    if classes is not None:
        raise ParameterError(
            "--caption-column and --classes were both given",
            hint="leave --classes away: a caption stands in for the class",
        )
    if records is not None:
        known = plan_inputs.declared_data(data, records, image_size, 1, unit)
        return replace(known, captions=captions)
    if data is None or data == _EMBEDDED:
        raise ParameterError(
            "the embedded digits have no columns, so --caption-column cannot apply",
            hint="leave it away, or name your images with --data",
        )
    from diffusion.data import describe  # noqa: PLC0415 - imports torch

    shape = describe(data, image_size=image_size, unit=unit, captions=captions)
    return DeclaredData(**asdict(shape), unit=unit, captions=captions)
