"""What a ledger adds up to: the chain followed entry by entry.

Writing and reading go through the same gate. An entry is counted only if it is the
next one, its hash is right and it says something a ledger can say at this point: no
more steps than allowed, nothing from a session that another one has fenced off. So a
ledger in which a step was begun without right cannot be read at all.

    counted steps never fall: a settle, an abort or a new session gives nothing back
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from privplan.errors import DocumentError, IntegrityError, ParameterError
from privplan.ledger_entries import (
    FORMAT,
    START,
    Allowance,
    LedgerEntry,
    LedgerHead,
    entry_hash,
    malformed,
    read_allowances,
    read_body,
)


@dataclass(slots=True, kw_only=True)
class Tally:
    """The state of a run, as far as its chain has been followed.

    Attributes:
        head: The last entry followed.
        genesis: Body of the first entry; empty before it.
        code_digest: Code of the newest session.
        allowances: By phase, in the order of the plan.
        begun: Steps that count, by phase.
        settled: Steps known to be done, by phase.
        unsettled: Steps the newest session began and has not settled, by phase.
        sessions: How often the run was opened.
        processes: The most processes that carried out a session together.
        aborted: Whether the newest session gave up.
        unsafe: What any session did that voids the claim.
    """

    head: LedgerHead = START
    genesis: dict[str, Any] = field(default_factory=dict)
    code_digest: str = ""
    allowances: dict[str, Allowance] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    unsettled: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    processes: int = 1
    aborted: bool = False
    unsafe: tuple[str, ...] = ()

    def follow(
        self, sequence: int, previous: str, text: bytes, digest: str
    ) -> LedgerEntry:
        """Check that an entry is the next of the chain, and count it.

        Args:
            sequence: Its number.
            previous: Hash of the entry before it, in hex.
            text: Canonical bytes of its body.
            digest: Its hash, in hex.

        Raises:
            IntegrityError: It is not the next one, was changed, or says something a
                ledger cannot say here; the message names its sequence number.

        Example:
            >>> Tally().follow(2, START.hash, b"{}", START.hash)
            Traceback (most recent call last):
            privplan.errors.IntegrityError: the ledger is broken at entry 1: it is \
missing, or another entry is in its place. To fix: restore the ledger from a copy \
whose head you know
        """
        if sequence != self.head.sequence + 1 or previous != self.head.hash:
            raise _broken(
                self.head.sequence + 1,
                "it is missing, or another entry is in its place",
            )
        if entry_hash(previous, text) != digest:
            raise _broken(sequence, "its content does not match its hash")
        try:
            body = read_body(text, sequence)
            self._count(body)
        except (DocumentError, ParameterError) as error:
            raise _broken(sequence, error.message) from error
        self.head = LedgerHead(sequence=sequence, hash=digest)
        return LedgerEntry(
            sequence=sequence,
            previous=previous,
            kind=body["kind"],
            body=body,
            hash=digest,
        )

    def left(self, phase: str) -> int:
        """Return how many more steps of a phase may begin."""
        return self.allowances[phase].steps - self.begun[phase]

    def _count(self, body: dict[str, Any]) -> None:
        match body["kind"]:
            case "genesis":
                self._start(body)
            case "open":
                self._open(body)
            case "intent":
                phase, count = self._steps(body)
                if not count <= self.left(phase):
                    raise malformed("it begins more steps than the plan allows")
                self.begun[phase] += count
                self.unsettled[phase] += count
            case "settle":
                phase, count = self._steps(body)
                if not count <= self.unsettled[phase]:
                    raise malformed("it settles steps that this session never began")
                self.settled[phase] += count
                self.unsettled[phase] -= count
            case "release":
                self._session(body)
            case "unsafe":
                self._session(body)
                self.unsafe += (body["what"],)
            case _:
                self._session(body)
                self.aborted = True

    def _start(self, body: dict[str, Any]) -> None:
        if body["format"] != FORMAT:
            raise malformed("its format is unknown")
        allowances = read_allowances(body["allowances"])
        self.allowances = {allowance.phase: allowance for allowance in allowances}
        self.begun = dict.fromkeys(self.allowances, 0)
        self.settled = dict.fromkeys(self.allowances, 0)
        self.genesis = body

    def _open(self, body: dict[str, Any]) -> None:
        if body["session"] != self.sessions + 1:
            raise malformed("it is not the next session")
        if not body.get("processes", 2) >= 2:
            raise malformed("its number of processes is not above one")
        self.sessions += 1
        self.processes = max(self.processes, body.get("processes", 1))
        self.aborted = False
        self.code_digest = body["code_digest"]
        self.unsettled = dict.fromkeys(self.allowances, 0)

    def _steps(self, body: dict[str, Any]) -> tuple[str, int]:
        self._session(body)
        phase, count = body["phase"], body["count"]
        if self.aborted:
            raise malformed("its session had given up")
        if phase not in self.allowances or not count >= 1:
            raise malformed("its phase or count is not one of the plan")
        return phase, count

    def _session(self, body: dict[str, Any]) -> None:
        if body["session"] != self.sessions or self.sessions == 0:
            raise malformed("its session had been fenced off")


def _broken(sequence: int, problem: str) -> IntegrityError:
    return IntegrityError(
        f"the ledger is broken at entry {sequence}: {problem}",
        hint="restore the ledger from a copy whose head you know",
    )
