"""A LoRA adapter that peft wrote, merged into the weights it was made for.

    folder
    ├── adapter_config.json           kind, rank r, alpha
    └── adapter_model.safetensors     base_model.model.LAYER.lora_A.weight    A: r x in
                                      base_model.model.LAYER.lora_B.weight    B: out x r

    W + s B A,      s = alpha / r, or alpha / sqrt(r) with rsLoRA

The format is read as it is documented, without peft: only numbers are wanted here, and
peft itself is held against the result in tests. Whatever the configuration says that
would make another network of the same numbers is refused, by its name: peft can merge
it, and then there is a network of diffusers.

Edges: reads the folder.
Source: Hu et al. 2022, arXiv:2106.09685, section 4.1; Kalajdzievski 2023,
arXiv:2312.03732 (rsLoRA).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from diffusion import weight_files
from privplan.errors import DataError, ParameterError

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
LOW: Final = ".lora_A.weight"
HIGH: Final = ".lora_B.weight"
_MERGE = (
    "merge it with peft and give the result to --from-diffusers: "
    "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(...)"
)
_AGAIN = "save the adapter again with peft: save_pretrained(folder)"
# What these say is either read below or does not change what the numbers mean.
_HARMLESS: Final = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "eva_config",
    "exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform",
    "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "rank_pattern", "revision", "target_modules",
    "task_type", "use_rslora",
}  # fmt: skip
# Other first values change the base as well, whenever the adapter is loaded.
_PLAIN_STARTS: Final = (True, False, "gaussian", "orthogonal", "eva")
_PATTERN = re.compile(r"\^?[A-Za-z0-9_.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSource:
    """An adapter that somebody else trained.

    Attributes:
        folder: Where it lies.
        data_name: What it learned from is called.
    """

    folder: Path
    data_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is added to the weights of one layer: `scale * high @ low`.

    Attributes:
        low: A, from the layer's inputs down to the rank.
        high: B, up again.
        scale: s.
    """

    low: Tensor
    high: Tensor
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        products: By the name of the layer.
        digest: SHA-256 of what `sha256sum` prints of its two files.
        base: What its configuration calls the network it was made for; may be empty.
        plan: Digest of the plan it was trained under, where it says so.
    """

    products: Mapping[str, Product]
    digest: str
    base: str
    plan: str | None


def read(folder: Path) -> Adapter:
    """Read an adapter from the folder that peft wrote.

    Raises:
        DataError: A file is missing or damaged.
        ParameterError: It is of a kind that cannot be merged here.
    """
    settings = _settings(folder / CONFIG)
    _check_kind(settings)
    tensors = weight_files.read_tensors(folder / WEIGHTS)
    products = {
        name: Product(low=low, high=high, scale=_scale(settings, name, low))
        for name, (low, high) in _pairs(tensors).items()
    }
    return Adapter(
        products=products,
        digest=weight_files.joint_digest(
            [folder / CONFIG, *weight_files.files_of(folder / WEIGHTS)]
        ),
        base=str(settings.get("base_model_name_or_path") or ""),
        plan=weight_files.plan_of(folder / WEIGHTS),
    )


def merge(
    weights: Mapping[str, Tensor], adapter: Adapter, kind: str
) -> dict[str, Tensor]:
    """Return weights with an adapter's products added to them.

    Args:
        weights: Of the network the adapter was made for, by its own names.
        adapter: As read.
        kind: What the network is called in errors.

    Raises:
        ParameterError: It was made for another network.
    """
    found = dict(weights)
    cure = "give the network it was trained on"
    if adapter.base:
        cure += f"; its configuration calls that '{adapter.base[:60]}'"
    for name, product in adapter.products.items():
        weight = found.get(f"{name}.weight")
        if weight is None:
            raise ParameterError(
                f"the adapter is for a layer '{name[:80]}', which this {kind} does not "
                "have",
                hint=cure,
            )
        shape = (len(product.high), *product.low.shape[1:])
        if weight.shape != shape:
            raise ParameterError(
                f"the adapter is for weights of {_sizes(shape)} at '{name[:80]}', and "
                f"those of this {kind} are {_sizes(weight.shape)}",
                hint=cure,
            )
        change = product.high.flatten(1) @ product.low.flatten(1)
        found[f"{name}.weight"] = weight + product.scale * change.view_as(weight)
    return found


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing or not JSON", hint=f"{_AGAIN}, and give that folder"
        ) from error
    shapes = {"rank_pattern": dict, "alpha_pattern": dict, "use_rslora": bool}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name) or kind(), kind) for name, kind in shapes.items()
    ):
        raise DataError(f"{path} is no configuration of an adapter", hint=_AGAIN)
    return found


def _check_kind(settings: Mapping[str, Any]) -> None:
    """Refuse what would make another network of the same numbers."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise ParameterError(
            f"the adapter is of the kind {str(kind)[:40]}, and only LORA is read here",
            hint=_MERGE,
        )
    for name, value in settings.items():
        usual = value in (None, False, "", "none") or value in ([], {})
        if name == "init_lora_weights":
            usual = value in _PLAIN_STARTS
        if not usual and name not in _HARMLESS:
            raise ParameterError(
                f"the adapter has {name[:40]} = {str(value)[:40]}, which is not "
                "supported",
                hint=_MERGE,
            )


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Bring the two factors of each layer together.

    Raises:
        ParameterError: There are others beside them.
        DataError: There are none, or one is without the other, or of another rank.
    """
    names: dict[str, None] = {}
    for key in tensors:
        inner = key.removeprefix(PREFIX)
        name = inner.removesuffix(LOW).removesuffix(HIGH)
        if inner in (key, name):
            raise ParameterError(
                f"the adapter holds '{key[:100]}', which is no factor of a product "
                "beside a Linear or Conv2d",
                hint=_MERGE,
            )
        names[name] = None
    found = {}
    for name in names:
        low, high = (tensors.get(f"{PREFIX}{name}{end}") for end in (LOW, HIGH))
        if low is None or high is None or not _is_product(low, high):
            raise DataError(
                f"the two factors beside '{name[:80]}' do not make a product",
                hint=_AGAIN,
            )
        found[name] = (low, high)
    if not found:
        raise DataError("the adapter is empty", hint="give one that was trained")
    return found


def _is_product(low: Tensor, high: Tensor) -> bool:
    """Return whether one factor goes down to as many numbers as the other goes up."""
    alike = low.ndim == high.ndim and low.ndim in (2, 4)
    return (
        alike and len(low) > 0 and high.shape[1:] == (len(low), *[1] * (low.ndim - 2))
    )


def _scale(settings: Mapping[str, Any], name: str, low: Tensor) -> float:
    """Return s of a layer: alpha over the rank, or over its root."""
    rank = _of_layer(settings, "rank_pattern", name, settings.get("r"))
    alpha = _of_layer(settings, "alpha_pattern", name, settings.get("lora_alpha"))
    if rank != len(low):
        raise DataError(
            f"the adapter's configuration gives '{name[:80]}' the rank "
            f"{str(rank)[:20]}, and its weights have {len(low)}",
            hint=_AGAIN,
        )
    known = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    scaled = float(alpha) if known else math.nan
    if not 0 < scaled < math.inf:
        raise DataError(
            f"the adapter's configuration gives '{name[:80]}' no positive lora_alpha",
            hint=_AGAIN,
        )
    return scaled / (math.sqrt(len(low)) if settings.get("use_rslora") else len(low))


def _of_layer(settings: Mapping[str, Any], what: str, name: str, usual: object) -> Any:  # noqa: ANN401 - whatever the file says
    """Look a layer up among the exceptions of a configuration, as peft does.

    Keys are ends of names, or whole names after `^`. To peft they are regular
    expressions; those that are more than a name are refused.
    """
    for key, value in (settings.get(what) or {}).items():
        if not _PATTERN.fullmatch(key):
            raise ParameterError(
                f"the adapter has '{key[:60]}' in its {what}, which is not supported",
                hint=_MERGE,
            )
        if f"^{name}" == key or f".{name}".endswith(f".{key}"):
            return value
    return usual


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
