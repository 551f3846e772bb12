"""The checks of a ledger in numbered steps: alone, against its plan, against an anchor.

    L1  chain    every entry follows from the one before it; the schema of each
    L2  counts   no phase began more steps than it may
    L3  plan     the ledger belongs to this plan, phase by phase
    L4  anchor   the ledger still holds what was noted elsewhere

L3 and L4 need a file each; without it they are "not taken". A ledger in which L1 fails
says nothing at all, so nothing else is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from privplan import ledger_anchor, ledger_export
from privplan import plan as plans
from privplan.errors import ExitCode, IntegrityError
from privplan.findings import Finding, Outcome
from privplan.ledger import LedgerContent


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerVerdict:
    """What was found.

    Attributes:
        findings: One a step, in order.
        content: What the ledger says; None if its chain does not hold.
    """

    findings: tuple[Finding, ...]
    content: LedgerContent | None

    @property
    def passed(self) -> bool:
        """Whether the chain and the counts hold and nothing failed."""
        taken = {f.number for f in self.findings if f.outcome is Outcome.PASSED}
        failed = any(f.outcome is Outcome.FAILED for f in self.findings)
        return not failed and taken >= {"L1", "L2"}

    @property
    def exit_code(self) -> ExitCode:
        """0 nothing failed; 4 something did."""
        return ExitCode.OK if self.passed else ExitCode.VERIFICATION


def check(
    path: Path, *, plan: Path | None = None, anchor: Path | None = None
) -> LedgerVerdict:
    """Check a ledger, in its database or in an export.

    Args:
        path: The ledger.
        plan: A plan it should belong to.
        anchor: Where it stood at some earlier time.

    Raises:
        LedgerError: It is missing, or not a ledger.
        DocumentError: The plan or the anchor cannot be read.
        IntegrityError: The plan was changed.
    """
    wanted = None if plan is None else plans.read(plan)
    known = None if anchor is None else ledger_anchor.read(anchor)
    try:
        content = ledger_export.read(path)
    except IntegrityError as error:
        broken = _finding("L1", "chain", Outcome.FAILED, error.message)
        return LedgerVerdict(findings=(broken,), content=None)
    findings = [
        _finding(
            "L1",
            "chain",
            Outcome.PASSED,
            f"{len(content.entries):,} entries, chain whole, head "
            f"{content.head.hash[:16]}",
        ),
        _take("L2", "counts", lambda: _counts(content)),
        _finding("L3", "plan", Outcome.NOT_TAKEN, "no plan was given")
        if wanted is None
        else _take("L3", "plan", lambda: _plan(content, wanted)),
        _finding("L4", "anchor", Outcome.NOT_TAKEN, "no anchor was given")
        if known is None
        else _take("L4", "anchor", lambda: ledger_anchor.check(known, content)),
    ]
    return LedgerVerdict(findings=tuple(findings), content=content)


def _counts(content: LedgerContent) -> str:
    for allowance in content.allowances:
        if not content.counted(allowance.phase) <= allowance.steps:
            raise _wrong(
                f"phase '{allowance.phase}' began {content.counted(allowance.phase)} "
                f"steps of {allowance.steps}"
            )
    said = [
        f"{allowance.phase}: {content.counted(allowance.phase):,} begun of "
        f"{allowance.steps:,}"
        for allowance in content.allowances
    ]
    if content.unsafe:
        said.append("the noise was drawn from a seed")
    return "; ".join(said)


def _plan(content: LedgerContent, plan: plans.Plan) -> str:
    if content.plan_digest != plan.digest:
        raise _wrong("the ledger belongs to another plan")
    allowed = [(a.phase, a.event, a.steps) for a in content.allowances]
    if allowed != [(p.name, p.event, p.steps) for p in plan.phases]:
        raise _wrong("the ledger allows other steps than its plan")
    return f"plan {plan.digest[:16]}, {len(allowed)} phases as planned"


def _take(number: str, name: str, step: Callable[[], str]) -> Finding:
    try:
        return _finding(number, name, Outcome.PASSED, step())
    except IntegrityError as error:
        return _finding(number, name, Outcome.FAILED, error.message)


def _finding(number: str, name: str, outcome: Outcome, text: str) -> Finding:
    return Finding(number=number, name=name, outcome=outcome, text=text)


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(problem, hint="give the ledger and the plan of one run")
