"""`privplan index`: make the index through which large data are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import paper
from cli.options import AsJson, UnitColumn
from privplan.errors import ParameterError


def index(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Tar or Arrow shards, a folder of them or of images."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="The index, NAME.privplan-index; default beside the data."),
    ] = None,
    unit_column: UnitColumn = None,
    split: Annotated[
        Literal["train", "test"], typer.Option(help="Which part of the data.")
    ] = "train",
    as_json: AsJson = False,
) -> None:
    """Read every record once and note where it lies; replaces an index that is there.

    The index holds no pixel, but it is private: it says how many records there are and
    which belong together. Only its owner may read it. Do not pass it on.

    Exit code: 0 made, 1 the data are damaged or in no form that is indexed, 2 a name is
    not allowed.
    """
    if out is not None and out.suffix != ".privplan-index":
        raise ParameterError(
            f"--out is '{out}', but an index is known by its ending",
            hint="give it the ending .privplan-index",
        )
    from diffusion.readers.index_build import make  # noqa: PLC0415 - imports torch

    written = make(data, split, unit_column, out)
    if as_json:
        paper.print_json({"path": str(written)})
        return
    paper.talk(f"Made {written}: private like the data, for its owner alone.")
