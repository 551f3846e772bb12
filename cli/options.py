"""The options that several commands share, each written once."""

from __future__ import annotations

import re
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
        help="'digits', an idx folder, an .npz, a folder of images, tar or Arrow "
        "shards, or an index.",
    ),
]
PublicData = Annotated[
    str | None,
    typer.Option("--public", help="Images declared public, in any form of --data."),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        help="Other than by recipe: width=16,levels=1+2+2,blocks=1,attention=7+14.",
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Begin from a checkpoint of privplan pretrain."),
]
LatentSpaceFolder = Annotated[
    Path | None,
    typer.Option(
        "--autoencoder", help="Train on the latents of privplan autoencoder's folder."
    ),
]
Tune = Annotated[
    str,
    typer.Option(
        "--tune",
        help="What private steps change: all, or a sum with + of attention, embedding, "
        "film, bias, blocks:NAME,... and lora:RANK[@attention+conv].",
    ),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help="Resize images to this side.")
]
UnitColumn = Annotated[
    str | None,
    typer.Option(help="Column that says whose a record is, as patient: the unit."),
]
MaxRecordsPerUnit = Annotated[
    int, typer.Option(help="The most records of one unit; further ones are left out.")
]
CaptionColumn = Annotated[
    str | None,
    typer.Option(
        help="Column that holds each record's caption, read in place of a class."
    ),
]
Classes = Annotated[int | None, typer.Option("--classes", help="Number of labels.")]
RunFolder = Annotated[
    Path | None,
    typer.Argument(help="The run folder; default the run of ./plan.json."),
]

_OPTIONS = {
    "target_epsilon": "--eps",
    "target_delta": "--delta",
    "delta": "--delta",
    "records": "--n",
    "max_records": "--max-records-per-unit",
    "sample_rate": "--sample-rate",
    "steps": "--steps",
    "noise_multiplicity": "--noise-multiplicity",
    "noise_multiplier": "--noise-multiplier",
    "synthetic_steps": "--synthetic-steps",
    "physical_batch_size": "--physical-batch",
    "height": "--image-size",
    "width": "--image-size",
    "image_size": "--image-size",
    "classes": "--classes",
    "count": "--count",
    "guidance": "--guidance",
    "churn": "--churn",
    "eta": "--eta",
    "last": "--last",
    "spent_epsilon": "--spent",
    "spent_delta": "--spent",
    "draws": "--draws",
    "prior_noise": "--prior-noise",
    "synthetic_weight": "--synthetic-weight",
    "shift": "--shift",
    "learning_rate": "--learning-rate",
    "batch_size": "--batch-size",
    "channels": "--channels",
    "devices": "--devices",
    "patience_seconds": "--rank-timeout",
}
_SUBJECT = re.compile(r"^(\w+)(?= is )|(?<=^give )(\w+)")


def in_options(text: str) -> str:
    """Say which option a refusal is about, beside the name of the field.

    Example:
        >>> in_options("target_epsilon is -1.0, but it must be above 0")
        '--eps (target_epsilon) is -1.0, but it must be above 0'
        >>> in_options("give steps a value such as 100")
        'give --steps a value such as 100'
    """
    return _SUBJECT.sub(lambda found: _named(found[0]), text)


def _named(field: str) -> str:
    option = _OPTIONS.get(field)
    if option is None:
        return field
    said = option.lstrip("-").replace("-", "_")
    return option if said == field else f"{option} ({field})"
