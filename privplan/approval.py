"""Approvals: an officer's signature under a plan, before anything of it runs.

    plan.json  ->  plan.approval.json     signed statement: this plan, at this cost

What is approved is the plan's digest, so every number of it. The cost in the approval
is computed anew from the plan's events, never copied from what the plan says of itself.

Source: in-toto Statement v1 in a DSSE envelope, as `signing` writes it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from privplan import accounting, canonical, moments, signing
from privplan.budget import Adjacency
from privplan.errors import (
    BudgetExceededError,
    ParameterError,
    PolicyError,
    PrivplanError,
)
from privplan.fields import Count, Digest, Document, Name, Number, read_document
from privplan.grants import check_officer
from privplan.keys import Role, SigningKey
from privplan.plan import Plan
from privplan.trust import Trust

PREDICATE_TYPE = "https://privplan.dev/attestation/dp-plan-approval/v1"
_MAX_NOTE = 2000


class Approval(Document):
    """What an officer approves.

    Attributes:
        plan_digest: The plan, and every number of it.
        epsilon: What it costs at most, at delta.
        delta: The plan's own.
        adjacency: The plan's own.
        unit: Whose presence is protected.
        max_records_per_unit: The most records one unit contributes.
        note: The officer's words.
        expires: No run may begin after that moment; None means without end.
        written: When it was signed.
    """

    format: Literal["privplan-approval/1"]
    plan_digest: Digest
    epsilon: Number
    delta: Number
    adjacency: Adjacency = Field(strict=False)
    unit: Name
    max_records_per_unit: Count
    note: str = Field(max_length=_MAX_NOTE)
    expires: Name | None
    written: Name


def beside(plan_path: Path) -> Path:
    """Return where the approval of a plan file lies.

    Example:
        >>> beside(Path("plan.json")).name
        'plan.approval.json'
    """
    return plan_path.with_suffix(".approval.json")


def approve(
    plan: Plan, key: SigningKey, *, note: str = "", expires: str | None = None
) -> tuple[Approval, bytes]:
    """Approve a plan, after its cost was computed anew.

    Returns:
        What was approved, and the signed envelope.

    Raises:
        PolicyError: The key is not an officer's.
        BudgetExceededError: The plan costs more than its own budget.
        ParameterError: `expires` is not a moment, or the note is too long.
    """
    check_officer(key)
    if not len(note) <= _MAX_NOTE:
        raise ParameterError(
            f"the note has {len(note):,} characters, more than {_MAX_NOTE:,}",
            hint="give --note a sentence",
        )
    budget = plan.budget.as_budget()
    cost = accounting.epsilon(
        plan.event, delta=budget.target_delta, adjacency=budget.adjacency
    ).upper
    if not cost <= budget.target_epsilon:
        raise BudgetExceededError(
            f"this plan would cost epsilon {cost:.6g}, but its budget is epsilon "
            f"{budget.target_epsilon:g}",
            stage="plan",
            needed=cost,
            target=budget.target_epsilon,
            hint="make the plan again with privplan plan",
        )
    said = Approval(
        format="privplan-approval/1",
        plan_digest=plan.digest,
        epsilon=cost,
        delta=budget.target_delta,
        adjacency=budget.adjacency,
        unit=budget.unit.name,
        max_records_per_unit=budget.unit.max_records,
        note=note,
        expires=None if expires is None else moments.text(moments.parse(expires)),
        written=moments.text(moments.now()),
    )
    statement = signing.statement(
        subjects={"plan": plan.digest},
        predicate_type=PREDICATE_TYPE,
        predicate=said.model_dump(mode="json"),
    )
    return said, signing.sign(statement, key)


def check(text: bytes, plan: Plan, trust: Trust, *, now: datetime) -> Approval:
    """Require an approval of this very plan by an officer whose key counts.

    Args:
        text: The envelope.
        plan: What is about to run.
        trust: Who is an officer.
        now: When this is asked.

    Raises:
        PolicyError: It is none; the message says why.
    """
    try:
        opened = signing.open_envelope(text, trusted=trust.public_keys())
        inner = canonical.canonical_bytes(opened.statement["predicate"])
        if opened.statement["predicateType"] != PREDICATE_TYPE:
            raise _refused("it is another kind of statement")
        said = read_document(Approval, inner, what="approval")
        written = moments.parse(said.written)
        ended = said.expires is not None and now > moments.parse(said.expires)
    except PrivplanError as error:
        raise _refused(error.message) from error
    if said.plan_digest != plan.digest:
        raise _refused("it is about another plan")
    if ended:
        raise _refused(f"it ended on {str(said.expires)[:10]}")
    problems = [
        trust.problem(keyid, Role.OFFICER, written=written, now=now)
        for keyid in opened.keyids
    ]
    if None not in problems:
        raise _refused(str(problems[0]))
    return said


def _refused(problem: str) -> PolicyError:
    return PolicyError(
        f"no approval of this plan counts: {problem}",
        hint="ask an officer: privplan approve plan.json --key officer.key",
    )
