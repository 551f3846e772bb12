"""What was checked before the first private step, as a document.

Every measurement is of made-up pictures, so the document may be shown to anybody. It
says that the code worked at the start, on this machine; a signature under it does not
prove that the same code ran afterwards.
"""

from __future__ import annotations

from typing import Literal

from privplan.fields import Digest, Document, Name, Number, read_document
from privplan.measured import Measured

PREFLIGHT_NAME = "preflight.json"


class PreflightPart(Document):
    """The result of a preflight. See the module docstring."""

    format: Literal["privplan-preflight/1"]
    plan_digest: Digest
    source_digest: Digest
    engine: Name
    device: Name
    false_alarm: Number
    checks: tuple[Measured, ...]
    seconds: Number

    @property
    def passed(self) -> bool:
        """Whether something was checked, and every measurement is in its range."""
        return bool(self.checks) and all(check.holds for check in self.checks)


def to_text(part: PreflightPart) -> str:
    """Write a preflight as indented JSON."""
    return part.model_dump_json(indent=2) + "\n"


def from_text(text: bytes) -> PreflightPart:
    """Read a preflight strictly.

    Raises:
        DocumentError: This is none; the message names the field.
    """
    return read_document(PreflightPart, text, what="preflight")
