"""`privplan report`: write, explain, render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from cli import actions, folders, keyring, pages, report_view, verification
from cli.options import AsJson, RunFolder
from privplan import explain, files, run_report
from privplan.errors import ExitCode

_FOLDER = "explained"


class _WriteUnlessNamed(TyperGroup):
    """Reads `report RUN` as `report write RUN`, and knows the other commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Put in the command that was left out."""
        if not args or args[0] not in {*self.commands, "--help"}:
            args = ["write", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_WriteUnlessNamed,
    help="The signed report of a run. `report RUN` is short for `report write RUN`.\n\n"
    "Exit code: 0 written, 1 no run, report or key, 4 another key signed it, 5 "
    "written, but it makes no claim.",
)


@app.command("write")
def write(
    run: RunFolder = None,
    key: Annotated[
        Path | None, typer.Option(help="Signing key; default the one of keys new.")
    ] = None,
    passphrase_file: keyring.PassphraseFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Default report.json in the run folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write and sign the report of a run, and a page of it to read and print.

    Exit code: 0 written, 1 no run or no key, 5 written, but it makes no claim.
    """
    made, folder = folders.run_folder(run)
    signer = keyring.load(key or keyring.default_key(), passphrase_file)
    path = out or folder / run_report.REPORT_NAME
    written = actions.write_report(made, folder, signer, path)
    page = pages.beside(path)
    report_view.written(path, page, signer.public, written, as_json=as_json)
    claims = written.verdict == "dp-claim"
    raise typer.Exit(ExitCode.OK if claims else ExitCode.POLICY)


@app.command("explain")
def explain_(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The report.")],
    key: Annotated[
        Path | None,
        typer.Option(help="The signer's public key; default the one beside it."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default a folder beside the report.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a report apart, to be checked with OpenSSL and dp-accounting alone.

    Exit code: 0 written, 1 not a report, 4 another key signed it.
    """
    path, text = verification.read_report(report)
    (known,) = verification.keys_for(path, [] if key is None else [key])
    folder = out or path.parent / _FOLDER
    parts = explain.explain(text, known)
    files.make_folder(folder)
    for name, content in parts.files.items():
        files.write_bytes(folder / name, content, what="explanation")
    report_view.explained(parts, folder, pinned=key is not None, as_json=as_json)


@app.command("render")
def render_(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="The report, or a page of it.")
    ],
    *,
    form: Annotated[
        Literal["html", "md", "model-card", "data-card"],
        typer.Option("--format", help="What to make of it."),
    ] = "html",
    out: Annotated[Path | None, typer.Option(help="Default beside the report.")] = None,
    release: Annotated[
        bool,
        typer.Option("--release", help="Refuse whatever may not be published."),
    ] = False,
    local: Annotated[
        Path | None,
        typer.Option(
            help="Show these local scores too, in a page for the data holder: the "
            "output of evaluate --json."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a page, Markdown or a card from a signed report.

    Exit code: 0 written, 1 not a report, 2 options that exclude each other, 5 the
    report holds something that may not be published.
    """
    path, text = verification.read_report(report)
    made = pages.make(text, form=form, release=release, local=local)
    target = out or pages.default(path, form, release=release, local=local)
    files.write_text(target, made, what="page")
    report_view.rendered(target, form, release=release, as_json=as_json)
