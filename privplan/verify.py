"""Verification: every claim of a report recomputed, in numbered steps, offline.

    V1  signature   the envelope is whole and a trusted key signed it
    V2  schema      it is a privplan report, every field in place
    V3  plan        the plan inside is sealed, and the plan file is that plan
    V4  artefacts   every file the report names has the digest it says
    V5  ledger      the chain holds, belongs to this plan, and contains the head
    V6  steps       no more was begun than planned; the report says what the ledger says
    V7  epsilon     recomputed from the events: claimed >= recomputed, target >= claimed
    V8  opinions    other accountants, run anew, agree
    V9  exclusions  all eleven are there, and all that the plan takes for granted
    V10 verdict     it makes a claim, and its sentence is what its numbers say
    V15 preflight   in its ranges; no audit that is named found a violation

A step that lacks a file is "not taken". A report passes if no step failed and every
step that needs nothing but the report was taken. Needs no network. Nobody can see from
files that the code named drew noise. Compare who signed with a key from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from privplan import accounting, canonical, ledger, ledger_export, opinions, signing
from privplan import plan as plans
from privplan import reliance as relying
from privplan import report_mechanism as mechanisms
from privplan import report_words as words
from privplan.errors import IntegrityError, PrivplanError
from privplan.fields import read_document
from privplan.findings import Finding, Outcome, Verdict
from privplan.keys import PublicKey
from privplan.ledger import LedgerContent
from privplan.report_schema import PREDICATE_TYPE, Predicate
from privplan.tried import judge

PLAN_FILE, LEDGER_FILE = "plan.json", "ledger.sqlite"
_NOWHERE = Path(os.devnull)
_ALONE = frozenset({"V3", "V6", "V7", "V9", "V10", "V15"})


@dataclass(slots=True, kw_only=True)
class _Case:
    text: bytes
    folder: Path
    trusted: Sequence[PublicKey]
    ledger_path: Path
    statement: dict[str, object] = field(default_factory=dict)
    keyids: tuple[str, ...] = ()
    predicate: Predicate | None = None
    content: LedgerContent | None = None

    def report(self) -> Predicate:
        if self.predicate is None:
            raise _wrong("there is no report to look at")
        return self.predicate


class _NotTakenError(Exception):
    """A step lacks what it needs; the text says what."""


def verify(
    text: bytes,
    *,
    folder: Path,
    trusted: Sequence[PublicKey],
    ledger_path: Path | None = None,
) -> Verdict:
    """Verify a report.

    Args:
        text: The bytes of the report.
        folder: Where the files it names are, by the names it gives.
        trusted: Keys whose signature counts.
        ledger_path: The run's ledger; default `ledger.sqlite` in the folder.
    """
    case = _Case(
        text=text,
        folder=folder,
        trusted=trusted,
        ledger_path=ledger_path or folder / LEDGER_FILE,
    )
    findings: list[Finding] = []
    for number, name, step in _STEPS:
        finding = _take(case, number, name, step)
        findings.append(finding)
        if finding.outcome is Outcome.FAILED and number in {"V1", "V2"}:
            break
    keyids, said = case.keyids, case.predicate
    return Verdict(findings=tuple(findings), predicate=said, keyids=keyids)


def alone(said: Predicate) -> tuple[Finding, ...]:
    """Take the steps that need what a report says and nothing else, and no time."""
    place = _NOWHERE
    case = _Case(text=b"", folder=place, trusted=(), ledger_path=place, predicate=said)
    return tuple(_take(case, *step) for step in _STEPS if step[0] in _ALONE)


def _take(case: _Case, number: str, name: str, step: Callable[[_Case], str]) -> Finding:
    try:
        outcome, text = Outcome.PASSED, step(case)
    except _NotTakenError as reason:
        outcome, text = Outcome.NOT_TAKEN, str(reason)
    except PrivplanError as error:
        outcome, text = Outcome.FAILED, error.message
    return Finding(number=number, name=name, outcome=outcome, text=text)


def _signature(case: _Case) -> str:
    opened = signing.open_envelope(case.text, trusted=case.trusted)
    case.statement, case.keyids = opened.statement, opened.keyids
    return f"signed by key {', '.join(key[:16] for key in opened.keyids)}"


def _schema(case: _Case) -> str:
    if case.statement.get("predicateType") != PREDICATE_TYPE:
        raise _wrong("the statement is not a privplan training report")
    inner = canonical.canonical_bytes(case.statement["predicate"])  # type: ignore[arg-type]
    case.predicate = read_document(Predicate, inner, what="report")
    return f"report {case.predicate.report_id}"


def _plan(case: _Case) -> str:
    inside = plans.from_text(plans.to_text(case.report().plan).encode())
    path = case.folder / PLAN_FILE
    if case.report().mechanism.arithmetic != mechanisms.arithmetic(inside):
        raise _wrong("the report names another arithmetic than its plan")
    if not path.exists():
        return f"plan {inside.digest[:16]} (inside the report; no file {PLAN_FILE})"
    if plans.read(path).digest != inside.digest:
        raise _wrong(f"{PLAN_FILE} is another plan than the report's")
    return f"plan {inside.digest[:16]}, and {PLAN_FILE} is it"


def _artefacts(case: _Case) -> str:
    missing, present = [], 0
    for subject in case.statement["subject"]:  # type: ignore[attr-defined]
        name = subject["name"]
        path = case.folder / name
        if not path.resolve().is_relative_to(case.folder.resolve()):
            raise _wrong(f"{name[:80]} is outside the folder of the report")
        if not path.is_file():
            missing.append(name)
            continue
        if canonical.file_digest(path) != subject["digest"]["sha256"]:
            raise _wrong(f"{name} was changed after the report was signed")
        present += 1
    if missing:
        raise _NotTakenError(f"{present} files match; not found: {', '.join(missing)}")
    return f"{present} files match their digests"


def _ledger(case: _Case) -> str:
    if not case.ledger_path.exists():
        raise _NotTakenError(f"no ledger at {case.ledger_path.name}")
    content, part = ledger_export.read(case.ledger_path), case.report().ledger
    if content.plan_digest != case.report().plan.digest:
        raise _wrong("the ledger belongs to another plan")
    if content.hash_at(part.head_sequence) != part.head_hash:
        raise _wrong(
            f"entry {part.head_sequence} of the ledger is not the one the report saw: "
            "the ledger was rewritten, shortened or exchanged"
        )
    data, opened = case.report().data, bool(content.data_key)
    if opened and (
        ledger.data_commitment(content, bytes.fromhex(data.nonce)) != data.value
    ):
        raise _wrong("the report commits to other data than the ledger")
    case.content = content
    return (
        f"{len(content.entries)} entries, chain whole; the report saw it up to entry "
        f"{part.head_sequence}, {part.head_hash[:16]}"
        + ("" if opened else "; an export, so the commitment to the data is not opened")
    )


def _steps(case: _Case) -> str:
    said = case.report()
    for part in said.realised.phases:
        if part.counted > part.planned:
            raise _wrong(
                f"phase '{part.phase}' began {part.counted} steps of {part.planned}"
            )
    planned = {phase.name: phase.steps for phase in said.plan.phases}
    if planned != {part.phase: part.planned for part in said.realised.phases}:
        raise _wrong("the report's phases are not those of its plan")
    if said.realised.finished != all(
        part.counted == part.planned for part in said.realised.phases
    ):
        raise _wrong("the report's steps do not fit what it says of the run's end")
    if case.content is None:
        raise _NotTakenError("the ledger was not available to count again")
    if said.realised.processes > case.content.processes:
        raise _wrong("the report names more processes than its ledger")
    for part in said.realised.phases:
        counted = case.content.counted(part.phase)
        if not part.counted <= counted <= part.planned:
            raise _wrong(
                f"the ledger counts {counted} steps of phase '{part.phase}', the "
                f"report {part.counted}, the plan {part.planned}"
            )
    return "; ".join(
        f"{part.phase}: {part.counted} begun of {part.planned}"
        for part in said.realised.phases
    )


def _epsilon(case: _Case) -> str:
    said = case.report()
    claim, budget = said.claim, said.plan.budget
    unit = (claim.unit, claim.max_records_per_unit)
    if (claim.delta, claim.adjacency, claim.epsilon.target, *unit) != (
        budget.target_delta, budget.adjacency, budget.target_epsilon,
        budget.unit, budget.max_records_per_unit,
    ):  # fmt: skip
        raise _wrong("the claim names another budget than the plan")
    found = accounting.epsilon(
        said.plan.event, delta=claim.delta, adjacency=claim.adjacency
    )
    if not found.upper <= claim.epsilon.upper * (1 + 1e-9):
        raise _wrong(
            f"the report claims epsilon {claim.epsilon.upper:.9g}, recomputed is "
            f"{found.upper:.9g}"
        )
    if not claim.epsilon.upper <= claim.epsilon.target:
        raise _wrong(f"the claim, {claim.epsilon.upper:.9g}, is above the target")
    return (
        f"recomputed {canonical.text_up(found.upper, 4)}, claimed "
        f"{canonical.text_up(claim.epsilon.upper, 4)}, target {claim.epsilon.target:g}"
    )


def _second_opinion(case: _Case) -> str:
    said = case.report()
    delta, event = said.claim.delta, said.plan.event
    found = accounting.epsilon(event, delta=delta, adjacency=said.claim.adjacency)
    asked = opinions.second_opinions(event, delta=delta)
    others = opinions.besides(found.method, asked)
    if not opinions.agree(found.lower, found.upper, others):
        raise _wrong("the accountants disagree about the events of this plan")
    said_by = (f"{o.name} ({o.method}) {o.lower:.4f} to {o.upper:.4f}" for o in others)
    return "; ".join(said_by)


def _exclusions(case: _Case) -> str:
    named = [part.what for part in case.report().scope.excludes]
    absent = [what for what in words.EXCLUSIONS if what not in named]
    if absent or len(named) != len(set(named)):
        raise _wrong(f"an exclusion is missing or doubled: {(absent or named)[0]}")
    return f"all {len(words.EXCLUSIONS)} are there; {relying.check(case.report())}"


def _verdict(case: _Case) -> str:
    said = case.report()
    if said.verdict != "dp-claim" or said.reasons:
        raise _wrong(f"the report makes no claim: {'; '.join(said.reasons)[:200]}")
    if case.content is not None and case.content.unsafe:
        raise _wrong("the ledger says the noise was drawn from a seed")
    sentence = words.statement(
        epsilon=said.claim.epsilon.upper, delta=said.claim.delta,
        adjacency=said.claim.adjacency.value, unit=said.claim.unit,
        max_records=said.claim.max_records_per_unit,
        phases=[(p.phase, p.counted, p.planned) for p in said.realised.phases],
    )  # fmt: skip
    if said.claim.statement != sentence:
        raise _wrong("the sentence of the claim is not what its numbers say")
    return sentence


def _preflight(case: _Case) -> str:
    if (found := judge(case.report())) is None:
        raise _NotTakenError("this report carries no preflight")
    return found


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(problem, hint="ask the signer for an unchanged report")


_STEPS: tuple[tuple[str, str, Callable[[_Case], str]], ...] = (
    ("V1", "signature", _signature),
    ("V2", "schema", _schema),
    ("V3", "plan", _plan),
    ("V4", "artefacts", _artefacts),
    ("V5", "ledger", _ledger),
    ("V6", "steps", _steps),
    ("V7", "epsilon", _epsilon),
    ("V8", "second opinion", _second_opinion),
    ("V9", "exclusions", _exclusions),
    ("V10", "verdict", _verdict),
    ("V15", "preflight", _preflight),
)
