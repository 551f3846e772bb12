"""Audits as signed statements: made, read beside a run, judged again by a stranger.

    A1  signature   the envelope is whole and a trusted key signed it
    A2  schema      it is a privplan audit, every field in place
    A3  plan        it is about the plan that was given
    A4  code        it tried the code that is installed here
    A5  numbers     claim, bounds and ceilings recomputed from the counts
    A6  verdict     no measurement outside its range, no bound above its claim

A3 and A4 are "not taken" where there is nothing to compare with. What came out of the
experiment cannot be recomputed; what was concluded from it can.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from privplan import accounting, canonical, dsse, moments, one_run, signing, tradeoff
from privplan.audit_schema import AUDIT_TYPE, AuditPredicate, CanaryBound, Kind
from privplan.errors import ExitCode, IntegrityError, PrivplanError
from privplan.fields import read_document
from privplan.findings import Finding, Outcome
from privplan.keys import PublicKey, SigningKey
from privplan.measured import Measured
from privplan.one_run import Guesses
from privplan.plan import Plan
from privplan.report_schema import AuditReference, Code

LIMITS: dict[Kind, tuple[str, ...]] = {
    "replay": (
        "Replays show what one made-up record changes on the neighbours tried, and no "
        "others.",
        "They say nothing of whether real noise can be predicted.",
    ),
    "conformance": (
        "Conformance holds noise and sampling to their laws on canaries; a fault that "
        "needs other records or weights to show is not seen.",
        "Its bands are for honest mistakes; code that behaves while it is watched "
        "passes.",
    ),
    "one-run": (
        "A lower bound below the claim is absence of evidence. No run with so many "
        "guesses can show more than the ceiling.",
        "Only the attack that was tried was tried.",
    ),
}
_AGREE = 1e-3  # relative; curves are tight to 1e-4, searches to 1e-3


def build(
    kind: Kind,
    plan: Plan,
    *,
    code: Code,
    settings: dict[str, str],
    measured: Sequence[Measured] = (),
    bounds: Sequence[CanaryBound] = (),
    seconds: float,
) -> AuditPredicate:
    """Write an audit down; its verdict follows from what was measured.

    Args:
        kind: Which audit.
        plan: What it was about.
        code: What ran, where.
        settings: Public numbers it was run with.
        measured: Measurements with their ranges.
        bounds: What guesses about canaries refute.
        seconds: How long it took.
    """
    reasons = tuple(violations(measured, bounds))
    return AuditPredicate(
        schema_version="1",
        audit_id=str(uuid.uuid4()),
        kind=kind,
        verdict="violation" if reasons else "no-violation",
        reasons=reasons,
        plan_digest=plan.digest,
        code=code,
        settings=settings,
        measured=tuple(measured),
        bounds=tuple(bounds),
        limits=LIMITS[kind],
        seconds=seconds,
        written=moments.text(moments.now()),
    )


def violations(
    measured: Sequence[Measured], bounds: Sequence[CanaryBound]
) -> list[str]:
    """Return what speaks against the claim, one line each; nothing tried does too."""
    found = [f"{one.name} is outside its range" for one in measured if not one.holds]
    found += [
        f"{bound.space}: at least epsilon {canonical.text_down(lower, 3)} leaks, but "
        f"{canonical.text_up(bound.claimed_epsilon, 3)} is claimed"
        for bound in bounds
        if not (lower := max(bound.epsilon_lower, bound.curve_epsilon_lower))
        <= bound.claimed_epsilon
        or bound.curve_refuted
    ]
    return found if measured or bounds else ["nothing was measured"]


def sign(said: AuditPredicate, key: SigningKey) -> bytes:
    """Put an audit into an envelope; its subject is the plan."""
    statement = signing.statement(
        subjects={"plan": said.plan_digest},
        predicate_type=AUDIT_TYPE,
        predicate=said.model_dump(mode="json"),
    )
    return signing.sign(statement, key)


def is_audit(text: bytes) -> bool:
    """Return whether an envelope says it holds an audit; decides nothing else."""
    try:
        return _peek(text).get("predicateType") == AUDIT_TYPE
    except PrivplanError:
        return False


def _peek(text: bytes) -> dict[str, object]:
    """Read what an envelope holds without asking who signed it."""
    return canonical.read_json(dsse.unpack(text)[1], what="statement")


def beside(folder: Path, plan: Plan) -> tuple[AuditReference, ...]:
    """Return references to the audits of a plan that lie in a run folder.

    Only their digests are vouched for; whoever reads them checks who signed.

    Raises:
        DocumentError: One of them is damaged.
    """
    found = []
    for path in sorted(folder.glob("audit-*.json")):
        text = path.read_bytes()
        said = _read(_peek(text))
        if said.plan_digest == plan.digest:
            found.append(
                AuditReference(
                    name=path.name,
                    kind=said.kind,
                    digest=hashlib.sha256(text).hexdigest(),
                    verdict=said.verdict,
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What a verification of an audit found.

    Attributes:
        findings: One a step, in order.
        predicate: The audit; None if it could not be opened.
        keyids: The trusted keys that signed.
    """

    findings: tuple[Finding, ...]
    predicate: AuditPredicate | None
    keyids: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and every step the audit alone allows was taken."""
        taken = {f.number for f in self.findings if f.outcome is Outcome.PASSED}
        failed = any(f.outcome is Outcome.FAILED for f in self.findings)
        return not failed and taken >= {"A1", "A2", "A5", "A6"}

    @property
    def exit_code(self) -> ExitCode:
        """0 nothing failed; 4 something did."""
        return ExitCode.OK if self.passed else ExitCode.VERIFICATION


def verify(
    text: bytes,
    *,
    trusted: Sequence[PublicKey],
    plan: Plan | None = None,
    source_digest: str | None = None,
) -> AuditVerdict:
    """Verify an audit, offline and without torch.

    Args:
        text: The envelope.
        trusted: Keys whose signature counts.
        plan: The plan it should be about, if one is at hand.
        source_digest: That of the installed code, to compare with.
    """
    try:
        opened = signing.open_envelope(text, trusted=trusted)
        by = f"signed by key {', '.join(key[:16] for key in opened.keyids)}"
        first = _finding("A1", "signature", Outcome.PASSED, by)
    except PrivplanError as error:
        broken = _finding("A1", "signature", Outcome.FAILED, error.message)
        return AuditVerdict(findings=(broken,), predicate=None, keyids=())
    try:
        said = _read(opened.statement)
    except PrivplanError as error:
        broken = _finding("A2", "schema", Outcome.FAILED, error.message)
        return AuditVerdict(
            findings=(first, broken), predicate=None, keyids=opened.keyids
        )
    findings = (
        first,
        _finding("A2", "schema", Outcome.PASSED, f"{said.kind} audit {said.audit_id}"),
        _same("A3", "plan", said.plan_digest, None if plan is None else plan.digest),
        _same("A4", "code", said.code.source_digest, source_digest),
        _take("A5", "numbers", lambda: _numbers(said)),
        _take("A6", "verdict", lambda: _judged(said)),
    )
    return AuditVerdict(findings=findings, predicate=said, keyids=opened.keyids)


def _read(statement: dict[str, object]) -> AuditPredicate:
    if statement.get("predicateType") != AUDIT_TYPE:
        raise _wrong("the statement is not a privplan audit")
    inner = canonical.canonical_bytes(statement["predicate"])  # type: ignore[arg-type]
    said = read_document(AuditPredicate, inner, what="audit")
    subjects = statement["subject"]
    if subjects != [{"name": "plan", "digest": {"sha256": said.plan_digest}}]:
        raise _wrong("the statement is about another plan than its content")
    return said


def _same(number: str, name: str, said: str, here: str | None) -> Finding:
    if here is None:
        return _finding(number, name, Outcome.NOT_TAKEN, f"no {name} to compare with")
    if said == here:
        return _finding(number, name, Outcome.PASSED, f"{name} {said[:16]}")
    if name == "code":
        text = f"it tried code {said[:16]}, and {here[:16]} is installed here"
        return _finding(number, name, Outcome.NOT_TAKEN, text)
    return _finding(number, name, Outcome.FAILED, f"it is about another {name}")


def _numbers(said: AuditPredicate) -> str:
    for bound in said.bounds:
        _recompute(bound)
    return f"{len(said.measured)} measurements, {len(said.bounds)} bounds recomputed"


def _recompute(bound: CanaryBound) -> None:
    found = Guesses(
        canaries=bound.canaries, guesses=bound.guesses, correct=bound.correct
    )
    claimed = accounting.epsilon(bound.event, delta=bound.delta).upper
    lower, ceiling = (
        one_run.epsilon_lower(
            guesses, delta=bound.delta, significance=bound.significance
        )
        for guesses in (found, found.perfect())
    )
    stated = {
        "claim": (bound.claimed_epsilon, claimed),
        "lower bound": (bound.epsilon_lower, lower),
        "ceiling": (bound.ceiling, ceiling),
    }
    for name, (said, again) in stated.items():
        if not math.isclose(said, again, rel_tol=_AGREE, abs_tol=_AGREE):
            raise _wrong(f"the {name} is {again:.4f} recomputed, not {said:.4f}")
    rates = one_run.asked_rates(found, bound.significance)
    curve = tradeoff.curve(bound.event, rates, tolerance=1e-4)
    refuted = one_run.refutes(found, curve, significance=bound.significance)
    if refuted != bound.curve_refuted:
        raise _wrong("the trade-off curve is judged otherwise when recomputed")


def _judged(said: AuditPredicate) -> str:
    found = tuple(violations(said.measured, said.bounds))
    if found != said.reasons or (said.verdict == "violation") != bool(found):
        raise _wrong("the verdict is not what the numbers say")
    if found:
        raise _wrong(f"the audit found a violation: {found[0]}")
    return "no violation was found"


def _take(number: str, name: str, step: Callable[[], str]) -> Finding:
    try:
        return _finding(number, name, Outcome.PASSED, step())
    except PrivplanError as error:
        return _finding(number, name, Outcome.FAILED, error.message)


def _finding(number: str, name: str, outcome: Outcome, text: str) -> Finding:
    return Finding(number=number, name=name, outcome=outcome, text=text)


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(problem, hint="ask the one who signed, or audit again")
