r"""A ledger as lines of JSON, for whoever has no SQLite and no reason to trust us.

    {"body":{"kind":"genesis",...},"hash":"68b0..."}
    {"body":{"kind":"open",...},"hash":"9f3c..."}

One line per entry. The bytes of `body` are exactly those the hash was taken over, so a
stranger can follow the chain with any SHA-256:

    hash = SHA256("privplan-ledger-entry/1\0" || previous || length of body || body)

An export is read through the same gate as the database and counts for the same in
`verify`. The key that opens commitments to the data stays behind, so that the one check
which needs it, of the report's commitment, is left to the ledger's owner.

Edges: reads and writes files.
Source: JSON Lines, jsonlines.org.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from privplan import canonical, files, ledger_content
from privplan.errors import IntegrityError, LedgerError
from privplan.ledger_content import LedgerContent
from privplan.ledger_entries import LedgerEntry, entry_hash
from privplan.ledger_tally import Tally

_BEFORE, _BETWEEN, _AFTER = b'{"body":', b',"hash":"', b'"}\n'
_HEX = 64
_MOST_BYTES = 1 << 20


def to_lines(content: LedgerContent) -> bytes:
    """Write a ledger as lines of JSON.

    Raises:
        IntegrityError: An entry is not in its canonical form.
    """
    return b"".join(_line(entry) for entry in content.entries)


def write(content: LedgerContent, path: Path) -> None:
    """Write a ledger as lines of JSON into a file, whole or not at all.

    Raises:
        IntegrityError: An entry is not in its canonical form.
        DocumentError: The file cannot be written.
    """
    files.write_bytes(path, to_lines(content), what="export")


def is_export(path: Path) -> bool:
    """Tell whether a file looks like an export, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_BEFORE)) == _BEFORE
    except OSError:
        return False


def read(path: Path) -> LedgerContent:
    """Read and check a whole ledger, from its database or from an export.

    Raises:
        LedgerError: It is missing, empty, damaged or not a ledger.
        IntegrityError: Its chain is broken; the message names the entry.
    """
    return _read_lines(path) if is_export(path) else ledger_content.read(path)


def _read_lines(path: Path) -> LedgerContent:
    tally = Tally()
    try:
        with path.open("rb") as file:
            lines = iter(lambda: file.readline(_MOST_BYTES), b"")
            entries = tuple(_follow(lines, tally))
    except OSError as error:
        raise LedgerError(
            f"the export {path.name} cannot be read: {error.strerror}",
            hint="give a file that privplan ledger export wrote",
        ) from error
    ledger_content.check_opened(tally)
    return ledger_content.content_of(tally, entries, b"")


def _follow(lines: Iterator[bytes], tally: Tally) -> Iterator[LedgerEntry]:
    for line in lines:
        middle = len(line) - len(_AFTER) - _HEX - len(_BETWEEN)
        body, digest = line[len(_BEFORE) : middle], line[-_HEX - len(_AFTER) :][:_HEX]
        if line != _BEFORE + body + _BETWEEN + digest + _AFTER:
            raise IntegrityError(
                f"line {tally.head.sequence + 1} of the export is cut or was changed",
                hint="ask for the export again, or for its head by another way",
            )
        head = tally.head
        yield tally.follow(
            head.sequence + 1, head.hash, body, digest.decode("ascii", "replace")
        )


def _line(entry: LedgerEntry) -> bytes:
    body = canonical.canonical_bytes(entry.body)
    if entry_hash(entry.previous, body) != entry.hash:
        raise IntegrityError(
            f"entry {entry.sequence} of the ledger is not in canonical form",
            hint="give the database itself to whoever checks it",
        )
    return _BEFORE + body + _BETWEEN + entry.hash.encode() + _AFTER
