"""What the commands of approval and trust say."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cli.paper import console, print_json, table, talk
from privplan import moments
from privplan.approval import Approval
from privplan.canonical import text_up
from privplan.findings import Verdict
from privplan.keys import PublicKey
from privplan.trust import Trust, TrustedKey


def approved(said: Approval, key: PublicKey, path: Path, *, as_json: bool) -> None:
    """Say what was approved, at which cost."""
    if as_json:
        approved_as = said.model_dump(mode="json")
        print_json({"path": str(path), "keyid": key.keyid, "approval": approved_as})
        return
    talk(
        f"Approved plan {said.plan_digest[:12]}: epsilon {text_up(said.epsilon, 4)} at "
        f"delta {said.delta:g}\n  per {said.max_records_per_unit} '{said.unit}', "
        f"{said.adjacency}"
    )
    talk(f"Wrote {path}, signed by officer key {key.fingerprint}")


def countersigned(found: Verdict, key: PublicKey, path: Path, *, as_json: bool) -> None:
    """Say under which report a second signature stands now."""
    report = "" if found.predicate is None else found.predicate.report_id
    if as_json:
        keyids = [*found.keyids, key.keyid]
        print_json({"path": str(path), "report": report, "keyids": keyids})
        return
    if found.not_taken:
        talk(f"Not every step could be taken: {', '.join(found.not_taken)}")
    talk(f"Counter-signed {path} with officer key {key.fingerprint}")
    talk("Check it: privplan verify --require officer --key officer.pub --key ...")


def trust(made: Trust, path: Path, *, as_json: bool) -> None:
    """Print the keys of a trust file, and what to note elsewhere."""
    if as_json:
        print_json(
            {
                "path": str(path),
                "links": made.links,
                "head": made.head,
                "keys": [_as_json(key) for key in made.keys.values()],
            }
        )
        return
    columns = [("keyid", "left"), ("role", "left"), ("owner", "left")]
    times = [("from", "right"), ("until", "right"), ("standing", "left")]
    rows = [
        [
            key.public.keyid[:16],
            key.public.role.value,
            key.owner,
            _day(key.valid_from),
            _day(key.valid_until),
            _standing(key),
        ]
        for key in made.keys.values()
    ]
    out = console()
    out.print(table([*columns, *times], rows))
    out.print(f"{made.links} links, chain whole. Root and head:")
    first = next(iter(made.keys.values()))
    out.print(f"{first.public.fingerprint}\n{made.head}", soft_wrap=True)


def _standing(key: TrustedKey) -> str:
    if key.revoked is None:
        return "trusted"
    return f"revoked {_day(key.revoked.start)}: {key.revoked.reason}"


def _day(moment: datetime | None) -> str:
    return "-" if moment is None else moments.text(moment)[:10]


def _as_json(key: TrustedKey) -> dict[str, object]:
    return {
        "keyid": key.public.keyid,
        "role": key.public.role.value,
        "owner": key.owner,
        "valid_from": _moment(key.valid_from),
        "valid_until": _moment(key.valid_until),
        "vouched_by": key.vouched_by,
        "revoked": None
        if key.revoked is None
        else {"from": _moment(key.revoked.start), "reason": key.revoked.reason},
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moments.text(moment)
