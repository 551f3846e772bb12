"""A run that is charged to a register: from before its ledger to its end.

    reserve     in the register, before the run's ledger exists
    note        in the ledger: which reservation pays for this run
    begin       in the register: the reservation belongs to this ledger
    ...         the run, as often as it is taken up again
    settle      in the ledger: the run is over; in the register: what it cost

Each line is durable before the next begins, so wherever a process is killed the data
set has paid for every step that any ledger counts.

Edges: reads ledgers and registers, writes both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from privplan import ledger, ledger_fence, register_costs
from privplan.errors import PolicyError
from privplan.events import NoOpEvent
from privplan.ledger import Ledger, LedgerContent, LedgerEntry
from privplan.plan import Plan
from privplan.register import Register, Reservation
from privplan.report_schema import ReservationPart
from privplan.trust import Trust

RESERVATION, SETTLEMENT = "reservation", "settlement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """To which register a run is charged, and how.

    Attributes:
        register: The register's file.
        trust: Whose grants count; None takes the officer of its first entry.
        data_set: The name the data must have; None takes whichever they have.
        refundable: Pay delta twice, so that an early end may give back.
    """

    register: Path
    trust: Trust | None = None
    data_set: str | None = None
    refundable: bool = False

    def reserve(self, plan: Plan, data_digest: str) -> Reservation:
        """Take the full cost of a plan, before anything of its run exists.

        Raises:
            PrivplanError: As `Register.reserve`.
        """
        with Register.open(self.register, trust=self.trust) as book:
            return book.reserve(
                plan,
                data_digest,
                data_set=self.data_set,
                refundable=self.refundable,
            )

    def begin(self, taken: Reservation, run: Ledger, path: Path) -> None:
        """Tie a reservation to a ledger that counts no step yet.

        Raises:
            PolicyError: Another run took the reservation in the meantime.
            LedgerError: It could not be made durable: do not touch the data.
        """
        with Register.open(self.register, trust=self.trust) as book:
            run.record_release(
                RESERVATION,
                taken.head.hash,
                register_id=book.register_id,
                reservation=taken.entry.reservation,
                data_set=taken.entry.data_set,
                sequence=taken.head.sequence,
            )
            book.begin(taken.entry.reservation, ledger.read(path))

    def take_up(
        self, plan: Plan, data_digest: str, content: LedgerContent
    ) -> Reservation | None:
        """Find what pays for a run that is taken up again; None if it did already.

        Raises:
            PolicyError: The run read records without this register, or was settled.
            BudgetExceededError: It never reserved, and now does not fit.
        """
        with Register.open(self.register, trust=self.trust) as book:
            found = book.of_ledger(content)
        if found is not None:
            if found.settled is not None:
                raise _over()
            return None
        if _has_read(content):
            raise PolicyError(
                "this run began without a reservation in this register",
                hint="give the register it began with, or begin a new run",
            )
        return self.reserve(plan, data_digest)


def check_resume(content: LedgerContent, charge: Charge | None) -> None:
    """Require that a run may go on, and that what pays for it is at hand.

    Raises:
        PolicyError: It was settled, or is charged to a register that was not given.
    """
    if _last(content, SETTLEMENT) is not None:
        raise _over()
    if charge is None and _last(content, RESERVATION) is not None:
        raise PolicyError(
            "this run is charged to a register, and none was given",
            hint="add --register with the register it began with",
        )


def settle(path: Path, charge: Charge) -> Reservation:
    """End a run for good and give back what its early end did not cost.

    Args:
        path: The run's ledger; whoever has it open is fenced off.
        charge: The register that pays for the run.

    Raises:
        PolicyError: The run has no reservation there, or is settled already.
        IntegrityError: Ledger or register is broken.
        LedgerError: One of them cannot be read or written.
    """
    content = ledger.read(path)
    with Register.open(charge.register, trust=charge.trust) as book:
        found = book.of_ledger(content)
        if found is None or found.settled is not None:
            what = "has no reservation in this register" if found is None else "is over"
            raise PolicyError(
                f"this run {what}", hint="see privplan budget history for what there is"
            )
        return book.settle(ledger_fence.end(path, SETTLEMENT, found.head.hash))


def refund(reserved: Reservation) -> tuple[float, float]:
    """Return what a settled reservation gave back: epsilon, delta."""
    said = reserved.settled
    if said is None:
        return 0.0, 0.0
    whole = register_costs.of(reserved.entry)
    return max(whole.epsilon - said.epsilon, 0.0), whole.delta - said.delta


def reservation_of(content: LedgerContent) -> ReservationPart | None:
    """Return what pays for a run, as its ledger says; None if nothing does."""
    entry = _last(content, RESERVATION)
    if entry is None:
        return None
    facts = entry.body["facts"]
    return ReservationPart(
        register_id=facts["register_id"],
        reservation=facts["reservation"],
        data_set=facts["data_set"],
        sequence=facts["sequence"],
        hash=entry.body["digest"],
    )


def _has_read(content: LedgerContent) -> bool:
    return any(
        content.counted(allowance.phase) > 0
        for allowance in content.allowances
        if not isinstance(allowance.event, NoOpEvent)
    )


def _last(content: LedgerContent, name: str) -> LedgerEntry | None:
    found = [
        entry
        for entry in content.entries
        if entry.kind == "release" and entry.body["name"] == name
    ]
    return found[-1] if found else None


def _over() -> PolicyError:
    return PolicyError(
        "this run was settled: what it did not use was given back",
        hint="begin a new run with privplan train and another --out",
    )
