"""The commands of whoever signs or checks: `keys ...` and `ledger ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import folders, keyring, ledger_commands, render
from cli.options import AsJson, RunFolder
from privplan import checks, keys, ledger_export
from privplan import plan as plans
from privplan.keys import Role

keys_app = typer.Typer(no_args_is_help=True, help="Signing keys.")
ledger_app = typer.Typer(no_args_is_help=True, help="The record of what was spent.")
ledger_commands.register(ledger_app)


@keys_app.command("new")
def keys_new(
    out: Annotated[
        Path | None, typer.Option(help="Default: the user's data folder.")
    ] = None,
    role: Annotated[Role, typer.Option(help="What the key may sign.")] = Role.TRAINER,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a signing key; refuses to replace one.

    Exit code: 0 made, 1 it cannot be written, 5 there is one already.
    """
    path = out or keyring.default_key()
    keyring.make_folder(path)
    passphrase = keyring.choose(passphrase_file)
    made = keys.new_key(path, role=role, passphrase=passphrase)
    render.key(made, path, locked=passphrase is not None, as_json=as_json)


@ledger_app.command("show")
def ledger_show(
    run: RunFolder = None,
    last: Annotated[int, typer.Option(help="How many entries.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Show what a run has begun and what that costs, and check the ledger's chain.

    The cost needs the plan beside the ledger, which says at which delta.

    Exit code: 0 the chain is whole, 1 not a ledger, 4 the chain is broken.
    """
    checks.count(last=last)
    path = folders.ledger_file(run)
    content = ledger_export.read(path)
    beside = path.parent / folders.PLAN_NAME
    made = plans.read(beside) if beside.is_file() else None
    if made is not None and made.digest != content.plan_digest:
        made = None
    render.ledger(content, made, last=last, as_json=as_json)
