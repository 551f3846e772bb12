"""The schema of a ledger file, how it is opened, and which files are refused.

Whatever a file claims about itself is checked before it is used: that it is a ledger,
that SQLite finds it undamaged, and that its rules are the ones below, to the letter.
Every error of SQLite and of the file system leaves here as one of our own.

    entries   sequence, previous, body, hash     append-only, in the order of the chain
    secret    one row of 32 random bytes         keys the commitment to the data

Edges: opens databases, looks at files.
Source: SQLite documentation, "Defense Against The Dark Arts".
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privplan.errors import IntegrityError, LedgerError, PolicyError
from privplan.ledger_mounts import network_file_system

_APPLICATION_ID = 0x50504C47
_LOCK_SECONDS = 5.0
_MAGIC = b"SQLite format 3\0"

_TABLES = (
    "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, previous TEXT NOT NULL, "
    "body TEXT NOT NULL, hash TEXT NOT NULL)",
    "CREATE TABLE secret (id INTEGER PRIMARY KEY CHECK (id = 1), key BLOB NOT NULL)",
)
# INSERT OR REPLACE deletes without a word to a DELETE trigger: the last two see it.
_TRIGGERS = (
    *(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for table in ("entries", "secret")
        for verb in ("UPDATE", "DELETE")
    ),
    "CREATE TRIGGER entries_in_order BEFORE INSERT ON entries WHEN NEW.sequence <> "
    "(SELECT coalesce(max(sequence), 0) + 1 FROM entries) "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER secret_once BEFORE INSERT ON secret WHEN EXISTS "
    "(SELECT 1 FROM secret) "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)

_HINTS = {
    "locked": "stop the other program that has the ledger open, then resume the run",
    "full": "free space on the disk, then resume the run",
    "No space": "free space on the disk, then resume the run",
    "disk I/O": "free space on the disk or repair it, then resume the run",
    "readonly": "make the ledger and its folder writable by its owner",
    "unable to open": "give a ledger in a folder that exists and can be written",
    "No such file": "give the path of a ledger in a folder that exists",
    "ermission": "make the ledger and its folder readable and writable by its owner",
}


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a database that may have been prepared by an enemy.

    Args:
        path: The file; it is never created.
        mode: "mode=rw", or "mode=ro&immutable=1".

    Raises:
        sqlite3.Error: It cannot be opened; see `mapped`.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=_LOCK_SECONDS,
        isolation_level=None,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def make_durable(connection: sqlite3.Connection) -> None:
    """Force every commit to disk before it returns, on macOS too."""
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")
    connection.execute("PRAGMA checkpoint_fullfsync=ON")


def make_schema(connection: sqlite3.Connection) -> None:
    """Turn an empty database into an empty ledger."""
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    make_durable(connection)
    connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    for command in _TABLES + _TRIGGERS:
        connection.execute(command)


def check_ledger(path: Path, connection: sqlite3.Connection) -> None:
    """Require a database that is a ledger and that SQLite finds undamaged.

    Raises:
        LedgerError: It is another database, or damaged.
    """
    found = connection.execute("PRAGMA application_id").fetchone()
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    if found != (_APPLICATION_ID,) or {"entries", "secret"} - {
        row[0] for row in tables
    }:
        raise _not_a_ledger(path)
    if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        raise LedgerError(
            f"the file of ledger {path.name} is damaged",
            hint="restore the ledger from a copy whose head you know",
        )


def check_rules(path: Path, connection: sqlite3.Connection) -> None:
    """Require that the file still refuses to change or drop a line.

    Raises:
        IntegrityError: A rule is missing or changed, or something was added.
    """
    schema = connection.execute("SELECT sql FROM sqlite_schema").fetchall()
    if sorted(str(row[0]) for row in schema) != sorted(_TABLES + _TRIGGERS):
        raise IntegrityError(
            f"the append-only rules of ledger {path.name} were changed",
            hint="restore the ledger from a copy whose head you know",
        )


def check_file(path: Path, *, owner_only: bool) -> None:
    """Require a file that looks like a database, before SQLite is asked.

    Args:
        path: The file.
        owner_only: Also require that nobody else may read or write it.

    Raises:
        LedgerError: It is missing, empty or something else.
        PolicyError: Others may read or write it.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise _failed(path, error.strerror or "it cannot be opened") from error
    if magic != _MAGIC:
        raise _not_a_ledger(path)
    if owner_only and os.name == "posix" and mode & 0o077:
        raise PolicyError(
            f"others than its owner may read or write ledger {path.name}",
            hint=f"run: chmod 600 {path}",
        )


def check_place(folder: Path) -> None:
    """Require a folder on a disk that this machine has to itself.

    Raises:
        PolicyError: It is on a network file system.
    """
    kind = network_file_system(folder)
    if kind is not None:
        raise PolicyError(
            f"the ledger would be on a network file system ({kind})",
            hint="keep the ledger on a local disk, and copy it away after the run",
        )


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into a LedgerError.

    Raises:
        LedgerError: For every one of them.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:
        # a damaged schema can put bytes into SQLite's message that are not text
        raise _failed(path, str(error)) from error
    except OSError as error:
        raise _failed(path, error.strerror or "the file system refuses") from error


def _failed(path: Path, problem: str) -> LedgerError:
    short = " ".join(problem.split())[:120]
    known = (hint for word, hint in _HINTS.items() if word in problem)
    return LedgerError(
        f"ledger {path.name} cannot be used: {short}",
        hint=next(known, "restore the ledger from a copy whose head you know"),
    )


def _not_a_ledger(path: Path) -> LedgerError:
    return LedgerError(
        f"{path.name} is not a ledger",
        hint="give the .sqlite file that a run of privplan wrote",
    )
