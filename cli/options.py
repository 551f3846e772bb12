"""The options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Eps = Annotated[float, typer.Option("--eps", help="Target epsilon, above 0.")]
Delta = Annotated[
    float | None, typer.Option("--delta", help="Target delta; default n^-1.1.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="'digits', an idx folder, an .npz, or a folder of images.",
    ),
]
PublicData = Annotated[
    str | None,
    typer.Option("--public", help="Images declared public, in any form of --data."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help="Resize images to this side.")
]
Classes = Annotated[int | None, typer.Option("--classes", help="Number of labels.")]
RunFolder = Annotated[
    Path | None,
    typer.Argument(help="The run folder; default the run of ./plan.json."),
]
