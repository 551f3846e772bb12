"""The end of a run for good: whoever has its ledger open is fenced off, and it says so.

A run that may still go on cannot be settled: steps begun after the settlement would be
paid by nobody. So a last session takes the ledger over, which fences off any process
that still trains, notes what ended the run, and gives up.

Edges: writes the ledger of a run.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from privplan import canonical, ledger_session
from privplan.errors import LedgerError
from privplan.ledger_content import LedgerContent, follow_all, read
from privplan.ledger_entries import check_digest, entry_hash
from privplan.ledger_session import Session
from privplan.ledger_store import Store
from privplan.ledger_tally import Tally


def end(path: Path, name: str, digest: str) -> LedgerContent:
    """End a run: fence its sessions off, note a release, give up.

    Args:
        path: The run's ledger.
        name: What ends it: "settlement".
        digest: What it belongs to, 64 hex digits.

    Returns:
        The ledger as it stands then. A run that was ended by the same thing already
        stays as it is.

    Raises:
        ParameterError: The digest is malformed.
        PolicyError: Others may read the file, or it is on a network file system.
        LedgerError: It is missing, locked, read-only, damaged or not a ledger.
        IntegrityError: Its chain is broken.
    """
    check_digest(digest=digest)
    content = read(path)
    last = content.entries[-2].body if len(content.entries) > 2 else {}
    if content.aborted and (last.get("name"), last.get("digest")) == (name, digest):
        return content
    session = _take_over(path)
    try:
        session.append(
            "release",
            {
                "name": name,
                "digest": digest,
                "facts": {},
                "time": ledger_session.now(),
            },
        )
        session.append("abort", {"time": ledger_session.now()})
    finally:
        session.close()
    return read(path)


def _take_over(path: Path) -> Session:
    store, tally = Store.open(path), Tally()
    try:
        with store.transaction():
            follow_all(store, tally)
            sequence, number = tally.head.sequence + 1, tally.sessions + 1
            text = canonical.canonical_bytes(
                {
                    "kind": "open",
                    "sequence": sequence,
                    "session": number,
                    "code_digest": tally.code_digest,
                    "time": ledger_session.now(),
                }
            )
            previous = tally.head.hash
            row = (sequence, previous, text, entry_hash(previous, text))
            store.append(row)
        tally.follow(*row)
    except BaseException:
        with suppress(LedgerError):
            store.close()
        raise
    return Session(store, tally, number=number)
