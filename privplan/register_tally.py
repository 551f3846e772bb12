"""What a register adds up to: the chain followed entry by entry, every cost recomputed.

Writing and reading go through the same gate. An entry counts only if it is the next
one, its hash is right, and it says something a register can say here: a grant signed by
an officer for this very place, a reservation that fits what was granted at that moment,
a settlement not below what its counted steps cost. No number is taken on trust: the
epsilon of every reservation is computed again from its events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from privplan import moments, register_costs
from privplan.errors import (
    DocumentError,
    IntegrityError,
    ParameterError,
    PolicyError,
)
from privplan.grants import open_grant
from privplan.keys import PublicKey, Role
from privplan.ledger_entries import START, LedgerHead
from privplan.register_costs import Cost
from privplan.register_data_sets import DataSet, Reservation, check_promise
from privplan.register_entries import (
    Begin,
    Entry,
    GrantEntry,
    Opening,
    Reserve,
    Settle,
    entry_hash,
    malformed,
    read_entry,
)
from privplan.register_filter import check_terms
from privplan.trust import Trust


@dataclass(slots=True, kw_only=True)
class Tally:
    """The state of a register, as far as its chain has been followed.

    Attributes:
        trust: Whose grants count; None takes the officer of the first entry.
        now: When this is asked; decides whether a key is revoked by now.
        head: The last entry followed.
        opening: The first entry.
        data_sets: By name.
    """

    trust: Trust | None = None
    now: datetime = field(default_factory=moments.now)
    head: LedgerHead = START
    opening: Opening | None = None
    data_sets: dict[str, DataSet] = field(default_factory=dict)
    _by_ledger: dict[str, tuple[DataSet, Reservation]] = field(default_factory=dict)

    def follow(self, sequence: int, previous: str, text: bytes, digest: str) -> Entry:
        """Check that an entry is the next of the chain, and count it.

        Raises:
            IntegrityError: It is not the next one, was changed, or says something a
                register cannot say here; the message names its sequence number.
        """
        due = self.head.sequence + 1
        if sequence != due or previous != self.head.hash:
            raise _broken(due, "it is missing, or another entry is in its place")
        if entry_hash(previous, text) != digest:
            raise _broken(sequence, "its content does not match its hash")
        try:
            entry = read_entry(text)
            if entry.sequence != sequence or (sequence == 1) != (
                entry.kind == "register"
            ):
                raise malformed("it belongs to another place")
            self._count(entry, LedgerHead(sequence=sequence, hash=digest))
        except (DocumentError, ParameterError, PolicyError, IntegrityError) as error:
            raise _broken(sequence, error.message) from error
        self.head = LedgerHead(sequence=sequence, hash=digest)
        return entry

    def reservation(self, name: str) -> tuple[DataSet, Reservation] | None:
        """Find a reservation by its name."""
        for data_set in self.data_sets.values():
            if name in data_set.reservations:
                return data_set, data_set.reservations[name]
        return None

    def by_commitment(self, commitment: str) -> DataSet | None:
        """Find the data set that a commitment is of."""
        for data_set in self.data_sets.values():
            if commitment in data_set.commitments:
                return data_set
        return None

    def by_ledger(self, ledger_id: str) -> tuple[DataSet, Reservation] | None:
        """Find the reservation whose run has a ledger."""
        return self._by_ledger.get(ledger_id)

    def authority(self) -> Trust:
        """Return the keys whose grants count."""
        if self.trust is not None:
            return self.trust
        raw = bytes.fromhex(self.opening.officer) if self.opening else b""
        return Trust.of([PublicKey(role=Role.OFFICER, raw=raw)])

    def _count(self, entry: Entry, head: LedgerHead) -> None:
        match entry:
            case Opening():
                moments.parse(entry.time)
                self.opening = entry
            case GrantEntry():
                self._grant(entry)
            case Reserve():
                self._reserve(entry, head)
            case Begin():
                self._begin(entry)
            case Settle():
                self._settle(entry)

    def _grant(self, entry: GrantEntry) -> None:
        trust = self.authority()
        grant, signers = open_grant(
            entry.envelope.encode(), trusted=trust.public_keys(Role.OFFICER)
        )
        opening = self.opening
        if opening is None or grant.register_id != opening.register_id:
            raise malformed("its grant is for another register")
        if grant.after != self.head.hash:
            raise malformed("its grant is for another place in the register")
        other = self.by_commitment(grant.data_commitment)
        if other is not None and other.name != grant.data_set:
            raise malformed("its data are another data set already")
        data_set = self.data_sets.setdefault(
            grant.data_set, DataSet(name=grant.data_set)
        )
        check_terms(grant, data_set.grant if data_set.reservations else None)
        data_set.grants.append((grant, signers[0]))
        data_set.commitments.add(grant.data_commitment)
        written = moments.parse(grant.written)
        problems = [
            trust.problem(keyid, Role.OFFICER, written=written, now=self.now)
            for keyid in signers
        ]
        data_set.void = None if None in problems else problems[0]

    def _reserve(self, entry: Reserve, head: LedgerHead) -> None:
        data_set = self.data_sets.get(entry.data_set)
        if data_set is None or self.reservation(entry.reservation) is not None:
            raise malformed("its data set is unknown, or its reservation is not new")
        check_promise(
            data_set.grant, entry.budget.as_budget(), moments.parse(entry.time)
        )
        _check_cost(entry.epsilon, entry.delta, register_costs.of(entry))
        if not data_set.admits(entry.epsilon, entry.delta, entry.event):
            raise malformed("it takes more than was granted")
        data_set.take(Reservation(entry=entry, head=head))

    def _begin(self, entry: Begin) -> None:
        moments.parse(entry.time)
        data_set, reserved = self._open(entry.reservation)
        if reserved.begun is not None or self.by_ledger(entry.ledger_id) is not None:
            raise malformed("its reservation or its ledger has begun already")
        reserved.begun = entry
        self._by_ledger[entry.ledger_id] = data_set, reserved

    def _settle(self, entry: Settle) -> None:
        moments.parse(entry.time)
        data_set, reserved = self._open(entry.reservation)
        if reserved.begun is None or reserved.begun.ledger_id != entry.ledger_id:
            raise malformed("it rests on another ledger than its run has")
        allowed = {phase.phase: phase.steps for phase in reserved.entry.phases}
        if entry.counted.keys() != allowed.keys() or not all(
            0 <= count <= allowed[phase] for phase, count in entry.counted.items()
        ):
            raise malformed("it counts steps that were not reserved")
        cost = register_costs.realised(reserved.entry, entry.counted)
        _check_cost(entry.epsilon, entry.delta, cost)
        data_set.settle(reserved, entry)

    def _open(self, name: str) -> tuple[DataSet, Reservation]:
        found = self.reservation(name)
        if found is None or found[1].settled is not None:
            raise malformed("its reservation is unknown or settled already")
        return found


def _check_cost(epsilon: float, delta: float, cost: Cost) -> None:
    if not (epsilon >= cost.least and delta == cost.delta):
        raise malformed("it takes less than its events cost")


def _broken(sequence: int, problem: str) -> IntegrityError:
    return IntegrityError(
        f"the register is broken at entry {sequence}: {problem}",
        hint="restore the register from a copy whose head you know",
    )
