"""`privplan init` and `privplan config show`: the configuration of a project."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from cli import configuration
from cli.columns import Column, print_fitted
from cli.configuration import COMMANDS, FILE_NAME, Found, Setting
from cli.options import AsJson
from cli.paper import console, print_json, talk
from privplan import files
from privplan.errors import PolicyError

app = typer.Typer(
    help="Options of plan and train, and where they come from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_HEAD = """\
# Settings of this project for privplan. Lines that begin with # change nothing.
# A flag wins over the environment (PRIVPLAN_PLAN_EPS), and that over this file.
# See what is in force with: privplan config show
"""


def init(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where it goes.")] = Path(FILE_NAME),
    as_json: AsJson = False,
) -> None:
    """Write a commented privplan.toml in which everything is still a default.

    Exit code: 0 written, 1 not writable, 5 there is such a file already.
    """
    if out.exists():
        raise PolicyError(
            f"{out} is there already", hint="edit it, or give another --out"
        )
    known = configuration.settings(context.find_root().command)
    files.write_text(out, template(known), what="configuration")
    if as_json:
        print_json({"path": str(out), "settings": len(known)})
    else:
        talk(f"Wrote {out}. Uncomment what you want to set, then: privplan config show")


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every setting, its value, and where the value comes from.

    Exit code: 0 shown, 1 the file is no TOML, 2 a name in it is unknown.
    """
    known = configuration.settings(context.find_root().command)
    values = configuration.read(known, os.environ)
    rows = [_row(setting, values.get((setting.command, setting.parameter)))
            for setting in known]  # fmt: skip
    if as_json:
        names = ("command", "option", "value", "source", "variable")
        print_json({"settings": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    columns = [
        Column(title="command"),
        Column(title="option"),
        Column(title="value", folds=True),
        Column(title="comes from", folds=True),
        Column(title="variable", rank=1),
    ]
    print_fitted(console(), columns, [[str(cell) for cell in row] for row in rows])


def template(known: tuple[Setting, ...]) -> str:
    """Return the text of a configuration in which every line is a comment."""
    lines = [_HEAD]
    for command in COMMANDS:
        lines.append(f"[{command}]")
        for setting in known:
            if setting.command == command:
                lines += [f"# {part}" for part in textwrap.wrap(setting.help, 78)]
                lines.append(f"# {setting.name} = {_toml(setting)}")
        lines.append("")
    return "\n".join(lines)


def _row(setting: Setting, found: Found | None) -> list[object]:
    value = found.value if found else _plain(setting.default)
    source = found.source if found else "default"
    said = "-" if value is None or value == [] else value
    return [setting.command, setting.name, said, source, setting.variable]


_EXAMPLES = {
    "eps": "1.0", "delta": "1e-5", "n": "60000", "steps": "100", "sample-rate": "0.1",
    "noise-multiplicity": "4", "synthetic-steps": "400", "prior-noise": "3.0",
    "draws": "1e6", "image-size": "28", "classes": "10", "physical-batch": "64",
    "compute": '"10m"', "spent": '"0.4,1e-6"', "mixture": '"1,6,1@0.1,2"',
    "stages": '"best"', "parameterisation": '"edm"', "pretrain": '"synthetic"',
    "data": '"digits"', "query": '["labels:50"]', "learning-rate": "0.001",
    "repair-steps": "200", "autoencoder": '"autoencoders/kl"',
    "caption-column": '"caption"',
    "public": '"public-images/"', "from": '"pretrained/"', "out": '"runs/first"',
    "network": '"width=16,levels=1+2+2,blocks=1,attention=7"', "trust": '"trust.json"',
    "unit-column": '"patient"', "register": '"register.sqlite"', "data-set": '"ward7"',
    "policy": '"policy.toml"', "log": '"progress.jsonl"',
}  # fmt: skip


def _toml(setting: Setting) -> str:
    """Write a value a line could have: the default, or an example of one."""
    value = _plain(setting.default)
    if value is None or value == []:
        return _EXAMPLES.get(setting.name, f'"{setting.name}"')
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def _plain(value: object) -> object:
    """Return a default as a plain value: enums and paths as their text."""
    if value is None or isinstance(value, bool | int | float | list):
        return value
    return str(getattr(value, "value", value))
