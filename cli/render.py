"""What commands say: results as tables or JSON, and what to do next."""

from __future__ import annotations

from pathlib import Path

from cli.paper import console, print_json, table, talk
from cli.plan_view import plan
from privplan import run_report
from privplan.canonical import text_up
from privplan.keys import PublicKey, Role
from privplan.ledger import LedgerContent
from privplan.plan import Plan
from privplan.summary import spent

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
        folder = archive.parent.parent
        if (folder / run_report.REPORT_NAME).exists():
            talk(
                "The report of this run does not know these samples. Write it anew: "
                f"privplan report {folder}"
            )


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
    article = "an" if made.role is Role.OFFICER else "a"
    talk(f"Made {article} {made.role.value} key, fingerprint {made.fingerprint}")
    talk(f"  {path}   keep it to yourself\n  {public}   give it to whoever verifies")
    if not locked:
        talk("The key is not encrypted: whoever can read its file can sign.")


def ledger(
    content: LedgerContent, made: Plan | None, *, last: int, as_json: bool
) -> None:
    """Print the totals, their cost and the last entries of a ledger.

    Args:
        content: The ledger.
        made: Its plan, which says at which delta to count; None if it is not there.
        last: How many entries.
        as_json: Whether to print one JSON object.
    """
    counts = [
        {"phase": a.phase, "begun": content.counted(a.phase), "allowed": a.steps}
        for a in content.allowances
    ]
    epsilon = None if made is None else spent(made, dict(content.begun))
    if as_json:
        print_json(
            {
                "ledger_id": content.ledger_id,
                "plan": content.plan_digest,
                "phases": counts,
                "epsilon": None if epsilon is None else text_up(epsilon, 6),
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
    if made is not None and epsilon is not None:
        out.print(_cost(made, epsilon))
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


def _cost(made: Plan, epsilon: float) -> str:
    """Say what the steps begun cost, whether or not they were finished."""
    budget = made.budget
    so_far = text_up(epsilon, 4) if epsilon > 0 else "0"
    return (
        f"What was begun costs epsilon {so_far} of {budget.target_epsilon:g}, at delta "
        f"{budget.target_delta:g}; a step that was lost counts too."
    )
