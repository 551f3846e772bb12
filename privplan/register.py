"""The register: what a data set may lose over its lifetime, and which runs took it.

A plan keeps its own promise; nothing in it knows of the runs before. The register does.
An officer grants a data set an epsilon and a delta over all its runs; every run takes
its plan's full cost before its ledger exists, and is refused if that would pass what
was granted.

    grant  ->  reserve(plan)  ->  begin(ledger)  ->  train  [->  settle(ledger)]

    costs of all reservations together  <=  what was granted      whatever runs at once

A run that is killed keeps what it reserved. Only `settle` gives anything back: it ends
a run for good, counts the steps of the run's own ledger, and `register_costs` says what
such an end costs. No epsilon is ever typed in, and reading recomputes every one.

Data sets are known by a keyed commitment to their records. Data that are not in the
register, and that includes a subset or a resized copy, are refused, never free.

A chain shows edits; it cannot show that its end was cut off, nor that two copies were
used side by side. Every grant vouches for what was before it, and reports carry the
entry that reserved them: `hash_at` compares.

Edges: writes one SQLite file, through `register_file`.
Source: filters rather than odometers, Rogers, Roth, Ullman, Vadhan 2016,
arXiv:1605.08294; runs side by side, Haney et al. 2023, arXiv:2309.05901.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from privplan import moments, register_file, register_making
from privplan.errors import LedgerError, PolicyError
from privplan.grants import Grant, sign
from privplan.keys import PublicKey, Role, SigningKey
from privplan.ledger_content import LedgerContent
from privplan.ledger_entries import LedgerHead, commit, key_digest
from privplan.plan import Plan
from privplan.register_data_sets import DataSet, Reservation, check_promise
from privplan.register_entries import FORMAT, Entry, GrantEntry, Opening
from privplan.register_file import KEY_BYTES, RegisterContent, Writer, read
from privplan.register_making import GrantRequest
from privplan.register_tally import Tally
from privplan.trust import Trust

__all__ = [
    "DataSet",
    "GrantRequest",
    "Register",
    "RegisterContent",
    "Reservation",
    "check_room",
    "left",
    "read",
]


class Register:
    """A register open for writing. Use as a context manager, or `close` it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @classmethod
    def create(cls, path: Path, officer: PublicKey) -> Self:
        """Begin a register; its first entry names the officer whose grants count.

        Raises:
            PolicyError: The file exists, the key is not an officer's, or the file would
                be on a network file system.
            LedgerError: It cannot be written.
        """
        if officer.role is not Role.OFFICER:
            raise PolicyError(
                f"key {officer.fingerprint} is of a {officer.role}, and a register "
                "begins with an officer's",
                hint="make one with privplan keys new --role officer",
            )
        key = os.urandom(KEY_BYTES)
        opening = Opening(
            kind="register",
            sequence=1,
            format=FORMAT,
            register_id=os.urandom(16).hex(),
            key_digest=key_digest(key),
            officer=officer.raw.hex(),
            time=moments.text(moments.now()),
        )
        register_file.create(path, key, opening)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, trust: Trust | None = None) -> Self:
        """Open a register for writing, after all of it was checked.

        Args:
            path: The register.
            trust: Whose grants count; None takes the officer of its first entry.

        Raises:
            LedgerError: It is missing, locked, read-only, damaged or not a register.
            PolicyError: Others may read it, or it is on a network file system.
            IntegrityError: Its chain is broken.
        """
        return cls(Writer.open(path, trust))

    @property
    def register_id(self) -> str:
        """Random name of this register, the same for all its copies."""
        opening = self._writer.tally.opening
        return "" if opening is None else opening.register_id

    def head(self) -> LedgerHead:
        """Return the last entry this process knows."""
        return self._writer.tally.head

    def grant(self, request: GrantRequest, key: SigningKey) -> Grant:
        """Grant a data set a budget over all its runs, signed for this very place.

        Raises:
            PolicyError: The key is not an officer's or not one whose grants count, the
                data set has a grant, or the data are another data set.
            ParameterError: A number is outside its range.
            LedgerError: It cannot be written.
        """
        made: list[Grant] = []

        def make(tally: Tally, sequence: int) -> Entry:
            register_making.check_officer(tally, key)
            grant = register_making.grant(request, tally, self._writer.key)
            envelope = sign(grant, key).decode()
            made.append(grant)
            return GrantEntry(kind="grant", sequence=sequence, envelope=envelope)

        self._writer.append(make)
        return made[0]

    def reserve(
        self,
        plan: Plan,
        data_digest: str,
        *,
        data_set: str | None = None,
        refundable: bool = False,
    ) -> Reservation:
        """Take the full cost of a plan; durable when it returns.

        A reservation of the same plan that no run has begun is taken up again: it is
        what a crash between reserving and beginning leaves behind.

        Args:
            plan: Its events are counted again; what it says of its cost is not used.
            data_digest: SHA-256 of the canonical data, in hex; private.
            data_set: The name the data must have; None takes whichever they have.
            refundable: Pay delta twice, so that an early end may give back.

        Raises:
            BudgetExceededError: It would pass what was granted; nothing was written.
            PolicyError: The data are not in the register, or the grant is for another
                promise, has expired, or does not count.
            LedgerError: It could not be made durable: do not touch the data.
        """
        entry = register_making.reserve(plan, refundable=refundable)
        commitment = commit(self._writer.key, data_digest)
        found: list[str] = []

        def make(tally: Tally, sequence: int) -> Entry | None:
            known = register_making.known(tally, commitment, data_set)
            waiting = register_making.waiting(known, entry)
            if waiting is not None:
                found.append(waiting)
                return None
            asked = entry.model_copy(
                update={"sequence": sequence, "data_set": known.name}
            )
            check_promise(known.grant, asked.budget.as_budget(), moments.now())
            known.check_room(asked.epsilon, asked.delta, asked.event)
            found.append(asked.reservation)
            return asked

        self._writer.append(make)
        return self._reservation(found[0])

    def begin(self, reservation: str, ledger: LedgerContent) -> None:
        """Tie a reservation to the ledger of its run, before the first step.

        Raises:
            PolicyError: Another run has it, or the ledger is another plan's.
            LedgerError: It could not be made durable: do not touch the data.
        """

        def make(tally: Tally, sequence: int) -> Entry:
            return register_making.begin(tally, sequence, reservation, ledger)

        self._writer.append(make)

    def settle(self, ledger: LedgerContent) -> Reservation:
        """End a reservation at the cost of what its run's ledger counted.

        Args:
            ledger: The run's ledger, ended for good (`ledger_fence.end`).

        Raises:
            PolicyError: No reservation has this ledger, it is settled, or the ledger
                is not the one that began.
            LedgerError: It cannot be written.
        """
        name: list[str] = []

        def make(tally: Tally, sequence: int) -> Entry:
            entry = register_making.settle(tally, sequence, ledger)
            name.append(entry.reservation)
            return entry

        self._writer.append(make)
        return self._reservation(name[0])

    def of_ledger(self, ledger: LedgerContent) -> Reservation | None:
        """Find the reservation of a run by its ledger; None if it has none."""
        found = self._writer.tally.by_ledger(ledger.ledger_id)
        return None if found is None else found[1]

    def close(self) -> None:
        """Bring everything into the one file and let go of it."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reservation(self, name: str) -> Reservation:
        found = self._writer.tally.reservation(name)
        if found is None:
            raise LedgerError(
                "the reservation is no longer in the register",
                hint="open the register again",
            )
        return found[1]


def left(
    path: Path, data_set: str, *, trust: Trust | None = None
) -> tuple[float, float]:
    """Return what a data set may still lose: epsilon and delta, rounded down.

    Raises:
        PolicyError: The register does not know the data set.
        LedgerError: There is no register there.
        IntegrityError: Its chain is broken.
    """
    return named(read(path, trust), data_set).left


def check_room(
    path: Path, data_set: str, plan: Plan, *, trust: Trust | None = None
) -> None:
    """Refuse a plan whose budget a data set cannot pay, as a reservation would.

    Nothing is reserved: another run may take the room in between.

    Raises:
        BudgetExceededError: It does not fit; says what is spent, asked, allowed, and
            what to do.
        PolicyError: The data set is unknown, its grant does not count, or the budget
            asks for another promise than was granted.
        LedgerError: There is no register there.
        IntegrityError: Its chain is broken.
    """
    known, budget = named(read(path, trust), data_set), plan.budget.as_budget()
    check_promise(known.grant, budget, moments.now())
    known.check_room(budget.target_epsilon, budget.target_delta, plan.event)


def named(content: RegisterContent, data_set: str) -> DataSet:
    """Find a data set by its name.

    Raises:
        PolicyError: The register does not know it.
    """
    known = content.tally.data_sets
    if data_set not in known:
        raise PolicyError(
            f"the register knows no data set {data_set[:80]!r}",
            hint=f"it knows {', '.join(known) or 'none yet'}",
        )
    return known[data_set]
