"""`privplan ledger verify`, `export`, `anchor`: the ledger in the hands of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import folders, ledger_view
from cli.options import AsJson, RunFolder
from privplan import ledger_anchor, ledger_checks, ledger_export


def register(ledger_app: typer.Typer) -> None:
    """Add the commands to the group `ledger`."""
    ledger_app.command("verify")(ledger_verify)
    ledger_app.command("export")(ledger_export_)
    ledger_app.command("anchor")(ledger_anchor_)


def ledger_verify(
    run: RunFolder = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="A plan it must belong to; default the one beside it."),
    ] = None,
    anchor: Annotated[
        Path | None, typer.Option(help="An anchor it must not fall behind.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a ledger or its export: chain, schema, counts, plan, anchor.

    Exit code: 0 nothing failed, 1 not a ledger, 4 a step failed.
    """
    path = folders.ledger_file(run)
    beside = path.parent / folders.PLAN_NAME
    found = ledger_checks.check(
        path,
        plan=plan or (beside if beside.is_file() else None),
        anchor=anchor,
    )
    ledger_view.checked(found, as_json=as_json)
    raise typer.Exit(found.exit_code)


def ledger_export_(
    run: RunFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Default ledger.jsonl beside the ledger.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a ledger as lines of JSON, for whoever verifies.

    The key that opens its commitments to the data is left out.

    Exit code: 0 written, 1 not a ledger, 4 its chain is broken.
    """
    path = folders.ledger_file(run)
    content = ledger_export.read(path)
    written = out or path.with_suffix(".jsonl")
    ledger_export.write(content, written)
    ledger_view.exported(content, written, as_json=as_json)


def ledger_anchor_(
    run: RunFolder = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Keep it in this file, away from the run. If the file holds an "
            "anchor, the ledger must not have fallen behind it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Note where a ledger stands, to find out later whether it was rolled back.

    Exit code: 0 noted, 1 not a ledger, 4 the chain is broken or behind its anchor.
    """
    content = ledger_export.read(folders.ledger_file(run))
    if out is not None and out.exists():
        ledger_anchor.check(ledger_anchor.read(out), content)
    made = ledger_anchor.of(content)
    if out is not None:
        ledger_anchor.write(made, out)
    ledger_view.anchored(made, out, as_json=as_json)
