"""What a report's preflight and audits say about its claim."""

from __future__ import annotations

from privplan.errors import IntegrityError
from privplan.report_schema import Predicate


def judge(said: Predicate) -> str | None:
    """Look at what was tried on made-up pictures.

    Returns:
        What was found; None if the report carries no preflight.

    Raises:
        IntegrityError: The preflight failed or is of another plan, or an audit that is
            named found a violation.
    """
    part = said.preflight
    if any(audit.verdict != "no-violation" for audit in said.audits):
        raise _wrong("an audit that the report names found a violation")
    if part is None:
        return None
    if part.plan_digest != said.plan.digest:
        raise _wrong("the preflight is of another plan")
    if not part.passed:
        raise _wrong("the preflight did not pass")
    audits = f", {len(said.audits)} audits named" if said.audits else ""
    return f"{len(part.checks)} measurements, all in their ranges{audits}"


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(problem, hint="run privplan preflight on the plan, and ask")
