"""A network of diffusers becomes a checkpoint that plans can begin from.

What passes here is tried against plain autograd again before every run (preflight). The
checkpoint says that somebody else trained the weights, and who declares that what they
learned from is public: nobody here has seen it. The same is said of a LoRA adapter that
is merged into the weights on the way. Weights that privplan once exported say under
which plan they were trained, and so does the checkpoint.

Edges: reads the folders, writes the checkpoint.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from diffusion import peft_folder, pretrained, text_folder
from diffusion.borrowed import BorrowedNetwork, assemble, layer_table
from diffusion.diffusers_folder import Found, canonical_text, own_classes, read
from diffusion.network import NetworkConfig
from diffusion.peft_folder import AdapterSource
from diffusion.pipeline_parts import TextSource, latent_for, text_of
from privplan import events
from privplan.autoencoder import Autoencoder
from privplan.borrowed import (
    ElsewherePhase,
    PlanBorrowed,
    PlanText,
    sigmas,
)
from privplan.code_identity import source_digest
from privplan.errors import DataError, ParameterError
from privplan.plan import PlanLatent, PlanShape, PlanTraining
from privplan.pretrained import FORMAT, Pretrained
from privplan.stages import Sharing
from privplan.version import __version__

_SEED: Final = 20240607
_UNKNOWN: Final = "0" * 64
_LONGEST = 200
_SHOWN = 16
_ROW = "class_embedding.weight"


def adopt(  # noqa: PLR0913 - one for each thing a pipeline is made of
    folder: Path,
    out: Path,
    *,
    declared_by: str,
    data_name: str,
    classes: int | None,
    adapter: AdapterSource | None = None,
    text: TextSource | None = None,
    autoencoder: Autoencoder | None = None,
) -> Pretrained:
    """Write a checkpoint from a folder that diffusers wrote.

    Args:
        folder: Of a network or a pipeline.
        out: Where the checkpoint goes.
        declared_by: Who says that what the weights learned from is public.
        data_name: What that is called.
        classes: Of the images it is for; None takes the network's own number.
        adapter: What is merged into the weights, and declared public by the same.
        text: What encodes captions, for a network that reads them instead of classes.
        autoencoder: What gives the latents that the network is for; None for images.

    Raises:
        DataError: A folder cannot be read, or holds no such network or adapter.
        ParameterError: The network cannot be trained record by record, the adapter is
            of another kind or for another network, or the network does not take what
            the text encoder gives.
        PolicyError: diffusers or transformers is not installed.
    """
    found = read(folder)
    said = _learned_from(data_name, found.plan)
    phases: tuple[ElsewherePhase, ...] = (
        _elsewhere("elsewhere", found.digest, declared_by, said),
    )
    if adapter is not None:
        found, merged = _with_adapter(found, adapter, declared_by)
        phases = (*phases, merged)
    known = None if text is None else text_of(found, text, declared_by, classes)
    own = own_classes(found)
    _check_classes(found, classes)
    shape = _shape(found, own if classes is None else classes)
    settings, tensors = _with_no_class(found, shape.classes)
    config = NetworkConfig(
        channels=shape.channels,
        height=shape.height,
        width=shape.width,
        classes=shape.classes,
    )
    network = assemble(found.kind, settings, config, _SEED, known)
    _load(network, tensors, folder)
    described = PlanBorrowed(
        library="diffusers",
        kind=found.kind,  # type: ignore[arg-type]  # `read` lets no other pass
        config=canonical_text(settings),
        schedule=found.schedule,
        layers=layer_table(network),
        seed=_SEED,
    )
    training = _training(described, known, latent_for(autoencoder, shape))
    document = _document(shape, training, phases)
    text_folder.keep(None if text is None else text.folder, out)
    return pretrained.write(document, network.state_dict(), out)


def _with_adapter(
    found: Found, adapter: AdapterSource, declared_by: str
) -> tuple[Found, ElsewherePhase]:
    """Merge an adapter into weights; say where it came from."""
    added = peft_folder.read(adapter.folder)
    merged = peft_folder.merge(found.tensors, added, found.kind)
    said = _learned_from(adapter.data_name, added.plan)
    phase = _elsewhere("adapter", added.digest, declared_by, said)
    return replace(found, tensors=merged), phase


def _learned_from(data_name: str, plan: str | None) -> str:
    """Return what weights learned from; with the records, where a plan is known.

    Weights that cost somebody privacy are not as public as images: whoever reads the
    report must see that another claim stands behind it.

    Example:
        >>> _learned_from("photographs", None)
        'photographs'
        >>> _learned_from("photographs", "ab" * 32)
        'photographs, and private records under plan abababababababab'
    """
    if plan is None:
        return data_name
    records = f", and private records under plan {plan[:_SHOWN]}"
    return data_name[: _LONGEST - len(records)] + records


def _elsewhere(
    name: str, digest: str, declared_by: str, data_name: str
) -> ElsewherePhase:
    return ElsewherePhase(
        kind="elsewhere",
        name=name,
        steps=1,
        event=events.NoOpEvent(),
        data_name=data_name,
        weights_digest=digest,
        declared_by=declared_by,
    )


def _document(
    shape: PlanShape, training: PlanTraining, phases: tuple[ElsewherePhase, ...]
) -> Pretrained:
    return Pretrained(
        format=FORMAT,
        privplan_version=__version__,
        shape=shape,
        phases=phases,
        training=training,
        code_digest=source_digest(),
        weights_digest=_UNKNOWN,
        digest=_UNKNOWN,
    )


def _check_classes(found: Found, classes: int | None) -> None:
    """Refuse classes for a U-Net that has no way to be told one.

    Raises:
        ParameterError: Its samples would carry labels that mean nothing.
    """
    told = found.kind != "UNet2DModel" or found.settings.get("num_class_embeds")
    if not told and classes not in (None, 1):
        raise ParameterError(
            f"--classes is {classes}, but this UNet2DModel has no num_class_embeds and "
            "cannot be told a class",
            hint="give --classes 1, or a network with num_class_embeds",
        )


def _shape(found: Found, classes: int) -> PlanShape:
    settings = found.settings
    size = settings.get("sample_size")
    sides = [size, size] if isinstance(size, int) else list(size or [])
    channels, out = settings["in_channels"], settings.get("out_channels")
    if len(sides) != len(("height", "width")):
        raise ParameterError(
            "the network does not say the size of its images (sample_size)",
            hint="write sample_size into its config.json",
        )
    if out not in (None, channels, 2 * channels):
        raise ParameterError(
            f"the network takes {channels} channels and answers {out}",
            hint="use a network that answers as many channels as it takes",
        )
    return PlanShape(
        channels=channels, height=sides[0], width=sides[1], classes=classes
    )


def _with_no_class(
    found: Found, classes: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give a U-Net with classes a row for "no class", where it has none.

    Raises:
        ParameterError: The network was made for another number of classes.
    """
    settings, tensors = dict(found.settings), dict(found.tensors)
    own = own_classes(found)
    if found.kind == "UNet2DConditionModel" or (
        found.kind == "UNet2DModel" and not settings.get("num_class_embeds")
    ):
        return settings, tensors
    if found.kind == "UNet2DModel" and classes == own:
        rows = tensors.get(_ROW, torch.zeros(own, 1))
        tensors[_ROW] = torch.cat([rows, torch.zeros_like(rows[:1])])
        settings["num_class_embeds"] = own + 1
    elif classes != own - (found.kind == "UNet2DModel"):
        raise ParameterError(
            f"the network was made for {own} classes, not for {classes}",
            hint=f"give --classes {own}",
        )
    return settings, tensors


def _load(network: BorrowedNetwork, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load the weights; all of them, and no other."""
    try:
        network.net.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"the weights in {folder} do not fit the configuration beside them",
            hint="load and save it once with diffusers: save_pretrained(folder)",
        ) from error


def _training(
    described: PlanBorrowed, text: PlanText | None, latent: PlanLatent | None
) -> PlanTraining:
    levels = sigmas(described.schedule)
    return PlanTraining(
        network=described,
        parameterisation="timesteps",
        sharing=Sharing.SEQUENTIAL,
        p_mean=0.0,
        p_std=1.0,
        sigma_data=0.5,
        sigma_min=levels[0],
        sigma_max=levels[-1],
        mixture=None,
        flip=False,
        shift=0,
        label_dropout=0.1,
        ema_decay=0.98,
        tune="all",
        optimiser="adam",
        latent=latent,
        text=text,
    )
