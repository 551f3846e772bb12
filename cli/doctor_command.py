"""`privplan doctor`: is everything here fit to be relied on."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli import configuration, folders, health, keyring
from cli.health import Finding, State
from cli.options import AsJson
from cli.paper import console, print_json
from privplan.errors import ExitCode, PrivplanError


def doctor(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Run folders; default ./runs/*."),
    ] = None,
    *,
    key: Annotated[
        Path | None, typer.Option(help="A private key; default yours.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="No self-tests.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at versions, machine, keys, plans and ledgers, and test the machinery.

    Nothing is changed and no record is read.

    Exit code: 0 nothing is broken, 1 something is, 4 a plan or ledger was changed.
    """
    found = [
        *health.versions(),
        *health.machine(),
        *([] if quick else health.self_tests()),
        *_configuration(context),
        health.key(key or keyring.default_key()),
        *health.runs(paths or _runs_here()),
    ]
    _show(found, as_json=as_json)
    broken = {one.area for one in found if one.state is State.BROKEN}
    if broken & {"plan", "ledger"}:
        raise typer.Exit(ExitCode.VERIFICATION)
    raise typer.Exit(ExitCode.ERROR if broken else ExitCode.OK)


def _configuration(context: typer.Context) -> Iterator[Finding]:
    known = configuration.settings(context.find_root().command)
    try:
        values = configuration.read(known, os.environ)
    except PrivplanError as error:
        yield Finding(
            area="configuration",
            name="settings",
            state=State.BROKEN,
            text=error.message,
        )
        return
    sources = sorted({value.source for value in values.values()})
    text = f"{len(values)} set in {', '.join(sources)}" if sources else "all by default"
    yield Finding(area="configuration", name="settings", state=State.OK, text=text)


def _runs_here() -> list[Path]:
    here = [Path()] if (Path() / folders.PLAN_NAME).is_file() else []
    return here + sorted(path for path in Path("runs").glob("*") if path.is_dir())


def _show(found: list[Finding], *, as_json: bool) -> None:
    worst = [one for one in found if one.state is not State.OK]
    if as_json:
        print_json({"findings": [asdict(one) for one in found]})
        return
    out = console()
    as_asked = [one for one in found if one.area == "versions" and one not in worst]
    said = ", ".join(f"{one.name} {one.text}" for one in as_asked)
    _line(out, "ok", "versions", said)
    for one in found:
        if one not in as_asked:
            _line(out, one.state.value, one.area, f"{one.name}: {one.text}")
    broken = sum(one.state is State.BROKEN for one in worst)
    out.print(
        f"{len(found)} things looked at: {broken} broken, {len(worst) - broken} to "
        "look at"
    )


def _line(out: Console, state: str, area: str, text: str) -> None:
    """Print one finding; words are kept whole, and nothing is cut."""
    lines = textwrap.wrap(
        f"{state:<7}{area:<14}{text}",
        out.width,
        subsequent_indent=" " * 21,
        break_long_words=False,
        break_on_hyphens=False,
    )
    out.print(Text("\n".join(lines)), soft_wrap=True)
