"""The file under a register: a ledger's, with other entries in it.

Everything that keeps a ledger from forgetting keeps a register too: every commit forced
to disk, one writer at a time, rules in the file that refuse to change or drop a line, a
local disk, an owner. So the file is a ledger file; only what its entries say differs.

Edges: writes register files, through `ledger_store`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from privplan import ledger_birth, ledger_store
from privplan.errors import IntegrityError, LedgerError, PolicyError
from privplan.ledger_entries import START, LedgerHead, key_digest
from privplan.ledger_store import Store
from privplan.register_entries import Entry, Opening, seal
from privplan.register_tally import Tally
from privplan.trust import Trust

KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterContent:
    """What a register says, its chain checked and its costs recomputed.

    Attributes:
        entries: All of them with their places, the first with sequence number 1.
        tally: What they add up to.
    """

    entries: tuple[tuple[LedgerHead, Entry], ...]
    tally: Tally

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of an entry, to compare with a head kept elsewhere.

        Returns:
            None if the register is not that long: it was rolled back.
        """
        if not 1 <= sequence <= len(self.entries):
            return None
        return self.entries[sequence - 1][0].hash

    def _repr_html_(self) -> str:
        from privplan import views  # noqa: PLC0415 - a view; stands above

        return views.register(self)._repr_html_()


class Writer:
    """An open register; every entry is checked against the newest state and forced.

    Attributes:
        tally: What the register adds up to, as far as this writer knows.
        key: Keys the commitments to data sets; never leaves the register.
    """

    def __init__(self, store: Store, tally: Tally) -> None:
        self.tally = tally
        self.key = store.key()
        self._store = store
        self._ahead = False

    @classmethod
    def open(cls, path: Path, trust: Trust | None) -> Self:
        """Open a register for writing, after all of it was checked.

        Raises:
            LedgerError: It is missing, locked, read-only, damaged or not a register.
            PolicyError: Others may read it, or it is on a network file system.
            IntegrityError: Its chain is broken.
        """
        with worded():
            store = Store.open(path)
            try:
                return cls(store, _load(store, trust).tally)
            except BaseException:
                with suppress(LedgerError):
                    store.close()
                raise

    def append(self, make: Callable[[Tally, int], Entry | None]) -> None:
        """Add an entry; durable when this returns.

        Args:
            make: Given the newest state and the number of the new entry, returns it, or
                None to leave everything as it is; raises to refuse.

        Raises:
            IntegrityError: The register was rolled back under this writer, or the new
                entry is one that no register says.
            LedgerError: It could not be made durable.
        """
        if self._ahead:
            raise LedgerError(
                "an entry could not be written to the register",
                hint="open the register again: run the command again",
            )
        with worded(), self._store.transaction():
            self._catch_up()
            entry = make(self.tally, self.tally.head.sequence + 1)
            if entry is None:
                return
            row = seal(self.tally.head, entry)
            # Followed before it is written: what could not be read is not written.
            self._ahead = True
            self.tally.follow(*row)
            self._store.append(row)
        self._ahead = False

    def close(self) -> None:
        """Bring everything into the one file and let go of it."""
        with worded():
            self._store.close()

    def _catch_up(self) -> None:
        head = self.tally.head
        with closing(self._store.rows(first=head.sequence)) as rows:
            known = next(rows, None)
            if known is None or (known[0], known[3]) != (head.sequence, head.hash):
                raise IntegrityError(
                    f"entry {head.sequence}, which this process knows, is no longer in "
                    "the register",
                    hint="the register was rolled back: stop, and find the newest copy",
                )
            for row in rows:
                self.tally.follow(*row)


def create(path: Path, key: bytes, opening: Opening) -> None:
    """Write a new register file, readable by its owner only; whole or not at all.

    Raises:
        PolicyError: The file exists, or it would be on a network file system.
        LedgerError: The folder is missing, full or read-only.
    """
    with worded():
        ledger_birth.create(path, key, [seal(START, opening)])


def read(path: Path, trust: Trust | None = None) -> RegisterContent:
    """Read and check a whole register; neither it nor its folder changes.

    Args:
        path: The register.
        trust: Whose grants count; None takes the officer named in the first entry,
            which shows that the register is whole, not whose it is.

    Raises:
        LedgerError: It is missing, empty, damaged or not a register.
        IntegrityError: Its chain is broken (the message names the entry), or its rules
            were changed.
    """
    with worded():
        return ledger_store.read(path, lambda store: _load(store, trust))


def _load(store: Store, trust: Trust | None) -> RegisterContent:
    tally = Tally(trust=trust)
    entries: list[tuple[LedgerHead, Entry]] = []
    with closing(store.rows()) as rows:
        for row in rows:
            if not entries and b'"kind":"genesis"' in row[2]:
                raise LedgerError(
                    f"{store.path.name} is a run's ledger, not a register",
                    hint="give the file that privplan budget grant wrote",
                )
            entry = tally.follow(*row)
            entries.append((tally.head, entry))
    if tally.opening is None:
        raise IntegrityError(
            "the register has no first entry",
            hint="restore the register from a copy whose head you know",
        )
    if key_digest(store.key()) != tally.opening.key_digest:
        raise IntegrityError(
            "the key of the register is not the one its first entry names",
            hint="restore the register from a copy whose head you know",
        )
    store.check_rules()
    return RegisterContent(entries=tuple(entries), tally=tally)


@contextmanager
def worded() -> Iterator[None]:
    """Let the errors of the ledger's file speak of a register.

    Raises:
        LedgerError: As raised below.
        PolicyError: As raised below.
        IntegrityError: As raised below.
    """
    try:
        yield
    except (LedgerError, PolicyError, IntegrityError) as error:
        if "ledger" not in error.message + error.hint:
            raise
        raise type(error)(_reword(error.message), hint=_reword(error.hint)) from error


def _reword(text: str) -> str:
    # not in file names, and not where a register speaks of a run's ledger
    return re.sub(r"(?<!run's )(?<![\w./-])ledger(?![\w./-])", "register", text)
