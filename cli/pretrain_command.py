"""`privplan pretrain`: a network that learned from public images alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli import free_sources, processes, render
from cli.options import AsJson, LatentSpaceFolder, Network
from privplan import autoencoder as autoencoders
from privplan import checks, network_text, plan_training
from privplan.autoencoder import latent_of
from privplan.errors import ParameterError, PolicyError
from privplan.plan import PlanLatent, PlanShape, PlanTraining
from privplan.plan_training import TrainingWishes
from privplan.presets import Preset
from privplan.pretrained import Pretrained
from privplan.recipes import Recipe
from privplan.stage_text import ALL_PRIVATE, parse

if TYPE_CHECKING:
    from diffusion.data import PublicImages
    from diffusion.pipeline_parts import TextSource

Wrapping = Literal["edm", "v", "vp", "ve"]
_CLASSES = 10


def pretrain(
    out: Annotated[Path, typer.Option(help="A fresh folder for the checkpoint.")],
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
        str | None, typer.Option(help="Who says that the --public images are public.")
    ] = None,
    from_diffusers: Annotated[
        Path | None,
        typer.Option(
            "--from-diffusers",
            help="Take the weights of this folder, which diffusers wrote, instead.",
        ),
    ] = None,
    trained_on: Annotated[
        str, typer.Option(help="What the --from-diffusers weights learned from.")
    ] = "images named nowhere",
    adapter: Annotated[
        Path | None,
        typer.Option(help="A LoRA adapter of peft, merged into --from-diffusers."),
    ] = None,
    adapter_trained_on: Annotated[
        str, typer.Option(help="What the --adapter learned from.")
    ] = "images named nowhere",
    text_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Let the --from-diffusers network read captions through the encoder "
            "and tokeniser in this folder, which transformers wrote."
        ),
    ] = None,
    text_trained_on: Annotated[
        str, typer.Option(help="What the --text-encoder learned from.")
    ] = "texts named nowhere",
    image_size: Annotated[
        int, typer.Option(help="Side of the images it is for, in pixels.")
    ] = 28,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for RGB.")] = 1,
    classes: Annotated[
        int | None,
        typer.Option(help="Labels of the images it is for; default 10, or its own."),
    ] = None,
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
    autoencoder: LatentSpaceFolder = None,
    seed: Annotated[int, typer.Option(help="Of drawn images; public.")] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a network on public images, for plans to begin from; costs no privacy.

    Exit code: 0 written, 1 images that cannot be read, 2 a value is not allowed, 5 the
    folder holds something, or nobody declares the images public.
    """
    free_sources.check_out(out)
    if from_diffusers is not None:
        _check_alone(public, generator, network, steps)
        text = _text_source(text_encoder, text_trained_on)
        beside = text, adapter, adapter_trained_on, autoencoder
        written = _adopted(
            from_diffusers, out, declared_by, trained_on, classes, beside
        )
        return _show(written, out, as_json=as_json)
    _check_no_adapter(adapter)
    _check_no_text(text_encoder)
    free_sources.check_sources(public or [], generator or [], declared_by)
    labels = _CLASSES if classes is None else classes
    checks.count(channels=channels, image_size=image_size, classes=labels)
    square = {"height": image_size, "width": image_size}
    shape = PlanShape(channels=channels, classes=labels, **square)
    settings = free_sources.settings(shape, batch_size, learning_rate)
    many = settings.synthetic_steps if steps is None else steps
    checks.count(steps=many)
    images = free_sources.load(
        public or [], image_size=None if autoencoder is None else image_size
    )
    latent: PlanLatent | None = None
    if autoencoder is not None:
        shape, latent, images = _as_latents(shape, images, autoencoder, generator)
    phases = free_sources.phases(
        settings, generator or [], images, public or [], declared_by, many, seed
    )
    from diffusion import pretraining  # noqa: PLC0415 - imports torch

    written = pretraining.pretrain(
        shape,
        _training(shape, settings, parameterisation, network, latent),
        tuple(phases),
        images,
        out,
        device=processes.device_here(device),
        progress=free_sources.said,
    )
    return _show(written, out, as_json=as_json)


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
    column = "" if written.training.text is None else " --caption-column NAME"
    render.talk(f"Next: privplan plan --from {out} --eps 10 --data FOLDER{column}")


