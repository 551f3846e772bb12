"""Thin products as a LoRA adapter that peft loads.

    low    ->  base_model.model.LAYER.lora_A.weight      alpha = rank, so that
    high   ->  base_model.model.LAYER.lora_B.weight      alpha / rank is 1

The adapter is for the network without its products. That is the folder the weights once
came from, unless anything but the products was trained since: then the network that the
adapter belongs to lies beside it.

peft is not needed here: the format is two files of documented content, and what peft
makes of them is held against our own answers in tests.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from diffusion.adapters import Adapted
from diffusion.peft_folder import HIGH, LOW, PREFIX
from privplan import plan_size
from privplan.borrowed import ElsewherePhase
from privplan.errors import ParameterError
from privplan.plan import Plan, PretrainedPhase, PublicPhase, SyntheticPhase


def factors(net: nn.Module) -> dict[str, Tensor]:
    """Return both factors of every thin product, by the names peft gives them.

    Args:
        net: With thin products.

    Example:
        >>> from diffusion.adapters import adapt
        >>> net = nn.Sequential(nn.Linear(4, 4))
        >>> adapt(net, {"0": 1}, seed=0)
        >>> [(name, tuple(tensor.shape)) for name, tensor in factors(net).items()]
        [('base_model.model.0.lora_A.weight', (1, 4)), \
('base_model.model.0.lora_B.weight', (4, 1))]
    """
    found: dict[str, Tensor] = {}
    for name, module in net.named_modules():
        if isinstance(module, Adapted):
            found[f"{PREFIX}{name}{LOW}"] = _weight(module.low)
            found[f"{PREFIX}{name}{HIGH}"] = _weight(module.high)
    return found


def settings(net: nn.Module) -> dict[str, Any]:
    """Write the configuration of an adapter that holds every thin product.

    Args:
        net: With thin products, all of one rank.

    Raises:
        ParameterError: It has none.
    """
    ranks = {
        name: len(_weight(module.low))
        for name, module in net.named_modules()
        if isinstance(module, Adapted)
    }
    if not ranks:
        raise ParameterError(
            "this plan trains no thin products, and an adapter of peft holds nothing "
            "else",
            hint="use --format diffusers, or plan with --tune lora:RANK",
        )
    (rank,) = set(ranks.values())
    return {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": {
            "base_model_class": type(net).__name__,
            "parent_library": type(net).__module__,
        },
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "target_modules": sorted(ranks),
        "rank_pattern": {},
        "alpha_pattern": {},
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }


def original_base(plan: Plan) -> str | None:
    """Return the SHA-256 of the weights an adapter is for; None if they are our own.

    They are those of the folder that the checkpoint was taken from, if nothing but thin
    products was added since.
    """
    taken = [part for p in plan.phases_of(PretrainedPhase) for part in p.lineage]
    trained = any(isinstance(p, PublicPhase | SyntheticPhase) for p in plan.phases)
    own = plan_size.selected(plan.data, plan.training).parameters
    if len(taken) != 1 or trained or own:
        return None
    (phase,) = taken
    return phase.weights_digest if isinstance(phase, ElsewherePhase) else None


def _weight(part: nn.Module) -> Tensor:
    tensors: Mapping[str, Tensor] = part.state_dict()
    return tensors["weight"]
