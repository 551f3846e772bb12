"""What a verification found: one finding a step, and the verdict over all.

Emptiness fails: a verdict without findings, or without those steps that need nothing
but the report, does not pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from privplan.errors import ExitCode
from privplan.report_schema import Predicate

_NEEDED = frozenset({"V1", "V2", "V3", "V7", "V8", "V9", "V10"})


class Outcome(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_TAKEN = "not taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One step.

    Attributes:
        number: "V1" to "V15".
        name: What was looked at.
        outcome: How it ended.
        text: What was found, on one line.
    """

    number: str
    name: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All findings, and what follows from them.

    Attributes:
        findings: In order.
        predicate: The report's content; None if it could not be opened.
        keyids: The trusted keys that signed.
    """

    findings: tuple[Finding, ...]
    predicate: Predicate | None
    keyids: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and every step the report alone allows was taken."""
        taken = {f.number for f in self.findings if f.outcome is Outcome.PASSED}
        failed = any(f.outcome is Outcome.FAILED for f in self.findings)
        return not failed and taken >= _NEEDED

    @property
    def not_taken(self) -> tuple[str, ...]:
        """The numbers of the steps that lacked what they need."""
        return tuple(f.number for f in self.findings if f.outcome is Outcome.NOT_TAKEN)

    @property
    def finished(self) -> bool:
        """Whether the report says that every planned step has begun."""
        return self.predicate is not None and self.predicate.realised.finished

    @property
    def exit_code(self) -> ExitCode:
        """0 verified; 5 whole, but it makes no claim; 4 anything else."""
        failed = {f.number for f in self.findings if f.outcome is Outcome.FAILED}
        if self.passed:
            return ExitCode.OK
        confessed = "V10" in failed and failed <= {"V10", "V15"}
        return ExitCode.POLICY if confessed else ExitCode.VERIFICATION

    def _repr_html_(self) -> str:
        from privplan import views  # noqa: PLC0415 - a view; stands above

        return views.verdict(self)._repr_html_()