def _training(
    shape: PlanShape,
    settings: Recipe,
    parameterisation: Wrapping,
    network: str | None,
    latent: PlanLatent | None,
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
        latent=latent,
    )
    return plan_training.training_of(
        wishes, Preset(stages=ALL_PRIVATE), allocation, settings, shape
    )


def _check_alone(*others: object) -> None:
    """Refuse to both train weights and take those of others."""
    if any(others):
        raise ParameterError(
            "--from-diffusers takes weights as they are; other sources were named too",
            hint="leave --public, --generator, --network and --steps away; a plan can "
            "go on training on public images",
        )


def _check_no_adapter(adapter: Path | None) -> None:
    if adapter is not None:
        raise ParameterError(
            "--adapter is merged into the weights of --from-diffusers, which is not "
            "given",
            hint="add --from-diffusers with the network the adapter was trained on",
        )


def _adopted(
    folder: Path,
    out: Path,
    declared_by: str | None,
    trained_on: str,
    classes: int | None,
    beside: tuple[TextSource | None, Path | None, str, Path | None],
) -> Pretrained:
    """Write a checkpoint of weights that somebody else trained."""
    if not declared_by:
        raise PolicyError(
            "nobody declares public what the weights learned from, and reports will "
            "rest on it",
            hint="add --declared-by with a name, as in --declared-by 'data office'",
        )
    free_sources.check_name("--declared-by", declared_by)
    free_sources.check_name("--trained-on", trained_on)
    if classes is not None:
        checks.count(classes=classes)
    text, adapter, adapter_name, autoencoder = beside
    if adapter is not None:
        free_sources.check_name("--adapter-trained-on", adapter_name)
    from diffusion import adopting, peft_folder  # noqa: PLC0415 - imports torch

    return adopting.adopt(
        folder,
        out,
        declared_by=declared_by,
        data_name=trained_on,
        classes=classes,
        adapter=(
            None
            if adapter is None
            else peft_folder.AdapterSource(folder=adapter, data_name=adapter_name)
        ),
        text=text,
        autoencoder=None if autoencoder is None else autoencoders.read(autoencoder),
    )


def _check_no_text(text_encoder: Path | None) -> None:
    if text_encoder is not None:
        raise ParameterError(
            "--text-encoder goes with a network that reads text, and none is taken",
            hint="name one with --from-diffusers; networks trained here know classes",
        )


def _text_source(folder: Path | None, trained_on: str) -> TextSource | None:
    """Name a text encoder, if there is one, and what it learned from."""
    if folder is None:
        return None
    free_sources.check_name("--text-trained-on", trained_on)
    from diffusion.pipeline_parts import TextSource  # noqa: PLC0415 - imports torch

    return TextSource(folder=folder, data_name=trained_on)


def _as_latents(
    shape: PlanShape,
    images: dict[str, PublicImages],
    folder: Path,
    generator: Sequence[free_sources.Program] | None,
) -> tuple[PlanShape, PlanLatent, dict[str, PublicImages]]:
    """Bring public images to the latents of an autoencoder."""
    if generator:
        raise ParameterError(
            "--generator draws images, and --autoencoder learns from latents",
            hint="train the autoencoder with --generator, and this on --public images",
        )
    from diffusion import latents  # noqa: PLC0415 - imports torch

    space = latents.load(folder)
    found: dict[str, PublicImages] = {
        name: latents.encode_public(one, space) for name, one in images.items()
    }
    return space.document.latent_shape(shape), latent_of(space.document, shape), found
