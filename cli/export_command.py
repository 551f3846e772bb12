"""`privplan export`: released weights for other programs, with the claim in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import folders, pages, render, verification
from cli.options import AsJson, RunFolder
from privplan import run_report
from privplan.errors import DocumentError, IntegrityError, PolicyError


def export(
    run: RunFolder = None,
    *,
    out: Annotated[Path, typer.Option(help="A fresh folder.")],
    form: Annotated[
        Literal["safetensors", "diffusers", "peft"],
        typer.Option(
            "--format",
            help="diffusers: for networks that came from there; peft: their thin "
            "products alone.",
        ),
    ] = "safetensors",
    report: Annotated[
        Path | None, typer.Option(help="The signed report; default the run's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the released weights with the claim in their metadata, and a model card.

    Exit code: 0 written, 1 no run, weights or report, 2 the format cannot hold this
    network, 4 the report is about others, 5 the folder holds something.
    """
    made, folder = folders.run_folder(run)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PolicyError(
            f"{out} exists already", hint="give --out a folder that does not exist"
        )
    usual = folder / run_report.REPORT_NAME
    if report is None and not usual.exists():
        raise DocumentError(
            f"the run in {folder} has no report, and a model goes out with its claim",
            hint=f"write it first: privplan report {folder}",
        )
    path, text = verification.read_report(report or usual)
    from diffusion import exporting, weight_files  # noqa: PLC0415 - imports torch
    from privplan.render_report import cards, source  # noqa: PLC0415 - makes figures

    said = source.read(text)
    if said.predicate.plan.digest != made.digest:
        raise IntegrityError(
            f"the report {path} is about another plan",
            hint=f"give that of this run: privplan report {folder}",
        )
    exporting.check_released(folder, dict(said.subjects))
    facts = {
        weight_files.PLAN_FACT: made.digest,
        "statement_sha256": said.digest,
        "differential_privacy": json.dumps(cards.claim(said), sort_keys=True),
    }
    card = pages.make(text, form="model-card", release=False, local=None)
    written = exporting.export(made, folder, out, form=form, facts=facts, card=card)
    if as_json:
        render.print_json({"files": [str(one) for one in written], **facts})
        return
    for one in written:
        render.talk(f"Wrote {one}")
