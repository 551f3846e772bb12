"""The file under a ledger: made to refuse rather than to forget.

A step may touch the data only once its intent would survive a power cut. So every
commit is forced to disk (WAL, synchronous=FULL), one process writes at a time (BEGIN
IMMEDIATE), and the file itself refuses to change or drop a line.

Readers never write. A file whose journal is empty is read in place, as immutable; one
with a journal (a run in progress, or one that was killed) is read from a private copy
of both, because leaving the journal out would leave out steps that count.

Edges: this is the module that writes ledger files.
Source: SQLite documentation, "Write-Ahead Logging".
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from privplan import ledger_sqlite
from privplan.errors import IntegrityError, LedgerError, PolicyError
from privplan.ledger_sqlite import mapped

_READ_TRIES = 50

Row = tuple[int, str, bytes, str]
"""An entry: sequence, previous, canonical bytes of the body, hash."""

LoadedT = TypeVar("LoadedT")


class Store:
    """An open connection to a ledger file.

    Attributes:
        path: The file; messages name only its last part.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._process = os.getpid()
        self._file = _identity(path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an existing ledger for writing.

        Raises:
            LedgerError: It is missing, locked, read-only, damaged or not a ledger.
            PolicyError: Others may read it, or it is on a network file system.
        """
        check(path)
        with mapped(path):
            connection = ledger_sqlite.connect(path, "mode=rw")
            try:
                ledger_sqlite.check_ledger(path, connection)
                ledger_sqlite.make_durable(connection)
                return cls(path, connection)
            except BaseException:
                connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing; on disk when it ends without an error.

        Raises:
            LedgerError: Locked, full, read-only; or the file is no longer there.
            PolicyError: This is a forked copy of the process that opened the ledger.
        """
        if os.getpid() != self._process:
            raise PolicyError(
                f"ledger {self.path.name} was opened before this process was forked",
                hint="reserve steps only in the process that opened the ledger",
            )
        if _identity(self.path) != self._file:
            raise LedgerError(
                f"ledger {self.path.name} was moved, deleted or replaced while in use",
                hint="put the same file back, then resume the run",
            )
        with mapped(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.rollback()
                raise

    def rows(self, first: int = 1) -> Generator[Row, None, None]:
        """Yield the entries from number `first` on; close it, or read to the end."""
        with mapped(self.path):
            query = (
                "SELECT sequence, CAST(previous AS BLOB), CAST(body AS BLOB), "
                "CAST(hash AS BLOB) FROM entries WHERE sequence >= ? ORDER BY sequence"
            )
            with closing(self._connection.execute(query, (first,))) as cursor:
                for sequence, previous, body, digest in cursor:
                    yield sequence, _text(previous), body or b"", _text(digest)

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of one entry; None if there is no such entry."""
        with closing(self.rows(sequence)) as rows:
            row = next(rows, None)
        return row[3] if row is not None and row[0] == sequence else None

    def append(self, row: Row) -> None:
        """Add one entry; inside a transaction."""
        sequence, previous, body, digest = row
        self._connection.execute(
            "INSERT INTO entries (sequence, previous, body, hash) VALUES (?, ?, ?, ?)",
            (sequence, previous, body.decode("utf-8"), digest),
        )

    def key(self) -> bytes:
        """Return the random key of this ledger; empty if it is gone."""
        with mapped(self.path):
            query = "SELECT CAST(key AS BLOB) FROM secret"
            row = self._connection.execute(query).fetchone()
            return bytes(row[0] or b"") if row else b""

    def check_rules(self) -> None:
        """Require that the file still refuses to change or drop a line.

        Raises:
            IntegrityError: A trigger is missing or changed, or something was added.
        """
        with mapped(self.path):
            ledger_sqlite.check_rules(self.path, self._connection)

    def checkpoint(self) -> None:
        """Bring everything into the one file, so that it can be copied."""
        with mapped(self.path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Bring everything into the one file and let go of it."""
        if os.getpid() != self._process:
            return
        try:
            self.checkpoint()
        finally:
            with mapped(self.path):
                self._connection.close()


def check(path: Path) -> None:
    """Require what looks like a ledger, owned by the one who asks, on a local disk."""
    ledger_sqlite.check_place(path.parent)
    ledger_sqlite.check_file(path, owner_only=True)


def read(path: Path, load: Callable[[Store], LoadedT]) -> LoadedT:
    """Read a ledger without changing a byte of it or of its folder.

    Args:
        path: The ledger; a run may be writing to it.
        load: Takes what it needs from the store; called again if the file changed
            in the meantime.

    Raises:
        LedgerError: It is not a ledger, is damaged, or never stands still.
    """
    for _ in range(_READ_TRIES):
        before = _marks(path)
        try:
            loaded = _read_once(path, load)
        except (LedgerError, IntegrityError):
            if _marks(path) == before:
                raise
        else:
            if _marks(path) == before:
                return loaded
        time.sleep(0.02)
    raise LedgerError(
        f"ledger {path.name} is written to faster than it can be read",
        hint="read it while the run pauses, or read a copy",
    )


def _read_once(path: Path, load: Callable[[Store], LoadedT]) -> LoadedT:
    ledger_sqlite.check_file(path, owner_only=False)
    journal = beside(path, "-wal")
    if not journal.exists() or journal.stat().st_size == 0:
        return _load(path, "mode=ro&immutable=1", load)
    with mapped(path), tempfile.TemporaryDirectory(prefix="privplan-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(journal, beside(copy, "-wal"))
        shutil.copyfile(path, copy)
        return _load(copy, "mode=rw", load)


def _load(path: Path, mode: str, load: Callable[[Store], LoadedT]) -> LoadedT:
    with mapped(path), closing(ledger_sqlite.connect(path, mode)) as connection:
        ledger_sqlite.check_ledger(path, connection)
        return load(Store(path, connection))


def beside(path: Path, end: str) -> Path:
    """Return the path of a file that SQLite keeps beside a database."""
    return Path(f"{path}{end}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _marks(path: Path) -> list[tuple[int, int, int]]:
    """Say how ledger and journal look from outside; any write changes it."""
    marks = []
    for file in (path, beside(path, "-wal")):
        with suppress(OSError):
            found = file.stat()
            marks.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return marks


def _text(value: bytes | None) -> str:
    return (value or b"").decode("ascii", errors="replace")
