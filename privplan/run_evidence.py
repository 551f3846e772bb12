"""What an anchor and a policy show of a report, once somebody brings them.

    anchor   the ledger has not been rolled back or written anew since it was noted; and
             without the ledger, that the report does not contradict the anchor
    policy   the plan keeps its rules; a register paid and an officer approved, if it
             asks for that; and what the report says it began under is in its ledger

Approvals are judged at the moment the ledger noted them: one that has ended since was
good when the run began.

Edges: reads anchors, ledgers, policies and approvals.
"""

from __future__ import annotations

from pathlib import Path

from privplan import canonical, ledger_anchor, ledger_export, moments, policy
from privplan.errors import DocumentError, IntegrityError
from privplan.ledger_anchor import Anchor
from privplan.report_schema import Predicate, RulesPart
from privplan.run_rules import APPROVAL_NAME, check_noted
from privplan.trust import Trust


class NotTakenError(Exception):
    """A step lacks what it needs; the text says what."""


def check_anchor(said: Predicate, anchor: Path, ledger: Path) -> str:
    """Compare a report and its ledger with where the ledger stood earlier.

    Args:
        said: The report.
        anchor: The anchor's file.
        ledger: The ledger or an export of it; may be missing.

    Returns:
        What was found, on one line.

    Raises:
        IntegrityError: One of them was rolled back, rewritten or exchanged.
        DocumentError: The anchor cannot be read.
        NotTakenError: There is no ledger; the report alone does not contradict.
    """
    known = ledger_anchor.read(anchor)
    _check_report(said, known)
    if not ledger.exists():
        raise NotTakenError(
            "the anchor is of this ledger, but the ledger was not available"
        )
    return ledger_anchor.check(known, ledger_export.read(ledger))


def check_policy(
    said: Predicate, rules: Path, *, folder: Path, ledger: Path, trust: Trust | None
) -> str:
    """Hold a run to a policy, from its report and the files beside it.

    Args:
        said: The report.
        rules: The policy's file.
        folder: Where the approval is, under the name that training gives it.
        ledger: The ledger or an export of it; may be missing.
        trust: Who is an officer; None takes whom the policy names.

    Returns:
        What was found, on one line.

    Raises:
        PolicyError: A rule was broken.
        IntegrityError: What the report says of policy or approval is not so.
        DocumentError: A file cannot be read.
    """
    wanted, part = policy.read(rules), said.rules
    if part is not None and ledger.exists():
        check_noted(part, ledger_export.read(ledger))
    policy.check_run(
        wanted,
        said.plan,
        approval=_approval(part, folder),
        registered=said.reservation is not None,
        trust=trust,
        now=None if part is None else moments.parse(part.noted),
    )
    bound = part is not None and part.policy == canonical.file_digest(rules)
    began = "this policy" if bound else "another policy, or none"
    return f"every rule is kept; the run began under {began}"


def _check_report(said: Predicate, known: Anchor) -> None:
    if known.ledger_id != said.ledger.ledger_id:
        raise _wrong("the anchor belongs to another ledger than the report's")
    same = known.sequence == said.ledger.head_sequence
    if same and known.hash != said.ledger.head_hash:
        raise _wrong(
            f"anchor and report have seen another entry {known.sequence}: the ledger "
            "was written anew"
        )
    counted = {part.phase: part.counted for part in said.realised.phases}
    if known.sequence <= said.ledger.head_sequence and any(
        counted.get(phase, 0) < count for phase, count in known.begun.items()
    ):
        raise _wrong("the report counts fewer steps than the anchor has seen")


def _approval(part: RulesPart | None, folder: Path) -> bytes | None:
    """Return the approval the run began under; None if it began under none."""
    if part is None or part.approval is None:
        return None
    path = folder / APPROVAL_NAME
    if not path.is_file():
        raise DocumentError(
            f"the report names an approval, and there is no {APPROVAL_NAME}",
            hint="give --artefacts with the folder that holds it",
        )
    if canonical.file_digest(path) != part.approval:
        raise _wrong(f"{APPROVAL_NAME} is not the approval the run began under")
    return path.read_bytes()


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(problem, hint="ask the one who signed, or an officer")
