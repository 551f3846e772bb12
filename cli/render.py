"""What commands say: results as tables or JSON, and what to do next."""

from __future__ import annotations

from pathlib import Path

from cli.paper import console, print_json, table, talk
from cli.plan_view import plan
from privplan.keys import PublicKey
from privplan.ledger import LedgerContent
from privplan.plan import Plan

__all__ = [
    "key",
    "ledger",
    "named",
    "plan",
    "print_json",
    "samples",
    "talk",
    "training",
]


def named(**given: object) -> str:
    """Name options again that were given, for a command to repeat.

    Example:
        >>> named(data="faces", public=None)
        ' --data faces'
    """
    return "".join(f" --{k} {v}" for k, v in given.items() if v is not None)


def training(
    made: Plan, folder: Path, named: str, *, finished: bool, as_json: bool
) -> None:
    """Say how a run ended and what to do next.

    Args:
        made: The plan.
        folder: The run folder.
        named: The options that name its data, to be given again.
        finished: Whether every phase ended.
        as_json: Whether to say it as one JSON object.
    """
    again = f"privplan train {folder} --resume{named}"
    following = f"privplan sample {folder}" if finished else again
    if as_json:
        print_json(
            {
                "finished": finished,
                "folder": str(folder),
                "digest": made.digest,
                "next": following,
            }
        )
    elif finished:
        talk(f"Finished: {folder}. Next: {following}")
    else:
        talk(f"Stopped and saved; nothing is lost. To resume: {following}")


def samples(archive: Path, picture: Path, count: int, *, as_json: bool) -> None:
    """Say where samples went."""
    if as_json:
        print_json({"count": count, "archive": str(archive), "picture": str(picture)})
    else:
        talk(f"Drew {count:,} images: {archive}, {picture}")


def key(made: PublicKey, path: Path, *, locked: bool, as_json: bool) -> None:
    """Say where a new key is."""
    public = path.with_suffix(".pub")
    if as_json:
        print_json(
            {
                "private": str(path),
                "public": str(public),
                "keyid": made.keyid,
                "role": made.role.value,
                "encrypted": locked,
            }
        )
        return
    talk(f"Made a {made.role.value} key, fingerprint {made.fingerprint}")
    talk(f"  {path}   keep it to yourself\n  {public}   give it to whoever verifies")
    if not locked:
        talk("The key is not encrypted: whoever can read its file can sign.")


def ledger(content: LedgerContent, *, last: int, as_json: bool) -> None:
    """Print the totals and the last entries of a ledger."""
    counts = [
        {"phase": a.phase, "begun": content.counted(a.phase), "allowed": a.steps}
        for a in content.allowances
    ]
    if as_json:
        print_json(
            {
                "ledger_id": content.ledger_id,
                "plan": content.plan_digest,
                "phases": counts,
                "sessions": content.sessions,
                "entries": len(content.entries),
                "head": {"sequence": content.head.sequence, "hash": content.head.hash},
            }
        )
        return
    out = console()
    columns = [("phase", "left"), ("steps begun", "right"), ("allowed", "right")]
    rows = [[str(c["phase"]), f"{c['begun']:,}", f"{c['allowed']:,}"] for c in counts]
    out.print(table(columns, rows))
    entries = content.entries[-last:]
    out.print(
        table(
            [("entry", "right"), ("kind", "left"), ("says", "left"), ("hash", "left")],
            [[str(e.sequence), e.kind, _says(e.body), e.hash[:12]] for e in entries],
        )
    )
    out.print(f"{len(content.entries):,} entries, chain whole. Head:")
    out.print(content.head.hash, soft_wrap=True)


def _says(body: dict[str, object]) -> str:
    known = ("phase", "count", "name", "session")
    return ", ".join(f"{key} {body[key]}" for key in known if key in body)
