"""A folder that diffusers wrote: configuration, weights and timesteps of a network.

    folder                              or the folder of a pipeline
    ├── config.json                     ├── unet/ or transformer/   as on the left
    ├── scheduler_config.json           └── scheduler/
    └── diffusion_pytorch_model             └── scheduler_config.json
        .safetensors, or an index
        and several files

Only safetensors are read (`weight_files`), and nothing is fetched. What cannot be
trained record by record is refused here, by name and with what to do.

Edges: reads the folder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from torch import Tensor

from diffusion import weight_files
from privplan.borrowed import (
    BetaSchedule,
    BorrowedKind,
    PlanSchedule,
    Prediction,
    sigmas,
)
from privplan.errors import DataError, ParameterError

WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
CONFIG: Final = "config.json"
SCHEDULE: Final = "scheduler_config.json"
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
        digest: SHA-256 of the weights, as `weight_files` takes it.
        plan: Digest of the plan they were trained under, where they say so.
    """

    kind: str
    settings: dict[str, Any]
    schedule: PlanSchedule
    tensors: dict[str, Tensor]
    digest: str
    plan: str | None


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
        tensors=weight_files.read_tensors(path),
        digest=weight_files.digest(path),
        plan=weight_files.plan_of(path),
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
    if not path.parent.is_dir():
        raise DataError(f"'{path.parent}' is no folder", hint="check the path")
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
