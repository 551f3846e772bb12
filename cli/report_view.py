"""What is said about reports: written, verified, taken apart."""

from __future__ import annotations

from pathlib import Path

from cli.paper import console, print_json, table, talk
from privplan import explain
from privplan.explain import Explained
from privplan.findings import Outcome, Verdict
from privplan.keys import PublicKey
from privplan.report_schema import Predicate

_SHOWN = {
    Outcome.PASSED: "ok",
    Outcome.FAILED: "FAILED",
    Outcome.NOT_TAKEN: "not taken",
}


_MEANS = {
    "V4": "that the files are the ones that were signed",
    "V5": "that the ledger holds, and that it is the one the report saw",
    "V6": "that no more was begun than the report says; it counts itself",
    "P1": "that the page says what was signed",
    "V13": "that the ledger was not rolled back since the anchor was noted",
    "V15": "that engine, noise and sampling were tried before the run began",
}


def written(
    path: Path, page: Path, key: PublicKey, said: Predicate, *, as_json: bool
) -> None:
    """Say what was written and who signed it."""
    claims = said.verdict == "dp-claim"
    if as_json:
        print_json(
            {
                "path": str(path),
                "page": str(page),
                "claim": claims,
                "finished": said.realised.finished,
                "keyid": key.keyid,
                "plan": said.plan.digest,
            }
        )
        return
    claim = "with a claim" if claims else "WITHOUT a claim"
    talk(f"Wrote {path}, {claim}, signed by {key.role.value} key {key.fingerprint}")
    if not said.realised.finished:
        talk("The run is not finished, and the claim says so.")
    talk(f"To read, print and decide on: {page}")
    talk(f"Check it: privplan verify {path}")


def rendered(path: Path, form: str, *, release: bool, as_json: bool) -> None:
    """Say what was made of a report."""
    if as_json:
        print_json({"path": str(path), "format": form, "release": release})
        return
    talk(f"Wrote {path}, from the report as signed; no signature was checked")
    if release:
        talk("Release build: every field of it is on the list of what may be published")


def verdict(found: Verdict, *, pinned: bool, as_json: bool) -> None:
    """Print the steps of a verification and what follows."""
    if as_json:
        print_json(
            {
                "verified": found.passed,
                "finished": found.finished,
                "key_given": pinned,
                "not_taken": list(found.not_taken),
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
    said = "VERIFIED" if found.passed else "NOT VERIFIED"
    if found.passed and not found.finished:
        said += ", of a run that is NOT FINISHED"
    if found.passed and found.not_taken:
        said += f", but {', '.join(found.not_taken)} could not be taken"
    console().print(said)
    for finding in found.findings:
        if finding.outcome is Outcome.NOT_TAKEN:
            talk(f"Not shown: {_MEANS[finding.number]}; {finding.text}")
    if not pinned:
        shows = "so this shows that nothing was edited, not who signed"
        shows = shows if found.passed else "which anyone could have put there"
        talk(
            f"The key was found beside the report, {shows}. Give --key with a key "
            "you got elsewhere."
        )


def explained(parts: Explained, folder: Path, *, pinned: bool, as_json: bool) -> None:
    """Say how a stranger checks a report without our code."""
    script = f"python {explain.SCRIPT_NAME}"
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "files": list(parts.files),
                "keyid": parts.keyid,
                "openssl": list(explain.OPENSSL),
                "recompute": script,
                "fields": [
                    {"field": field, "formula": formula, "with": tool}
                    for field, formula, tool in explain.LINES
                ],
            }
        )
        return
    out = console()
    out.print("Who signed, and that no byte was changed (OpenSSL 3):")
    for line in (f"cd {folder}", *explain.OPENSSL):
        out.print(f"  {line}", soft_wrap=True)
    out.print(f"The second must print {parts.keyid}", soft_wrap=True)
    out.print("What it claims (pip install dp-accounting):")
    out.print(f"  {script}")
    columns = [("field", "left"), ("recomputed as", "left"), ("with", "left")]
    out.print(table(columns, explain.LINES))
    if not pinned:
        talk(
            f"{explain.KEY_NAME} was found beside the report: compare its fingerprint "
            "with one you got from the signer, or give --key."
        )
