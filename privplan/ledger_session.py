"""One session of a run: how a ledger is begun, taken up again, and written to.

Only the newest session may write. Before every entry a session follows whatever the
file holds beyond what it knows. If another session has opened the run, this one is
fenced off; if its own last entry is gone, somebody rolled the file back. A lock keeps
a second process from opening a run that is going on; fencing holds where it is lost.

Edges: writes one SQLite file per run, through `ledger_store`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from privplan import canonical, checks, ledger_birth, ledger_lock, ledger_store
from privplan.errors import IntegrityError, LedgerError, PolicyError
from privplan.ledger_content import follow_all
from privplan.ledger_entries import (
    FORMAT,
    START,
    Allowance,
    LedgerHead,
    check_digest,
    check_phases,
    commit,
    entry_hash,
    key_digest,
    write_allowances,
)
from privplan.ledger_lock import RunLock
from privplan.ledger_store import Row, Store
from privplan.ledger_tally import Tally

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a run is bound to; a run with another one is another run.

    Attributes:
        plan_digest: SHA-256 of the plan, in hex.
        data_digest: SHA-256 of the canonical data, in hex. Private: only a keyed
            commitment to it is kept.
        code_digest: SHA-256 of the code that trains, in hex.
        processes: How many processes carry out this session; each may be another.
    """

    plan_digest: str
    data_digest: str
    code_digest: str
    processes: int = 1

    def __post_init__(self) -> None:
        check_digest(
            plan_digest=self.plan_digest,
            data_digest=self.data_digest,
            code_digest=self.code_digest,
        )
        checks.count(processes=self.processes)


