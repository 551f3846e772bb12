"""Released weights in the formats that other programs read.

    safetensors   model.safetensors              averaged weights, of any plan
    diffusers     config.json                    a borrowed network, as diffusers
                  diffusion_pytorch_model          itself would save it; with the
                    .safetensors                   embedding of its classes beside it
                  scheduler_config.json            where it has one
                  token.safetensors
    both          README.md                      the model card, with the claim

Thin products are merged into the layers they belong to. The digest of the plan, of the
signed report and the claim go into the metadata of every file of weights, so that they
travel with it.

Reads released weights and nothing else, so it costs no privacy.

Edges: reads a run folder, writes another.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from diffusion import checkpoint
from diffusion.adapters import merged
from diffusion.blueprint import network_of
from diffusion.borrowed import BorrowedNetwork
from diffusion.diffusers_folder import CONFIG, SCHEDULE, WEIGHTS, canonical_text
from diffusion.parts import parts_of
from privplan import canonical, files
from privplan.borrowed import PlanBorrowed, PlanSchedule
from privplan.errors import DataError, IntegrityError, ParameterError
from privplan.plan import GaussianPhase, Plan

Format = Literal["diffusers", "safetensors"]
MODEL: str = "model.safetensors"
TOKEN: str = "token.safetensors"  # noqa: S105 - of a network, not of a person
CARD: str = "README.md"


def export(
    plan: Plan,
    run: Path,
    out: Path,
    *,
    form: Format,
    facts: Mapping[str, str],
    card: str,
) -> tuple[Path, ...]:
    """Write the released weights of a run, with the claim in them and beside them.

    Args:
        plan: The run's plan.
        run: The run folder.
        out: Where to; made if it is not there.
        form: Which format.
        facts: What goes into the metadata; public.
        card: The model card.

    Returns:
        The files, the weights first.

    Raises:
        DataError: The run has released no weights, or they are damaged.
        ParameterError: The format cannot hold what the plan trains.
    """
    networks = {name: network_of(plan).eval() for name in parts_of(plan)}
    path = run / checkpoint.MODEL_NAME
    if not path.exists():
        raise DataError(
            f"the run in {run} has released no weights",
            hint=f"go on with it first: privplan train {run} --resume",
        )
    checkpoint.load_model(path, networks, plan_digest=plan.digest)
    plain = {name: merged(network) for name, network in networks.items()}
    metadata = {"format": "pt", **facts}
    contents: dict[str, bytes] = {}
    if form == "safetensors":
        tensors = {
            f"{part}.{name}": tensor
            for part, network in plain.items()
            for name, tensor in network.state_dict().items()
        }
        contents[MODEL] = _packed(tensors, metadata)
    else:
        contents |= _diffusers(plan, plain, metadata)
    contents[CARD] = card.encode()
    files.make_folder(out)
    for name, content in contents.items():
        files.write_bytes(out / name, content, what="export")
    return tuple(out / name for name in contents)


def check_released(run: Path, subjects: Mapping[str, str]) -> None:
    """Require that the weights are those that a signed report speaks of.

    Args:
        run: The run folder.
        subjects: SHA-256 of each file the report is about.

    Raises:
        IntegrityError: They are others, or the report does not speak of them.
    """
    path = run / checkpoint.MODEL_NAME
    if not path.is_file() or canonical.file_digest(path) != subjects.get(
        checkpoint.MODEL_NAME
    ):
        raise IntegrityError(
            f"the report does not speak of the weights in {run}",
            hint=f"write it again: privplan report {run}",
        )


def scheduler_settings(schedule: PlanSchedule) -> dict[str, Any]:
    """Write a schedule as the configuration of a scheduler of diffusers."""
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": schedule.timesteps,
        "beta_schedule": schedule.betas,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "prediction_type": schedule.prediction,
        "clip_sample": False,
        "set_alpha_to_one": False,
    }


def _diffusers(
    plan: Plan, networks: Mapping[str, Any], metadata: Mapping[str, str]
) -> dict[str, bytes]:
    described = plan.training.network
    if not isinstance(described, PlanBorrowed):
        raise ParameterError(
            "this plan trains a network of privplan, which diffusers does not have",
            hint="use --format safetensors",
        )
    if len(networks) != 1 or plan.phases_of(GaussianPhase):
        raise ParameterError(
            "this plan answers with more than one network, and diffusers holds one",
            hint="use --format safetensors",
        )
    (network,) = networks.values()
    assert isinstance(network, BorrowedNetwork)  # noqa: S101 - narrows the type
    settings = {"_class_name": described.kind, **json.loads(described.config)}
    schedule = scheduler_settings(described.schedule)
    found = {
        WEIGHTS: _packed(network.net.state_dict(), metadata),
        CONFIG: canonical_text(settings).encode(),
        SCHEDULE: canonical_text(schedule).encode(),
    }
    if network.token is not None:
        found[TOKEN] = _packed(network.token.state_dict(), metadata)
    return found


def _packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return save(ready, metadata=dict(metadata))
