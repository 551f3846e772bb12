"""The end of a run for good: whoever has its ledger open is fenced off, and it says so.

A run that may still go on cannot be settled: steps begun after the settlement would be
paid by nobody. So a last session takes the ledger over, notes what ended the run, and
gives up. A process that still trains keeps the lock, and the run cannot be ended; one
that lost its lock is fenced off and refused at its next step.

Edges: writes the ledger of a run.
"""

from __future__ import annotations

from pathlib import Path

from privplan import ledger_session
from privplan.ledger_content import LedgerContent, read
from privplan.ledger_entries import check_digest


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
        PolicyError: A process still trains, others may read the file, or it is on a
            network file system.
        LedgerError: It is missing, locked, read-only, damaged or not a ledger.
        IntegrityError: Its chain is broken.
    """
    check_digest(digest=digest)
    content = read(path)
    last = content.entries[-2].body if len(content.entries) > 2 else {}
    if content.aborted and (last.get("name"), last.get("digest")) == (name, digest):
        return content
    session = ledger_session.take_over(path)
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
