"""`privplan pretrain`: a network that learned from public images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli import render
from cli.options import AsJson, Network
from privplan import checks, network_text, plan_training
from privplan.errors import ParameterError, PolicyError
from privplan.free_phases import PublicData, public_phase, synthetic_phase
from privplan.plan import PlanShape, PlanTraining, PublicPhase, SyntheticPhase
from privplan.plan_training import TrainingWishes
from privplan.presets import Preset
from privplan.pretrained import Pretrained
from privplan.recipes import Recipe, recipe
from privplan.stage_text import ALL_PRIVATE, parse

if TYPE_CHECKING:
    from diffusion.data import PublicImages

Wrapping = Literal["edm", "v", "vp", "ve"]
_TIMES_SAID = 10
_LONGEST_NAME = 200


class Program(StrEnum):
    """The programs that draw images; see `diffusion.synthetic`."""

    DEAD_LEAVES = "dead-leaves"
    STROKES = "strokes"
    SPECTRA = "spectra"
    SCENES = "scenes"
    RANDOM_NETWORKS = "random-networks"
    MIX = "mix"
    DRAWINGS = "drawings"


def pretrain(
    out: Annotated[Path, typer.Option(help="A fresh folder for the checkpoint.")],
    *,
    public: Annotated[
        list[str] | None,
        typer.Option(help="Images declared public, in any form of --data; repeated."),
    ] = None,
    generator: Annotated[
        list[Program] | None,
        typer.Option(help="Images drawn by a program; repeated, learned from first."),
    ] = None,
    declared_by: Annotated[
        str | None, typer.Option(help="Who says that the --public images are public.")
    ] = None,
    image_size: Annotated[
        int, typer.Option(help="Side of the images it is for, in pixels.")
    ] = 28,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for RGB.")] = 1,
    classes: Annotated[int, typer.Option(help="Labels of the images it is for.")] = 10,
    steps: Annotated[
        int | None, typer.Option(help="Of each source; default by recipe.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step; default by recipe.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default by recipe.")
    ] = None,
    parameterisation: Annotated[
        Wrapping, typer.Option(help="What the network wraps in.")
    ] = "edm",
    network: Network = None,
    seed: Annotated[int, typer.Option(help="Of drawn images; public.")] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a network on public images, for plans to begin from; costs no privacy.

    Exit code: 0 written, 1 images that cannot be read, 2 a value is not allowed, 5 the
    folder holds something, or nobody declares the images public.
    """
    _check_sources(public or [], generator or [], declared_by, out)
    checks.count(channels=channels, image_size=image_size, classes=classes)
    shape = PlanShape(
        channels=channels, height=image_size, width=image_size, classes=classes
    )
    settings = _settings(shape, batch_size, learning_rate)
    many = settings.synthetic_steps if steps is None else steps
    checks.count(steps=many)
    images = _load(public or [])
    phases: list[SyntheticPhase | PublicPhase] = [
        synthetic_phase(
            settings,
            kind.value,
            steps=many,
            name=f"synthetic-{number}",
            seed=seed + number,
        )
        for number, kind in enumerate(generator or [], start=1)
    ]
    phases += [
        public_phase(settings, _named(path, found, declared_by), steps=many, name=name)
        for path, (name, found) in zip(public or [], images.items(), strict=True)
    ]
    from diffusion import pretraining  # noqa: PLC0415 - imports torch

    written = pretraining.pretrain(
        shape,
        _training(shape, settings, parameterisation, network),
        tuple(phases),
        images,
        out,
        device=device,
        progress=_said,
    )
    _show(written, out, as_json=as_json)


def _settings(
    shape: PlanShape, batch_size: int | None, learning_rate: float | None
) -> Recipe:
    """Return the recipe for this size, with what is pinned."""
    found = recipe(records=1, height=shape.height, width=shape.width)
    size = found.synthetic_batch_size if batch_size is None else batch_size
    rate = found.synthetic_learning_rate if learning_rate is None else learning_rate
    checks.count(batch_size=size)
    checks.positive(learning_rate=rate)
    return replace(found, synthetic_batch_size=size, synthetic_learning_rate=rate)


def _load(public: Sequence[str]) -> dict[str, PublicImages]:
    from diffusion.data import load_public  # noqa: PLC0415 - imports torch

    return {
        f"public-{number}": load_public(path)
        for number, path in enumerate(public, start=1)
    }


def _named(path: str, images: PublicImages, declared_by: str | None) -> PublicData:
    from diffusion.data import public_digest  # noqa: PLC0415 - imports torch

    return PublicData(
        name=Path(path).name,
        digest=public_digest(images),
        declared_by=declared_by or "nobody",
    )


def _said(phase: str, done: int, steps: int) -> None:
    """Say every tenth part of a phase."""
    if done * _TIMES_SAID // steps != (done - 1) * _TIMES_SAID // steps:
        render.talk(f"{phase}: {done:,} of {steps:,} steps")


def _show(written: Pretrained, out: Path, *, as_json: bool) -> None:
    if as_json:
        render.print_json(
            {
                "path": str(out),
                "digest": written.digest,
                "weights_digest": written.weights_digest,
                "phases": [phase.model_dump(mode="json") for phase in written.phases],
            }
        )
        return
    render.talk(
        f"Wrote {out}, checkpoint {written.digest[:16]}. No record was touched."
    )
    render.talk(f"Next: privplan plan --from {out} --eps 10 --data FOLDER")


def _training(
    shape: PlanShape, settings: Recipe, parameterisation: Wrapping, network: str | None
) -> PlanTraining:
    allocation = parse(
        ALL_PRIVATE,
        dimensions=shape.dimensions,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
    )
    wishes = TrainingWishes(
        parameterisation=parameterisation,
        network=None if network is None else network_text.parse(network),
    )
    return plan_training.training_of(
        wishes, Preset(stages=ALL_PRIVATE), allocation, settings, shape
    )


def _check_sources(
    public: Sequence[str],
    generator: Sequence[Program],
    declared_by: str | None,
    out: Path,
) -> None:
    if not public and not generator:
        raise ParameterError(
            "there is nothing to learn from",
            hint="name images with --public, or a program with --generator mix",
        )
    if public and not declared_by:
        raise PolicyError(
            "nobody declares the --public images public, and reports will rest on it",
            hint="add --declared-by with a name, as in --declared-by 'data office'",
        )
    if declared_by is not None and len(declared_by) > _LONGEST_NAME:
        raise ParameterError(
            f"--declared-by has more than {_LONGEST_NAME} characters",
            hint="give a name or an office",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PolicyError(
            f"{out} exists already", hint="give --out a folder that does not exist"
        )
