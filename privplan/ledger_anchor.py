"""An anchor: where a ledger stood, kept by somebody who cannot be made to forget.

A chain shows edits. It cannot show that its end was cut off, or that all of it was
written anew: inside the file there is nothing to compare with. An anchor is that
something. It is one line, short enough to be mailed, printed or read out:

    privplan-anchor/1 <ledger> <sequence> <hash> synthetic=600 private=40

A later ledger must still have that entry with that hash, and must have counted those
steps when it was that long. It may have grown since.

An anchor is worth what its place is worth: in the folder of the run, nothing.

Edges: reads and writes files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from privplan import files
from privplan.errors import DocumentError, IntegrityError
from privplan.ledger_content import LedgerContent
from privplan.ledger_entries import LedgerEntry

FORMAT = "privplan-anchor/1"
_LINE = re.compile(
    re.escape(FORMAT) + r" ([0-9a-f]{32}) ([1-9]\d{0,15}) ([0-9a-f]{64})"
    r"((?: [^ =\s]+=(?:0|[1-9]\d{0,15}))+)"
)
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Where a ledger stood.

    Attributes:
        ledger_id: Which ledger.
        sequence: Number of its last entry then.
        hash: Hash of that entry, in hex.
        begun: Steps that counted then, by phase.
    """

    ledger_id: str
    sequence: int
    hash: str
    begun: Mapping[str, int]


def of(content: LedgerContent) -> Anchor:
    """Return the anchor of a ledger as it stands."""
    return Anchor(
        ledger_id=content.ledger_id,
        sequence=content.head.sequence,
        hash=content.head.hash,
        begun=dict(content.begun),
    )


def to_line(anchor: Anchor) -> str:
    """Write an anchor as one line.

    Example:
        >>> to_line(
        ...     Anchor(
        ...         ledger_id="0" * 32, sequence=2, hash="ab" * 32, begun={"private": 4}
        ...     )
        ... )[-11:]
        'b private=4'
    """
    counts = " ".join(
        f"{quote(phase, safe='')}={count}" for phase, count in anchor.begun.items()
    )
    return f"{FORMAT} {anchor.ledger_id} {anchor.sequence} {anchor.hash} {counts}"


def from_line(line: str) -> Anchor:
    """Read a line that `to_line` wrote.

    Raises:
        DocumentError: It is something else.
    """
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise DocumentError(
            "this is not the anchor of a ledger",
            hint="give the one line that privplan ledger anchor wrote",
        )
    pairs = [text.split("=") for text in found[4].split()]
    return Anchor(
        ledger_id=found[1],
        sequence=int(found[2]),
        hash=found[3],
        begun={unquote(phase): int(count) for phase, count in pairs},
    )


def read(path: Path) -> Anchor:
    """Read an anchor from a file.

    Raises:
        DocumentError: It cannot be read, or is something else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES)
    except OSError as error:
        raise DocumentError(
            f"the anchor {path} cannot be read: {error.strerror}",
            hint="give a file that privplan ledger anchor wrote",
        ) from error
    return from_line(text.decode("utf-8", errors="replace"))


def write(anchor: Anchor, path: Path) -> None:
    """Write an anchor into a file, whole or not at all.

    Raises:
        DocumentError: It cannot be written.
    """
    files.write_text(path, to_line(anchor) + "\n", what="anchor")


def check(anchor: Anchor, content: LedgerContent) -> str:
    """Check that a ledger still holds what an anchor remembers.

    Returns:
        One line about how far the ledger has grown since.

    Raises:
        IntegrityError: It is another ledger, was rolled back or rewritten, or the
            anchor's counts are not those of that entry.
    """
    if anchor.ledger_id != content.ledger_id:
        raise _broken("the anchor belongs to another ledger")
    if anchor.sequence > len(content.entries):
        raise _broken(
            f"the ledger ends at entry {len(content.entries)}, but the anchor has seen "
            f"entry {anchor.sequence}: the ledger was rolled back"
        )
    if content.hash_at(anchor.sequence) != anchor.hash:
        raise _broken(
            f"entry {anchor.sequence} of the ledger is not the one the anchor has "
            "seen: the ledger was written anew"
        )
    if anchor.begun != _begun(content, content.entries[: anchor.sequence]):
        raise _broken(
            f"the anchor's counts are not those of entry {anchor.sequence}: the anchor "
            "was changed"
        )
    grown = len(content.entries) - anchor.sequence
    return f"entry {anchor.sequence} is still there; {grown} entries since"


def _begun(content: LedgerContent, entries: Sequence[LedgerEntry]) -> dict[str, int]:
    begun = dict.fromkeys(content.begun, 0)
    for entry in entries:
        if entry.kind == "intent":
            begun[entry.body["phase"]] += entry.body["count"]
    return begun


def _broken(problem: str) -> IntegrityError:
    return IntegrityError(
        problem, hint="stop the run, and find the copy of the ledger that was anchored"
    )