class Session:
    """The right to write to a ledger, as long as nobody opens the run again.

    Attributes:
        tally: What the ledger adds up to, as far as this session knows.
    """

    def __init__(self, store: Store, tally: Tally, number: int, lock: RunLock) -> None:
        self.tally = tally
        self._store = store
        self._number = number
        self._lock = lock
        self._closed = False

    def append(
        self,
        kind: str,
        fields: dict[str, canonical.Json],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Add an entry; durable when this returns.

        Args:
            kind: Which kind of entry.
            fields: What it says, besides kind, sequence and session.
            check: Called when the tally is up to date; raises to refuse the entry.

        Raises:
            PolicyError: Another session has the run now, or this one was closed.
            IntegrityError: The ledger was rolled back under this session.
            LedgerError: The entry could not be made durable.
        """
        if self._closed:
            raise PolicyError(
                "this ledger was closed", hint="resume the run to open it again"
            )
        with self._store.transaction():
            self._catch_up()
            check()
            row = _seal(self.tally.head, kind, {"session": self._number, **fields})
            self._store.append(row)
        self.tally.follow(*row)

    def check_not_aborted(self) -> None:
        """Require a session that has not given up.

        Raises:
            PolicyError: It has.
        """
        if self.tally.aborted:
            raise PolicyError(
                "this session of the run gave up", hint="resume the run to go on"
            )

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of an entry; None if the ledger is not that long."""
        return self._store.hash_at(sequence)

    def checkpoint(self) -> None:
        """Bring everything into the one file, so that it can be copied."""
        self._store.checkpoint()

    def close(self) -> None:
        """Let go of the file; twice is once."""
        if not self._closed:
            self._closed = True
            try:
                self._store.close()
            finally:
                self._lock.release()

    def _catch_up(self) -> None:
        head = self.tally.head
        with closing(self._store.rows(first=head.sequence)) as rows:
            known = next(rows, None)
            if known is None or (known[0], known[3]) != (head.sequence, head.hash):
                raise IntegrityError(
                    f"entry {head.sequence}, which this session knows, is no longer in "
                    "the ledger",
                    hint="the ledger was rolled back: stop, and find the newest copy",
                )
            for row in rows:
                self.tally.follow(*row)
        if self.tally.sessions != self._number:
            raise PolicyError(
                "another process has taken up this run since it was opened here",
                hint="let the newest process finish, or stop it and resume the run",
            )


def begin(path: Path, bound: Binding, allowances: Sequence[Allowance]) -> Session:
    """Write the ledger of a new run and open its first session.

    Raises:
        ParameterError: There is no phase, or one occurs twice.
        PolicyError: The file exists, or it would be on a network file system.
        LedgerError: It cannot be written.
    """
    check_phases(allowances)
    key = os.urandom(_KEY_BYTES)
    genesis: dict[str, canonical.Json] = {
        "format": FORMAT,
        "ledger_id": os.urandom(16).hex(),
        "plan_digest": bound.plan_digest,
        "data_commitment": commit(key, bound.data_digest),
        "key_digest": key_digest(key),
        "allowances": write_allowances(allowances),
        "time": now(),
    }
    first = _seal(START, "genesis", genesis)
    head = LedgerHead(sequence=first[0], hash=first[3])
    rows = [first, _opening(head, 1, bound.code_digest, bound.processes)]
    with _locked(path) as lock:
        ledger_birth.create(path, key, rows)
        with _opened(path) as (store, tally):
            follow_all(store, tally)
        return Session(store, tally, 1, lock)


def take_up(path: Path, bound: Binding, *, allow_code_change: bool) -> Session:
    """Open a new session of a run, after its whole ledger was checked.

    Raises:
        PolicyError: Another process is writing to it; plan, data or code are not those
            of the ledger; or others may read the file.
        LedgerError: It is missing, locked, read-only, damaged or not a ledger.
        IntegrityError: Its chain is broken.
    """
    ledger_store.check(path)
    with _locked(path) as lock, _opened(path) as (store, tally):
        with store.transaction():
            follow_all(store, tally)
            _check_bound(store, tally, bound, allow_code_change=allow_code_change)
            row = _opening(
                tally.head, tally.sessions + 1, bound.code_digest, bound.processes
            )
            store.append(row)
        tally.follow(*row)
        return Session(store, tally, tally.sessions, lock)


def take_over(path: Path) -> Session:
    """Open a last session of a run, whatever it was bound to, to end it.

    Raises:
        PolicyError: Another process is writing to it, or others may read the file.
        LedgerError: It is missing, locked, read-only, damaged or not a ledger.
        IntegrityError: Its chain is broken.
    """
    ledger_store.check(path)
    with _locked(path) as lock, _opened(path) as (store, tally):
        with store.transaction():
            follow_all(store, tally)
            row = _opening(tally.head, tally.sessions + 1, tally.code_digest)
            store.append(row)
        tally.follow(*row)
        return Session(store, tally, tally.sessions, lock)


@contextmanager
def _locked(path: Path) -> Iterator[RunLock]:
    """Hold the lock of a ledger, and keep it only if the block succeeds."""
    lock = ledger_lock.take(path)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Store, Tally]]:
    """Open a ledger, and keep it open only if the block succeeds."""
    store = Store.open(path)
    try:
        yield store, Tally()
    except BaseException:
        with suppress(LedgerError):
            store.close()
        raise


def _check_bound(
    store: Store, tally: Tally, bound: Binding, *, allow_code_change: bool
) -> None:
    commitment = commit(store.key(), bound.data_digest)
    same = {
        "plan": bound.plan_digest == tally.genesis["plan_digest"],
        "data": commitment == tally.genesis["data_commitment"],
        "code": allow_code_change or bound.code_digest == tally.code_digest,
    }
    changed = " and ".join(name for name, equal in same.items() if not equal)
    if changed:
        raise PolicyError(
            f"this is not the {changed} that the ledger of this run is bound to",
            hint="resume with what the run began with, or begin a new run with its "
            "own budget; for changed code alone, add --allow-code-change",
        )


def _seal(head: LedgerHead, kind: str, fields: dict[str, canonical.Json]) -> Row:
    sequence = head.sequence + 1
    text = canonical.canonical_bytes({"kind": kind, "sequence": sequence, **fields})
    return sequence, head.hash, text, entry_hash(head.hash, text)


def _opening(
    head: LedgerHead, session: int, code_digest: str, processes: int = 1
) -> Row:
    fields: dict[str, canonical.Json] = {
        "session": session,
        "code_digest": code_digest,
        "nonce": os.urandom(16).hex(),
        "time": now(),
    }
    if processes > 1:
        fields["processes"] = processes
    return _seal(head, "open", fields)


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second; informative only."""
    return datetime.now(UTC).isoformat(timespec="seconds")
