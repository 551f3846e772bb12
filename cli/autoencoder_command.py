"""`privplan autoencoder`: images to latents and back, learned from public images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli import free_sources, processes, render
from cli.options import AsJson
from privplan import checks
from privplan.autoencoder import Autoencoder
from privplan.errors import ParameterError, PolicyError
from privplan.plan import PlanShape, PublicPhase, SyntheticPhase

if TYPE_CHECKING:
    from diffusion.data import PublicImages

_CODES = 256


def autoencoder(
    out: Annotated[Path, typer.Option(help="A fresh folder for the autoencoder.")],
    *,
    public: Annotated[
        list[str] | None,
        typer.Option(help="Images declared public, in any form of --data; repeated."),
    ] = None,
    generator: Annotated[
        list[free_sources.Program] | None,
        typer.Option(help="Images drawn by a program; repeated, learned from first."),
    ] = None,
    declared_by: Annotated[
        str | None, typer.Option(help="Who says that the images are public.")
    ] = None,
    from_diffusers: Annotated[
        Path | None,
        typer.Option(
            "--from-diffusers",
            help="Take the AutoencoderKL of this folder, which diffusers wrote.",
        ),
    ] = None,
    trained_on: Annotated[
        str, typer.Option(help="What the --from-diffusers weights learned from.")
    ] = "images named nowhere",
    kind: Annotated[Literal["kl", "vq"], typer.Option(help="Which form.")] = "kl",
    factor: Annotated[int, typer.Option(help="Sides shrink by 2, 4, 8 or 16.")] = 4,
    latent_channels: Annotated[int, typer.Option(help="Of latents.")] = 4,
    width: Annotated[int, typer.Option(help="Feature channels; times 8.")] = 32,
    image_size: Annotated[
        int, typer.Option(help="Side of the images to learn from, in pixels.")
    ] = 64,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for RGB.")] = 3,
    steps: Annotated[
        int | None, typer.Option(help="Of each source; default by recipe.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step; default by recipe.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default by recipe.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of drawn images; public.")] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train an autoencoder on public images, or take one; costs no privacy.

    Private images go through it once, in memory, when a plan made with --autoencoder is
    carried out; it is never trained on them, and its latent scale is public.

    Exit code: 0 written, 1 images that cannot be read, 2 a value is not allowed, 5 the
    folder holds something, or nobody declares the images public.
    """
    free_sources.check_out(out)
    if from_diffusers is not None:
        _show(
            _adopted(from_diffusers, out, declared_by, trained_on), out, as_json=as_json
        )
        return
    free_sources.check_sources(public or [], generator or [], declared_by)
    checks.count(channels=channels, image_size=image_size)
    _check_shape(factor, latent_channels, width, image_size)
    shape = PlanShape(channels=channels, height=image_size, width=image_size, classes=1)
    settings = free_sources.settings(shape, batch_size, learning_rate)
    many = settings.synthetic_steps if steps is None else steps
    checks.count(steps=many)
    images = free_sources.load(public or [])
    phases = free_sources.phases(
        settings, generator or [], images, public or [], declared_by, many, seed
    )
    written = _trained(
        shape,
        {
            "kind": kind,
            "channels": channels,
            "latent_channels": latent_channels,
            "factor": factor,
            "base_width": width,
            "codes": _CODES if kind == "vq" else 1,
        },
        [(phase, images.get(phase.name)) for phase in phases],
        out,
        processes.device_here(device),
    )
    _show(written, out, as_json=as_json)


def _check_shape(factor: int, latent_channels: int, width: int, side: int) -> None:
    checks.count(latent_channels=latent_channels)
    if factor not in (2, 4, 8, 16) or side % factor:
        raise ParameterError(
            f"--factor is {factor}, but it must be 2, 4, 8 or 16 and divide the side "
            f"{side}",
            hint="give --factor 4, and an --image-size that it divides",
        )
    if not 8 <= width <= 1024 or width % 8:
        raise ParameterError(
            f"--width is {width}, but it must be a multiple of 8",
            hint="give --width 16 or 32",
        )


def _adopted(
    folder: Path, out: Path, declared_by: str | None, trained_on: str
) -> Autoencoder:
    if not declared_by:
        raise PolicyError(
            "nobody declares public what the weights learned from, and reports will "
            "rest on it",
            hint="add --declared-by with a name, as in --declared-by 'data office'",
        )
    free_sources.check_name("--declared-by", declared_by)
    free_sources.check_name("--trained-on", trained_on)
    from diffusion import autoencoding  # noqa: PLC0415 - imports torch

    return autoencoding.adopt(
        folder, out, declared_by=declared_by, data_name=trained_on
    )


def _show(written: Autoencoder, out: Path, *, as_json: bool) -> None:
    if as_json:
        render.print_json(
            {
                "path": str(out),
                "digest": written.digest,
                "kind": written.kind,
                "factor": written.factor,
                "latent_channels": written.latent_channels,
                "scale": written.scale,
            }
        )
        return
    render.talk(
        f"Wrote {out}, autoencoder {written.digest[:16]}. No record was touched."
    )
    render.talk(f"Next: privplan plan --autoencoder {out} --eps 10 --data FOLDER")


def _trained(
    shape: PlanShape,
    wanted: dict[str, Any],
    phases: Sequence[tuple[SyntheticPhase | PublicPhase, PublicImages | None]],
    out: Path,
    device: str,
) -> Autoencoder:
    from diffusion import autoencoding, pools  # noqa: PLC0415 - imports torch

    learned: list[tuple[SyntheticPhase | PublicPhase, pools.Pool]] = []
    for phase, images in phases:
        if isinstance(phase, SyntheticPhase):
            learned.append((phase, pools.SyntheticPool(shape, phase)))
        elif images is not None:
            learned.append((phase, pools.PublicPool(shape, phase, images, seed=1)))
    return autoencoding.train(
        autoencoding.Shape(**wanted),
        learned,
        out,
        device=device,
        progress=free_sources.said,
    )
