"""What a rendering reads: a signed report, taken apart; and local numbers beside it.

Reading is not believing. The signature is not checked here, so that a report can be
looked at without a key; `verify` checks it, and every rendering says so.

A *local* number was computed from private records and paid for by nobody. It is in no
signed report. A data holder may have it shown in a page of their own, and there it has
a type of its own: nothing that makes a release takes a `LocalNumber`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from privplan import canonical, dsse
from privplan.errors import DocumentError, PrivplanError
from privplan.fields import Document, Name, Number, read_document
from privplan.render_report import embedding
from privplan.report_schema import PREDICATE_TYPE, Predicate


class LocalNumber(Document):
    """A number for the eyes of the data holder, and of nobody else."""

    name: Name
    value: Number


class _LocalNumbers(Document):
    numbers: tuple[LocalNumber, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A signed report as renderings read it; the signature is not checked.

    Attributes:
        envelope: The envelope in the form in which a page carries it.
        digest: SHA-256 of the signed bytes, in hex.
        subjects: Name and SHA-256 of each file the report speaks of.
        keyids: The keys that the envelope says signed it; hearsay.
        predicate: What is said.
        said: The same as plain JSON.
    """

    envelope: str
    digest: str
    subjects: tuple[tuple[str, str], ...]
    keyids: tuple[str, ...]
    predicate: Predicate
    said: dict[str, Any]


def read(text: bytes) -> Source:
    """Take a signed report apart.

    Args:
        text: The envelope, or a page that holds it.

    Raises:
        DocumentError: It is neither, or not a privplan report.
    """
    envelope = embedding.normal(embedding.envelope(text))
    opened, payload = dsse.unpack(envelope.encode())
    statement = canonical.read_json(payload, what="statement")
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise DocumentError(
            "the signed statement is not a privplan training report",
            hint="give a report written by privplan report",
        )
    inner = canonical.canonical_bytes(statement.get("predicate"))
    predicate = read_document(Predicate, inner, what="report")
    return Source(
        envelope=envelope,
        digest=hashlib.sha256(payload).hexdigest(),
        subjects=_subjects(statement.get("subject")),
        keyids=tuple(signature.keyid for signature in opened.signatures),
        predicate=predicate,
        said=dict(statement["predicate"]),
    )


def _subjects(value: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - JSON
    try:
        return tuple((str(s["name"]), str(s["digest"]["sha256"])) for s in value)
    except (TypeError, KeyError, IndexError) as error:
        raise DocumentError(
            "the signed statement names its files in an unknown way",
            hint="give a report written by privplan report",
        ) from error


def local_numbers(text: bytes) -> tuple[LocalNumber, ...]:
    """Read what `privplan evaluate --json` printed about private images.

    Raises:
        DocumentError: It is something else.
    """
    said = canonical.read_json(text, what="list of local scores")
    scores = said.get("scores")
    if said.get("kind") != "local" or not isinstance(scores, dict) or not scores:
        raise DocumentError(
            "this is not a list of local scores",
            hint="give the output of privplan evaluate --json on private images",
        )
    try:
        return tuple(
            LocalNumber(name=name, value=float(value)) for name, value in scores.items()
        )
    except (TypeError, ValueError, PrivplanError) as error:
        raise DocumentError(
            "a local score is not a finite number",
            hint="give the output of privplan evaluate --json, unchanged",
        ) from error


def write_local(numbers: Sequence[LocalNumber]) -> str:
    """Write local numbers as a page carries them."""
    kept = _LocalNumbers(numbers=tuple(numbers)).model_dump(mode="json")
    return json.dumps(kept, sort_keys=True)


def read_local(page: bytes) -> tuple[LocalNumber, ...]:
    """Return the local numbers a page carries; none if it is a page without any.

    Raises:
        DocumentError: The block is not what `write_local` writes.
    """
    found = embedding.read(page, embedding.LOCAL)
    if found is None:
        return ()
    return read_document(_LocalNumbers, found, what="list of local numbers").numbers
