"""What commands that learn from public images ask for, check and load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cli import render
from privplan import checks
from privplan.errors import ParameterError, PolicyError
from privplan.free_phases import PublicData, public_phase, synthetic_phase
from privplan.plan import PlanShape, PublicPhase, SyntheticPhase
from privplan.recipes import Recipe, recipe

if TYPE_CHECKING:
    from diffusion.data import PublicImages

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


def settings(
    shape: PlanShape, batch_size: int | None, learning_rate: float | None
) -> Recipe:
    """Return the recipe for this size, with what is pinned."""
    found = recipe(records=1, height=shape.height, width=shape.width)
    size = found.synthetic_batch_size if batch_size is None else batch_size
    rate = found.synthetic_learning_rate if learning_rate is None else learning_rate
    checks.count(batch_size=size)
    checks.positive(learning_rate=rate)
    return replace(found, synthetic_batch_size=size, synthetic_learning_rate=rate)


def load(
    public: Sequence[str], *, image_size: int | None = None
) -> dict[str, PublicImages]:
    """Load the images declared public, by the names of their phases.

    Args:
        public: In any form of --data.
        image_size: Side they are brought to; None leaves them as they are.
    """
    from diffusion.data import load_public  # noqa: PLC0415 - imports torch

    return {
        f"public-{number}": load_public(path, image_size=image_size)
        for number, path in enumerate(public, start=1)
    }


def named(path: str, images: PublicImages, declared_by: str | None) -> PublicData:
    """Name public images as a plan does: by digest, and by who declares it."""
    from diffusion.data import public_digest  # noqa: PLC0415 - imports torch

    return PublicData(
        name=Path(path).name,
        digest=public_digest(images),
        declared_by=declared_by or "nobody",
    )


def said(phase: str, done: int, steps: int) -> None:
    """Say every tenth part of a phase."""
    if done * _TIMES_SAID // steps != (done - 1) * _TIMES_SAID // steps:
        render.talk(f"{phase}: {done:,} of {steps:,} steps")


def check_sources(
    public: Sequence[str],
    generator: Sequence[Program],
    declared_by: str | None,
) -> None:
    """Refuse a run that has nothing to learn from, or nobody who answers for it."""
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
    check_name("--declared-by", declared_by)


def check_name(option: str, name: str | None) -> None:
    """Refuse a name that no document could hold."""
    if name is not None and not 0 < len(name) <= _LONGEST_NAME:
        raise ParameterError(
            f"{option} has no character, or more than {_LONGEST_NAME}",
            hint="give a name or an office",
        )


def check_out(out: Path) -> None:
    """Refuse a folder that holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PolicyError(
            f"{out} exists already", hint="give --out a folder that does not exist"
        )


def phases(
    settings: Recipe,
    generator: Sequence[Program],
    images: dict[str, PublicImages],
    public: Sequence[str],
    declared_by: str | None,
    steps: int,
    seed: int,
) -> tuple[SyntheticPhase | PublicPhase, ...]:
    """Return the phases that learn from drawn and from public images, in order."""
    drawn: list[SyntheticPhase | PublicPhase] = [
        synthetic_phase(
            settings,
            kind.value,
            steps=steps,
            name=f"synthetic-{number}",
            seed=seed + number,
        )
        for number, kind in enumerate(generator, start=1)
    ]
    seen = [
        public_phase(settings, named(path, found, declared_by), steps=steps, name=name)
        for path, (name, found) in zip(public, images.items(), strict=True)
    ]
    return (*drawn, *seen)
