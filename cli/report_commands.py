"""`privplan report` and `privplan report explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import actions, folders, keyring, report_view, verification
from cli.options import AsJson, RunFolder
from privplan import explain, files
from privplan.errors import ExitCode

_FOLDER = "explained"


class _WriteUnlessNamed(TyperGroup):
    """Reads `report RUN` as `report write RUN`, and knows `report explain`."""

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
    """Write and sign the report of a run.

    Exit code: 0 written, 1 no run or no key, 5 written, but it makes no claim.
    """
    made, folder = folders.run_folder(run)
    signer = keyring.load(key or keyring.default_key(), passphrase_file)
    path = out or folder / actions.REPORT_NAME
    written = actions.write_report(made, folder, signer, path)
    report_view.written(path, signer.public, written, as_json=as_json)
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
