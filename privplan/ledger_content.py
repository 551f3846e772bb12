"""A ledger as a reader sees it: every entry checked, nothing written.

Whoever checks a claim reads the ledger from here: what was begun, of what kind, how
often the run was taken up again, and whether an earlier head is still in its chain.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from privplan import ledger_store
from privplan.errors import IntegrityError, ParameterError, PolicyError
from privplan.events import ComposedEvent, SelfComposedEvent
from privplan.ledger_entries import (
    Allowance,
    LedgerEntry,
    LedgerHead,
    commit,
    key_digest,
)
from privplan.ledger_store import Store
from privplan.ledger_tally import Tally

_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerContent:
    """What a ledger says, its chain checked from the first entry to the last.

    Attributes:
        entries: All of them, the first with sequence number 1.
        head: The last one.
        ledger_id: Random name of this ledger, the same for all its copies.
        plan_digest: The plan it is bound to.
        code_digest: The code of its newest session.
        allowances: The most steps of each phase, in the order of the plan.
        sessions: How often the run was opened.
        processes: The most processes that carried out a session together.
        aborted: Whether the newest session gave up.
        unsafe: What any session did that voids the claim; empty is good.
        begun: Steps that count, by phase.
        settled: Steps known to be done, by phase.
        data_key: Keys the commitment to the data; never leaves the ledger's owner, so
            it is empty in what was read from an export.
    """

    entries: tuple[LedgerEntry, ...] = field(repr=False)
    head: LedgerHead
    ledger_id: str
    plan_digest: str
    code_digest: str
    allowances: tuple[Allowance, ...]
    sessions: int
    processes: int
    aborted: bool
    unsafe: tuple[str, ...]
    begun: Mapping[str, int]
    settled: Mapping[str, int]
    data_key: bytes = field(repr=False)

    def counted(self, phase: str) -> int:
        """Return the steps of a phase that count: all that ever began.

        Raises:
            ParameterError: The ledger has no such phase.
        """
        check_phase(phase, self.begun)
        return self.begun[phase]

    @property
    def unsettled(self) -> int:
        """Steps that count but are not known to be done: in flight, or burnt."""
        return sum(self.begun.values()) - sum(self.settled.values())

    def spent_event(self) -> ComposedEvent:
        """Return what touched the data so far, for an accountant to count."""
        return ComposedEvent(
            events=tuple(
                SelfComposedEvent(
                    event=allowance.event, count=self.begun[allowance.phase]
                )
                for allowance in self.allowances
                if self.begun[allowance.phase] > 0
            )
        )

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of an entry, to compare with a head kept elsewhere.

        Returns:
            None if the ledger is not that long: it was rolled back.
        """
        if not 1 <= sequence <= len(self.entries):
            return None
        return self.entries[sequence - 1].hash

    def _repr_html_(self) -> str:
        from privplan import views  # noqa: PLC0415 - a view; stands above

        return views.ledger(self)._repr_html_()


def check_phase(phase: str, known: Mapping[str, int]) -> None:
    """Require a phase of this run.

    Raises:
        ParameterError: There is no such phase.
    """
    if phase not in known:
        raise ParameterError(
            f"this run has no phase {phase[:80]!r}",
            hint=f"its phases are {', '.join(known)}",
        )


def read(path: Path) -> LedgerContent:
    """Read and check a whole ledger; neither it nor its folder changes.

    Args:
        path: The ledger. A run may be writing to it; then this is how it stood at one
            moment.

    Raises:
        LedgerError: It is missing, empty, damaged or not a ledger.
        IntegrityError: Its chain is broken (the message names the entry), or its rules
            were changed.
    """
    return ledger_store.read(path, _load)


def follow_all(store: Store, tally: Tally) -> tuple[LedgerEntry, ...]:
    """Follow the chain of a ledger from the first entry to the last.

    Raises:
        IntegrityError: It is broken somewhere, or its key or rules were changed.
    """
    with closing(store.rows()) as rows:
        entries = tuple(tally.follow(*row) for row in rows)
    check_opened(tally)
    if key_digest(store.key()) != tally.genesis["key_digest"]:
        raise IntegrityError(
            "the key of the ledger is not the one its first entry names",
            hint="restore the ledger from a copy whose head you know",
        )
    store.check_rules()
    return entries


def check_opened(tally: Tally) -> None:
    """Require that a chain was followed at least to its first session.

    Raises:
        IntegrityError: It was cut before.
    """
    if tally.sessions == 0:
        raise IntegrityError(
            "the ledger has no opening entry, so it cannot tell what it belongs to",
            hint="restore the ledger from a copy whose head you know",
        )


def content_of(
    tally: Tally, entries: tuple[LedgerEntry, ...], data_key: bytes
) -> LedgerContent:
    """Put together what a chain said that was followed to its end."""
    return LedgerContent(
        entries=entries,
        head=tally.head,
        ledger_id=tally.genesis["ledger_id"],
        plan_digest=tally.genesis["plan_digest"],
        code_digest=tally.code_digest,
        processes=tally.processes,
        allowances=tuple(tally.allowances.values()),
        sessions=tally.sessions,
        aborted=tally.aborted,
        unsafe=tally.unsafe,
        begun=tally.begun,
        settled=tally.settled,
        data_key=data_key,
    )


def _load(store: Store) -> LedgerContent:
    tally = Tally()
    entries = follow_all(store, tally)
    return content_of(tally, entries, store.key())


def _check_key(content: LedgerContent) -> None:
    if not content.data_key:
        raise PolicyError(
            "an export of a ledger does not hold the key to its commitments",
            hint="ask whoever keeps the ledger itself",
        )


def opens_data(content: LedgerContent, data_digest: str) -> bool:
    """Tell whether a data set is the one a ledger is bound to.

    Args:
        content: The ledger.
        data_digest: SHA-256 of the canonical data, in hex; private.

    Raises:
        ParameterError: `data_digest` is not 64 hex digits.
        PolicyError: This was read from an export.
    """
    _check_key(content)
    stored = str(content.entries[0].body["data_commitment"])
    return hmac.compare_digest(commit(content.data_key, data_digest), stored)


def data_commitment(content: LedgerContent, nonce: bytes) -> str:
    """Commit to the ledger's data set in a way that may be published.

    The value in the ledger stays there: the same value in two documents would say that
    the data did not change in between, which is a fact about the data. With a fresh
    nonce, equal data give unequal values, and the ledger's owner can still open them.

    Args:
        content: The ledger.
        nonce: At least 16 fresh random bytes, published beside the value.

    Raises:
        ParameterError: The nonce is too short.
        PolicyError: This was read from an export.

    Source:
        HMAC, RFC 2104, as a commitment that hides under a secret key.
    """
    _check_key(content)
    if len(nonce) < _NONCE_BYTES:
        raise ParameterError(
            f"the nonce has {len(nonce)} bytes, but it must have at least 16",
            hint="take fresh bytes from os.urandom for every document",
        )
    stored = bytes.fromhex(content.entries[0].body["data_commitment"])
    return hmac.new(content.data_key, nonce + stored, hashlib.sha256).hexdigest()
