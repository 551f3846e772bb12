"""What is said about preflights and audits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli.paper import console, print_json, table, talk
from privplan.audit_schema import AuditPredicate, CanaryBound
from privplan.audits import AuditVerdict
from privplan.canonical import text_down, text_up
from privplan.findings import Outcome
from privplan.keys import PublicKey
from privplan.measured import Measured
from privplan.preflight import PreflightPart

_SHOWN = {
    Outcome.PASSED: "ok",
    Outcome.FAILED: "FAILED",
    Outcome.NOT_TAKEN: "not taken",
}


def preflight(found: PreflightPart, *, as_json: bool) -> None:
    """Print what a preflight measured."""
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    _measurements(found.checks)
    talk(
        f"{len(found.checks)} measurements in {found.seconds:.1f} s on made-up "
        "pictures, all in their ranges; nothing was counted"
    )


def audit(said: AuditPredicate, path: Path, key: PublicKey, *, as_json: bool) -> None:
    """Print what an audit found, and where it was written."""
    if as_json:
        print_json(
            {
                "path": str(path),
                "keyid": key.keyid,
                "violation": said.verdict == "violation",
                "audit": said.model_dump(mode="json"),
            }
        )
        return
    if said.measured:
        _measurements(said.measured)
    if said.bounds:
        _bounds(said.bounds)
    verdict = "VIOLATION" if said.verdict == "violation" else "no violation found"
    console().print(f"{said.kind} audit of plan {said.plan_digest[:12]}: {verdict}")
    for line in (*said.reasons, *said.limits):
        talk(line)
    talk(f"Wrote {path}, signed by {key.role.value} key {key.fingerprint}")
    talk(f"Check it: privplan verify {path}")


def verdict(found: AuditVerdict, *, pinned: bool, as_json: bool) -> None:
    """Print the steps of an audit's verification and what follows."""
    if as_json:
        print_json(
            {
                "verified": found.passed,
                "key_given": pinned,
                "keyids": list(found.keyids),
                "steps": [
                    {
                        "number": f.number,
                        "name": f.name,
                        "outcome": f.outcome.value,
                        "text": f.text,
                    }
                    for f in found.findings
                ],
            }
        )
        return
    rows = [[f.number, f.name, _SHOWN[f.outcome], f.text] for f in found.findings]
    columns = [("step", "left"), ("about", "left"), ("", "left"), ("found", "left")]
    console().print(table(columns, rows))
    console().print("VERIFIED" if found.passed else "NOT VERIFIED")
    if found.predicate is not None:
        for line in found.predicate.limits:
            talk(line)
    if not pinned:
        talk(
            "The key was found beside the audit. Give --key with one you got elsewhere."
        )


def _measurements(found: Sequence[Measured]) -> None:
    columns = [
        ("measured", "left"),
        ("value", "right"),
        ("from", "right"),
        ("to", "right"),
        ("", "left"),
    ]
    rows = [
        [
            one.name,
            "none" if one.value is None else f"{one.value:.4g}",
            f"{one.low:.4g}",
            f"{one.high:.4g}",
            "ok" if one.holds else "OUT",
        ]
        for one in found
    ]
    console().print(table(columns, rows))


def _bounds(found: Sequence[CanaryBound]) -> None:
    columns = [
        ("canaries", "left"),
        ("right", "right"),
        ("claim", "right"),
        ("at least", "right"),
        ("ceiling", "right"),
        ("by curve", "right"),
        ("ceiling", "right"),
    ]
    rows = [
        [
            f"{bound.canaries:,} in {bound.space}",
            f"{bound.correct}/{bound.guesses}",
            text_up(bound.claimed_epsilon, 3),
            text_down(bound.epsilon_lower, 3),
            text_up(bound.ceiling, 2),
            text_down(bound.curve_epsilon_lower, 3),
            text_up(bound.curve_ceiling, 2),
        ]
        for bound in found
    ]
    console().print(table(columns, rows))
    talk("Epsilons at the claimed delta; a ceiling is what perfect guesses would show.")
