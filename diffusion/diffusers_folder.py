"""A folder that diffusers wrote, read into a checkpoint that plans can begin from.

    folder                              or the folder of a pipeline
    ├── config.json                     ├── unet/ or transformer/   as on the left
    ├── scheduler_config.json           └── scheduler/
    └── diffusion_pytorch_model             └── scheduler_config.json
        .safetensors

Only safetensors are read: other formats run code when they are opened. Nothing is
fetched. What cannot be trained record by record is refused here, by name and with what
to do; what passes is tried against plain autograd again before every run (preflight).

The checkpoint says that somebody else trained the weights, and who declares that what
they learned from is public: nobody here has seen it.

Edges: reads the folder, writes the checkpoint.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion import pretrained
from diffusion.borrowed import BorrowedNetwork, assemble, layer_table
from diffusion.network import NetworkConfig
from privplan import canonical, events
from privplan.borrowed import (
    BetaSchedule,
    BorrowedKind,
    ElsewherePhase,
    PlanBorrowed,
    PlanSchedule,
    Prediction,
    sigmas,
)
from privplan.code_identity import source_digest
from privplan.errors import DataError, ParameterError
from privplan.plan import PlanShape, PlanTraining
from privplan.pretrained import FORMAT, Pretrained
from privplan.stages import Sharing
from privplan.version import __version__

WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
CONFIG: Final = "config.json"
SCHEDULE: Final = "scheduler_config.json"
_SEED: Final = 20240607
_UNKNOWN: Final = "0" * 64
_ROW = "class_embedding.weight"
_CURE_CLASS = (
    "give a folder of UNet2DModel, UNet2DConditionModel or DiTTransformer2DModel"
)
_REFUSED: Final = {
    "addition_embed_type": (None,),
    "encoder_hid_dim": (None,),
    "class_embed_type": (None,),
    "time_embedding_type": (None, "positional"),
    "center_input_sample": (None, False),
    "time_cond_proj_dim": (None,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a folder of diffusers holds.

    Attributes:
        kind: The network's class.
        settings: Its configuration, without what the library notes for itself.
        schedule: Its timesteps.
        tensors: Its weights, by its own names.
        digest: SHA-256 of the file of weights.
    """

    kind: str
    settings: dict[str, Any]
    schedule: PlanSchedule
    tensors: dict[str, Tensor]
    digest: str


def adopt(
    folder: Path, out: Path, *, declared_by: str, data_name: str, classes: int | None
) -> Pretrained:
    """Write a checkpoint from a folder that diffusers wrote.

    Args:
        folder: Of a network or a pipeline.
        out: Where the checkpoint goes.
        declared_by: Who says that what the weights learned from is public.
        data_name: What that is called.
        classes: Of the images it is for; None takes the network's own number.

    Raises:
        DataError: The folder cannot be read, or holds no such network.
        ParameterError: The network cannot be trained record by record.
        PolicyError: diffusers is not installed.
    """
    found = read(folder)
    own = own_classes(found)
    shape = _shape(found, own if classes is None else classes)
    settings, tensors = _with_no_class(found, shape.classes)
    config = NetworkConfig(
        channels=shape.channels,
        height=shape.height,
        width=shape.width,
        classes=shape.classes,
    )
    network = assemble(found.kind, settings, config, _SEED)
    _load(network, tensors, folder)
    described = PlanBorrowed(
        library="diffusers",
        kind=found.kind,  # type: ignore[arg-type]  # `read` lets no other pass
        config=canonical_text(settings),
        schedule=found.schedule,
        layers=layer_table(network),
        seed=_SEED,
    )
    document = Pretrained(
        format=FORMAT,
        privplan_version=__version__,
        shape=shape,
        phases=(
            ElsewherePhase(
                kind="elsewhere",
                name="elsewhere",
                steps=1,
                event=events.NoOpEvent(),
                data_name=data_name,
                weights_digest=found.digest,
                declared_by=declared_by,
            ),
        ),
        training=_training(described),
        code_digest=source_digest(),
        weights_digest=_UNKNOWN,
        digest=_UNKNOWN,
    )
    return pretrained.write(document, network.state_dict(), out)


