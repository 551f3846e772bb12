"""What the ledger commands say."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.paper import console, print_json, table, talk
from privplan import ledger_anchor
from privplan.findings import Finding, Outcome
from privplan.ledger import LedgerContent
from privplan.ledger_anchor import Anchor
from privplan.ledger_checks import LedgerVerdict

_SHOWN = {
    Outcome.PASSED: "ok",
    Outcome.FAILED: "FAILED",
    Outcome.NOT_TAKEN: "not taken",
}


def checked(found: LedgerVerdict, *, as_json: bool) -> None:
    """Print the steps of a check and what follows."""
    if as_json:
        print_json(
            {
                "verified": found.passed,
                "steps": [_step(finding) for finding in found.findings],
            }
        )
        return
    rows = [[f.number, f.name, _SHOWN[f.outcome], f.text] for f in found.findings]
    columns = [("step", "left"), ("about", "left"), ("", "left"), ("found", "left")]
    console().print(table(columns, rows))
    console().print("THE LEDGER HOLDS" if found.passed else "THE LEDGER DOES NOT HOLD")
    absent = [f for f in found.findings if f.outcome is Outcome.NOT_TAKEN]
    if any(f.number == "L4" for f in absent):
        talk(
            "Without --anchor nobody can see whether the end was cut off or all of it "
            "written anew."
        )


def exported(content: LedgerContent, path: Path, *, as_json: bool) -> None:
    """Say where an export went."""
    count, head = len(content.entries), content.head.hash
    if as_json:
        print_json({"path": str(path), "entries": count, "head": head})
        return
    talk(f"Wrote {count:,} entries to {path}, head {head[:16]}")
    talk(f"Check it: privplan ledger verify {path}")


def anchored(made: Anchor, path: Path | None, *, as_json: bool) -> None:
    """Print an anchor, and say what it is for."""
    if as_json:
        print_json(
            {
                "path": None if path is None else str(path),
                "anchor": ledger_anchor.to_line(made),
                "ledger_id": made.ledger_id,
                "sequence": made.sequence,
                "hash": made.hash,
                "begun": dict(made.begun),
            }
        )
        return
    sys.stdout.write(ledger_anchor.to_line(made) + "\n")
    kept = "this line" if path is None else str(path)
    talk(
        f"Keep {kept} where whoever trains cannot write. "
        "Later: privplan ledger verify --anchor"
    )


def _step(finding: Finding) -> dict[str, str]:
    return {
        "number": finding.number,
        "name": finding.name,
        "outcome": finding.outcome.value,
        "text": finding.text,
    }
