"""How the entries of a register are made, and when they are refused.

Called inside the register's transaction, with the newest state there is. What these
functions let through is checked once more by the gate in `register_tally`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from privplan import checks, grants, moments, register_costs
from privplan.budget import PrivacyBudget
from privplan.errors import BudgetExceededError, PolicyError
from privplan.grants import Grant
from privplan.keys import Role, SigningKey
from privplan.ledger_content import LedgerContent
from privplan.ledger_entries import commit
from privplan.plan import Plan
from privplan.register_data_sets import DataSet
from privplan.register_entries import (
    Begin,
    Reserve,
    ReservedBudget,
    ReservedPhase,
    Settle,
)
from privplan.register_filter import check_terms, chosen_orders
from privplan.register_tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRequest:
    """What an officer wants to grant.

    Attributes:
        data_set: Name of the data set.
        data_digest: SHA-256 of the canonical data, in hex. Private: only a keyed
            commitment to it is kept.
        budget: Over all runs, with adjacency and unit.
        composition: How runs add up.
        orders: Renyi orders of an rdp-filter; none takes `default_orders`.
        expires: No reservation after that moment; None means without end.
        amend: Replace a grant that the data set has.
    """

    data_set: str
    data_digest: str
    budget: PrivacyBudget
    composition: Literal["basic", "rdp-filter"] = "basic"
    orders: tuple[float, ...] = ()
    expires: str | None = None
    amend: bool = False


def check_officer(tally: Tally, key: SigningKey) -> None:
    """Require a key whose grants this register counts.

    Raises:
        PolicyError: It is not an officer's, or not one of this register's.
    """
    grants.check_officer(key)
    moment = moments.now()
    problem = tally.authority().problem(
        key.public.keyid, Role.OFFICER, written=moment, now=moment
    )
    if problem is not None:
        raise PolicyError(
            f"this key cannot grant here: {problem}",
            hint="sign with the officer key this register began with, or give --trust "
            "with a trust file that names the new one",
        )


def grant(request: GrantRequest, tally: Tally, key: bytes) -> Grant:
    """Write down a grant for the present end of the register.

    Raises:
        PolicyError: The data set has a grant, or the data are another data set.
        ParameterError: A number or the day of expiry is not allowed.
    """
    checks.name(data_set=request.data_set, unit=request.budget.unit.name)
    commitment = commit(key, request.data_digest)
    other = tally.by_commitment(commitment)
    if other is not None and other.name != request.data_set:
        raise PolicyError(
            f"these data are in the register already, as data set '{other.name}'",
            hint=f"one data set has one budget: give --data-set {other.name}",
        )
    if request.data_set in tally.data_sets and not request.amend:
        raise PolicyError(
            f"data set '{request.data_set}' has a grant already",
            hint="add --amend to put a new total in its place",
        )
    budget, expires = request.budget, request.expires
    made = Grant(
        format="privplan-grant/1",
        register_id="" if tally.opening is None else tally.opening.register_id,
        after=tally.head.hash,
        data_set=request.data_set,
        data_commitment=commitment,
        epsilon=budget.target_epsilon,
        delta=budget.target_delta,
        adjacency=budget.adjacency,
        unit=budget.unit.name,
        max_records_per_unit=budget.unit.max_records,
        composition=request.composition,
        orders=chosen_orders(request.composition, request.orders, budget),
        expires=None if expires is None else moments.text(moments.parse(expires)),
        written=moments.text(moments.now()),
    )
    before = tally.data_sets.get(request.data_set)
    check_terms(made, before.grant if before and before.reservations else None)
    return made


def reserve(plan: Plan, *, refundable: bool) -> Reserve:
    """Count what a plan costs, from its events; place and data set are still open.

    Raises:
        BudgetExceededError: It reads records without noise, so no budget is enough.
        PolicyError: No route counts its events under its adjacency.
    """
    phases = tuple(
        ReservedPhase(phase=phase.name, event=phase.event, steps=phase.steps)
        for phase in plan.phases
    )
    cost = register_costs.full(
        plan.event,
        delta=plan.budget.target_delta,
        adjacency=plan.budget.adjacency,
        refundable=refundable,
    )
    if not cost.epsilon <= plan.budget.target_epsilon:
        raise BudgetExceededError(
            f"this plan would cost epsilon {cost.epsilon:.6g}, but its own budget is "
            f"epsilon {plan.budget.target_epsilon:g}",
            stage="plan",
            needed=cost.epsilon,
            target=plan.budget.target_epsilon,
            hint="make the plan again with privplan plan",
        )
    return Reserve(
        kind="reserve",
        sequence=1,
        reservation=os.urandom(16).hex(),
        data_set="unnamed",
        plan_digest=plan.digest,
        budget=ReservedBudget(
            target_epsilon=plan.budget.target_epsilon,
            target_delta=plan.budget.target_delta,
            adjacency=plan.budget.adjacency,
            unit=plan.budget.unit,
            max_records_per_unit=plan.budget.max_records_per_unit,
        ),
        phases=phases,
        refundable=refundable,
        epsilon=cost.epsilon,
        delta=cost.delta,
        time=moments.text(moments.now()),
    )


def known(tally: Tally, commitment: str, name: str | None) -> DataSet:
    """Find the data set that some data are.

    Raises:
        PolicyError: None is, or not the one named.
    """
    found = tally.by_commitment(commitment)
    if found is None:
        raise PolicyError(
            "these data are not in the register; resized or reordered data are others",
            hint="ask an officer for a budget: privplan budget grant --data-set NAME "
            "--data DATA",
        )
    if name is not None and name != found.name:
        raise PolicyError(
            f"these data are data set '{found.name}', not '{name[:80]}'",
            hint=f"give --data-set {found.name}, or leave it away",
        )
    return found


def waiting(data_set: DataSet, asked: Reserve) -> str | None:
    """Return a reservation of the same plan that no run has begun, if there is one."""
    for name, reserved in data_set.reservations.items():
        same = (
            reserved.entry.plan_digest == asked.plan_digest
            and reserved.entry.refundable == asked.refundable
        )
        if same and reserved.begun is None:
            return name
    return None


def begin(
    tally: Tally, sequence: int, reservation: str, ledger: LedgerContent
) -> Begin:
    """Tie a reservation to the ledger of its run.

    Raises:
        PolicyError: Another run has it, or the ledger is another plan's.
    """
    found = tally.reservation(reservation)
    if (
        found is None
        or found[1].begun is not None
        or found[1].entry.plan_digest != ledger.plan_digest
    ):
        raise PolicyError(
            f"reservation {reservation[:16]} was taken by another run of this plan",
            hint="resume this run with --resume: it will reserve for itself",
        )
    return Begin(
        kind="begin",
        sequence=sequence,
        reservation=reservation,
        ledger_id=ledger.ledger_id,
        ledger_hash=ledger.entries[0].hash,
        time=moments.text(moments.now()),
    )


def settle(tally: Tally, sequence: int, ledger: LedgerContent) -> Settle:
    """End a reservation at the cost of what its run's ledger counted.

    Raises:
        PolicyError: No reservation has this ledger, it is settled, or the ledger is
            not the one that began.
    """
    found = tally.by_ledger(ledger.ledger_id)
    if found is None or found[1].settled is not None:
        what = "has no reservation in the register" if found is None else "is settled"
        raise PolicyError(
            f"this run {what}", hint="see privplan budget history for what there is"
        )
    reserved = found[1]
    if (
        reserved.begun is None
        or ledger.hash_at(1) != reserved.begun.ledger_hash
        or ledger.plan_digest != reserved.entry.plan_digest
    ):
        raise PolicyError(
            "this ledger is not the one that the run of the reservation began with",
            hint="give the run folder that was trained with this register",
        )
    counted = {p.phase: ledger.counted(p.phase) for p in reserved.entry.phases}
    cost = register_costs.realised(reserved.entry, counted)
    return Settle(
        kind="settle",
        sequence=sequence,
        reservation=reserved.entry.reservation,
        ledger_id=ledger.ledger_id,
        ledger_sequence=ledger.head.sequence,
        ledger_hash=ledger.head.hash,
        counted=counted,
        epsilon=cost.epsilon,
        delta=cost.delta,
        time=moments.text(moments.now()),
    )
