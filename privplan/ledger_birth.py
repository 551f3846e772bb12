"""How a ledger file comes to be: whole under its name, or not there at all.

The file is filled under a name of its own and linked to the one it was asked for, which
fails where that name is taken: nothing is overwritten, and no reader meets half a file.

Edges: writes new ledger files.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from privplan import ledger_sqlite
from privplan.errors import PolicyError
from privplan.ledger_sqlite import mapped
from privplan.ledger_store import Row, Store, beside

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def create(path: Path, key: bytes, rows: Sequence[Row]) -> None:
    """Write a new ledger file, readable by its owner only; whole or not at all.

    Raises:
        PolicyError: The file exists, or it would be on a network file system.
        LedgerError: The folder is missing, full or read-only.
    """
    ledger_sqlite.check_place(path.parent)
    draft = path.parent / f".{path.name}.{os.getpid()}.new"
    try:
        with mapped(path):
            if os.path.lexists(path):
                raise _taken(path)
            _check_no_journal(path)
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            _fill(draft, key, rows)
            _publish(draft, path)
            _sync_folder(path.parent)
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            beside(draft, end).unlink(missing_ok=True)


def _fill(path: Path, key: bytes, rows: Sequence[Row]) -> None:
    with closing(ledger_sqlite.connect(path, "mode=rw")) as connection:
        ledger_sqlite.make_schema(connection)
        store = Store(path, connection)
        with store.transaction():
            connection.execute("INSERT INTO secret (id, key) VALUES (1, ?)", (key,))
            for row in rows:
                store.append(row)
        store.checkpoint()


def _check_no_journal(path: Path) -> None:
    """Refuse a name whose old journal SQLite would take for the new file's own."""
    if any(beside(path, end).exists() for end in ("-wal", "-journal")):
        raise PolicyError(
            f"the journal of an earlier ledger named {path.name} lies in its folder",
            hint="move the journal back beside its ledger, or choose another name",
        )


def _publish(draft: Path, path: Path) -> None:
    """Give a finished file a name that nobody has; no reader ever sees half of it."""
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _claim(path)
        draft.replace(path)


def _claim(path: Path) -> None:
    """Take the name where the file system has no links: for a moment it is empty."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise _taken(path) from error


def _taken(path: Path) -> PolicyError:
    return PolicyError(
        f"{path.name} exists, and a ledger is never overwritten",
        hint="resume the run of that ledger, or choose another name",
    )


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
