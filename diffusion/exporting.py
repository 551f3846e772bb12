"""Released weights in the formats that other programs read.

    safetensors   model.safetensors              averaged weights, of any plan
    diffusers     config.json                    a borrowed network, as diffusers
                  diffusion_pytorch_model          itself would save it; with the
                    .safetensors                   embedding of its classes beside it
                  scheduler_config.json            where it has one
                  token.safetensors
    peft          adapter_config.json            thin products alone, as peft itself
                  adapter_model.safetensors        would save them; with the embedding
                  token.safetensors                of classes, and the network they
                  base/                            belong to, where that is new
    all           README.md                      the model card, with the claim

Otherwise thin products are merged into the layers they belong to. The digest of the
plan, of the signed report and the claim go into the metadata of every file of weights,
so that they travel with it.

Reads released weights and nothing else, so it costs no privacy.

Edges: reads a run folder, writes another.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor, nn

from diffusion import checkpoint, peft_export, peft_folder
from diffusion.adapters import merged, without_products
from diffusion.blueprint import network_of
from diffusion.borrowed import BorrowedNetwork
from diffusion.diffusers_folder import CONFIG, SCHEDULE, WEIGHTS, canonical_text
from diffusion.parts import parts_of
from privplan import canonical, files
from privplan.borrowed import PlanBorrowed, PlanSchedule
from privplan.errors import DataError, IntegrityError, ParameterError
from privplan.plan import GaussianPhase, Plan

Format = Literal["diffusers", "peft", "safetensors"]
BASE: str = "base"
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
    metadata = {"format": "pt", **facts}
    contents: dict[str, bytes] = {}
    if form == "safetensors":
        tensors = {
            f"{part}.{name}": tensor
            for part, network in networks.items()
            for name, tensor in merged(network).state_dict().items()
        }
        contents[MODEL] = _packed(tensors, metadata)
    elif form == "diffusers":
        described, network = _borrowed(plan, networks)
        contents |= _diffusers(described, merged(network), metadata)
    else:
        contents |= _peft(plan, *_borrowed(plan, networks), metadata)
    contents[CARD] = card.encode()
    for name, content in contents.items():
        files.make_folder((out / name).parent)
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


def _borrowed(
    plan: Plan, networks: Mapping[str, nn.Module]
) -> tuple[PlanBorrowed, BorrowedNetwork]:
    """Return the one network of diffusers that a plan trains, and its description."""
    described = plan.training.network
    if not isinstance(described, PlanBorrowed):
        raise ParameterError(
            "this plan trains a network of privplan, which neither diffusers nor peft "
            "can build",
            hint="use --format safetensors",
        )
    if len(networks) != 1 or plan.phases_of(GaussianPhase):
        raise ParameterError(
            "this plan answers with more than one network, and diffusers holds one",
            hint="use --format safetensors",
        )
    (network,) = networks.values()
    assert isinstance(network, BorrowedNetwork)  # noqa: S101 - narrows the type
    return described, network


def _diffusers(
    described: PlanBorrowed, network: nn.Module, metadata: Mapping[str, str]
) -> dict[str, bytes]:
    """Write a network without thin products as diffusers does."""
    assert isinstance(network, BorrowedNetwork)  # noqa: S101 - narrows the type
    settings = {"_class_name": described.kind, **json.loads(described.config)}
    schedule = scheduler_settings(described.schedule)
    return {
        WEIGHTS: _packed(network.net.state_dict(), metadata),
        CONFIG: canonical_text(settings).encode(),
        SCHEDULE: canonical_text(schedule).encode(),
        **_token(network, metadata),
    }


def _token(network: BorrowedNetwork, metadata: Mapping[str, str]) -> dict[str, bytes]:
    """Write the embedding of classes as tokens, where there is one."""
    if network.token is None:
        return {}
    return {TOKEN: _packed(network.token.state_dict(), metadata)}


def _peft(
    plan: Plan,
    described: PlanBorrowed,
    network: BorrowedNetwork,
    metadata: Mapping[str, str],
) -> dict[str, bytes]:
    """Write the thin products of a network as peft does, and its base if need be."""
    settings = peft_export.settings(network.net)
    base = peft_export.original_base(plan)
    beside: dict[str, bytes] = {}
    if base is None:
        beside = _diffusers(described, without_products(network), metadata)
        beside.pop(TOKEN, None)
        base = hashlib.sha256(beside[WEIGHTS]).hexdigest()
    known = {**metadata, "base_weights_sha256": base}
    return {
        peft_folder.WEIGHTS: _packed(peft_export.factors(network.net), known),
        peft_folder.CONFIG: canonical_text(settings).encode(),
        **_token(network, known),
        **{f"{BASE}/{name}": content for name, content in beside.items()},
    }


def _packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return save(ready, metadata=dict(metadata))