def read(folder: Path) -> Found:
    """Read a folder that diffusers wrote; see the module docstring.

    Raises:
        DataError: A file is missing or damaged, or the class is none that is known.
        ParameterError: The network or its schedule cannot be used here.
    """
    inner = next(
        (folder / n for n in ("unet", "transformer") if (folder / n).is_dir()), folder
    )
    settings = read_json(inner / CONFIG)
    kind = str(settings.get("_class_name"))
    if kind not in get_args(BorrowedKind):
        raise ParameterError(_no_denoiser(kind), hint=_cure(kind))
    for name, allowed in _REFUSED.items():
        if settings.get(name) not in allowed:
            raise ParameterError(
                f"this {kind} has {name} = {str(settings[name])[:40]}, which is not "
                "supported",
                hint="use a network that is conditioned on timestep and class alone",
            )
    scheduler = next(
        (
            path
            for path in (
                inner / SCHEDULE,
                folder / "scheduler" / SCHEDULE,
                folder.parent / "scheduler" / SCHEDULE,
            )
            if path.is_file()
        ),
        inner / SCHEDULE,
    )
    path = inner / WEIGHTS
    return Found(
        kind=kind,
        settings={k: v for k, v in settings.items() if not k.startswith("_")},
        schedule=schedule_of(read_json(scheduler)),
        tensors=read_tensors(path),
        digest=canonical.file_digest(path),
    )


def schedule_of(settings: dict[str, Any]) -> PlanSchedule:
    """Read a noise schedule from a scheduler's configuration.

    Raises:
        ParameterError: It is one that timesteps alone do not describe.
    """
    betas = settings.get("beta_schedule", "linear")
    prediction = settings.get("prediction_type", "epsilon")
    for what, value, known in (
        ("beta_schedule", betas, get_args(BetaSchedule)),
        ("prediction_type", prediction, get_args(Prediction)),
        ("trained_betas", settings.get("trained_betas"), (None,)),
        (
            "rescale_betas_zero_snr",
            settings.get("rescale_betas_zero_snr"),
            (None, False),
        ),
    ):
        if value not in known:
            raise ParameterError(
                f"the scheduler has {what} = {str(value)[:40]}, which is not supported",
                hint=f"known are {', '.join(str(one) for one in known)}",
            )
    found = PlanSchedule(
        timesteps=int(settings.get("num_train_timesteps", 1000)),
        betas=betas,
        beta_start=float(settings.get("beta_start", 0.0001)),
        beta_end=float(settings.get("beta_end", 0.02)),
        prediction=prediction,
    )
    sigmas(found)
    return found


def own_classes(found: Found) -> int:
    """Return the number of classes a network was made for; 1 if it has none."""
    if found.kind == "DiTTransformer2DModel":
        return int(found.settings.get("num_embeds_ada_norm") or 1000)
    if found.kind == "UNet2DModel":
        return int(found.settings.get("num_class_embeds") or 1)
    return 1


def canonical_text(settings: dict[str, Any]) -> str:
    """Write a configuration as a plan holds it: the same text for the same content."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


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


def _training(described: PlanBorrowed) -> PlanTraining:
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
    )


def _no_denoiser(kind: str) -> str:
    return f"the folder holds a {kind[:60]}, which cannot be trained here as a denoiser"


def _cure(kind: str) -> str:
    if kind in {"AutoencoderKL", "VQModel"}:
        return "an autoencoder stays frozen: name it with --autoencoder"
    return _CURE_CLASS


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        DataError: It is missing, or not JSON.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing or not JSON",
            hint="give a folder that diffusers wrote with save_pretrained, and the "
            "scheduler_config.json of its scheduler in it",
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no object", hint="get an unchanged copy")
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read weights as float32.

    Raises:
        DataError: They are missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} is missing or damaged",
            hint="save the network whole, as safetensors: save_pretrained(folder, "
            "safe_serialization=True, max_shard_size='100GB')",
        ) from error
