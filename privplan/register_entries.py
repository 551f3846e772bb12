"""What a register says: its entries, each tied to the one before it.

    register   the first entry: the register's random name, and its officer's key
    grant      what a data set may lose in all, signed by an officer
    reserve    a plan takes its full cost, before its run exists
    begin      the run of a reservation has this ledger and no other
    settle     a run ended for good; what its ledger counted is what it cost

The chain is made as a ledger's, under a tag of its own, so no entry of one can stand in
the other.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from privplan import canonical
from privplan.budget import Adjacency, PrivacyBudget, PrivacyUnit
from privplan.errors import DocumentError
from privplan.events import ComposedEvent, SelfComposedEvent
from privplan.fields import Count, Digest, Document, EventField, Name, Number
from privplan.ledger_entries import LedgerHead

FORMAT: Final = "privplan-register/1"
_TAG = b"privplan-register-entry/1\0"

Body = dict[str, canonical.Json]


class Opening(Document):
    """The first entry."""

    kind: Literal["register"]
    sequence: Literal[1]
    format: Literal["privplan-register/1"]
    register_id: Name
    key_digest: Digest
    officer: Digest
    time: Name


class GrantEntry(Document):
    """An officer's word, as it was signed."""

    kind: Literal["grant"]
    sequence: Count
    envelope: str


class ReservedBudget(Document):
    """What the plan of a reservation promises.

    A model of its own: a register outlives many forms of a plan.
    """

    target_epsilon: Number
    target_delta: Number
    adjacency: Adjacency = Field(strict=False)
    unit: Name
    max_records_per_unit: Count

    def as_budget(self) -> PrivacyBudget:
        """Return the budget these fields describe.

        Raises:
            ParameterError: A number is outside its range.
        """
        return PrivacyBudget(
            target_epsilon=self.target_epsilon,
            target_delta=self.target_delta,
            adjacency=self.adjacency,
            unit=PrivacyUnit(name=self.unit, max_records=self.max_records_per_unit),
        )


class ReservedPhase(Document):
    """One phase of the plan that a reservation is for."""

    phase: Name
    event: EventField
    steps: Count


class Reserve(Document):
    """A plan takes its cost."""

    kind: Literal["reserve"]
    sequence: Count
    reservation: Name
    data_set: Name
    plan_digest: Digest
    budget: ReservedBudget
    phases: tuple[ReservedPhase, ...] = Field(min_length=1)
    refundable: bool
    epsilon: Number
    delta: Number
    time: Name

    @property
    def event(self) -> ComposedEvent:
        """Everything the plan may do to the records."""
        return ComposedEvent(
            events=tuple(
                SelfComposedEvent(event=phase.event, count=phase.steps)
                for phase in self.phases
            )
        )


class Begin(Document):
    """A reservation's run has a ledger."""

    kind: Literal["begin"]
    sequence: Count
    reservation: Name
    ledger_id: Name
    ledger_hash: Digest
    time: Name


class Settle(Document):
    """A reservation's run ended for good."""

    kind: Literal["settle"]
    sequence: Count
    reservation: Name
    ledger_id: Name
    ledger_sequence: Count
    ledger_hash: Digest
    counted: dict[str, int]
    epsilon: Number
    delta: Number
    time: Name


Entry = Opening | GrantEntry | Reserve | Begin | Settle

_ADAPTER: TypeAdapter[Entry] = TypeAdapter(
    Annotated[Entry, Field(discriminator="kind")]
)


def entry_hash(previous: str, body: bytes) -> str:
    """Chain the canonical bytes of an entry to the hash of the entry before it.

    Example:
        >>> entry_hash("0" * 64, b"{}")[:16]
        'ad388b78d097e3f3'
    """
    chained = bytes.fromhex(previous) + len(body).to_bytes(8, "big") + body
    return hashlib.sha256(_TAG + chained).hexdigest()


def seal(head: LedgerHead, entry: Entry) -> tuple[int, str, bytes, str]:
    """Return an entry as a row: sequence, previous, canonical bytes, hash."""
    text = canonical.canonical_bytes(entry.model_dump(mode="json"))
    return entry.sequence, head.hash, text, entry_hash(head.hash, text)


def read_entry(text: bytes) -> Entry:
    """Read an entry: a known kind, exactly its fields, of their types.

    Raises:
        DocumentError: It is something else.
        ParameterError: A number is outside its range.
    """
    canonical.read_json(text, what="register entry")
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise malformed("it says what no register says") from error


def malformed(problem: str) -> DocumentError:
    """Return the error for an entry that says what no register says."""
    return DocumentError(problem, hint="use a register written by privplan, unchanged")
