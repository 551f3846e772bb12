"""Training a part of a network: what is frozen, and thin products beside frozen layers.

A thin product adds B A x to what a layer answers for x, with A down to a few channels
and B up again:

    x ──> layer (frozen) ──────────+──> y
    └──> A: `low` ──> B: `high` ───┘        both ordinary layers, so that every engine
                                            takes their per-record gradients as it is

B begins at zero, so that nothing changes before the first step. Afterwards the product
can be merged into the layer's own weights: the same answers, without the detour.

Parameters are named as in the network without products. A frozen parameter takes no
part in autograd: no gradient of it is formed, of one record or of all.

Source: Hu et al. 2022, arXiv:2106.09685, section 4.1, here with alpha = rank.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from privplan.errors import ParameterError
from privplan.tuning import Selection

_OWN = ("low", "high")


class Adapted(nn.Module):
    """A layer and the thin product beside it; made by `adapt`."""

    def __init__(self, base: nn.Module, low: nn.Module, high: nn.Module) -> None:
        super().__init__()
        self.base, self.low, self.high = base, low, high

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer answers, plus the product."""
        answer: Tensor = self.base(x) + self.high(self.low(x))
        return answer


def adapt(network: nn.Module, ranks: Mapping[str, int], *, seed: int) -> None:
    """Put a thin product beside each layer named; the network answers as before.

    The first factor is drawn from a generator of its own; the global random state is
    neither read nor moved.

    Args:
        network: Changed in place.
        ranks: Rank by the name of the layer, a Linear or Conv2d.
        seed: Public.

    Raises:
        ParameterError: A layer is neither.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 4))
        >>> adapt(network, {"0": 1}, seed=0)
        >>> [name for name, _ in network.named_parameters()]
        ['0.base.weight', '0.base.bias', '0.low.weight', '0.high.weight']
    """
    generator = torch.Generator().manual_seed(seed)
    for name, rank in ranks.items():
        base = network.get_submodule(name)
        low, high = (part.to_empty(device="cpu") for part in _product(name, base, rank))
        with torch.no_grad():
            fan_in = low.weight[0].numel()
            low.weight.normal_(std=1 / math.sqrt(fan_in), generator=generator)
            high.weight.zero_()
        network.set_submodule(name, Adapted(base, low, high))


def _product(
    name: str, base: nn.Module, rank: int
) -> tuple[nn.Linear, nn.Linear] | tuple[nn.Conv2d, nn.Conv2d]:
    with torch.device("meta"):
        if isinstance(base, nn.Linear):
            return (
                nn.Linear(base.in_features, rank, bias=False),
                nn.Linear(rank, base.out_features, bias=False),
            )
        if isinstance(base, nn.Conv2d) and base.groups == 1:
            low = nn.Conv2d(
                base.in_channels,
                rank,
                _two(base.kernel_size),
                stride=_two(base.stride),
                padding=base.padding
                if isinstance(base.padding, str)
                else _two(base.padding),
                dilation=_two(base.dilation),
                bias=False,
            )
            return low, nn.Conv2d(rank, base.out_channels, 1, bias=False)
    raise ParameterError(
        f"layer '{name}' ({type(base).__name__}) cannot have a thin product beside it",
        hint="name layers that are Linear, or Conv2d without groups",
    )


def _two(sizes: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = sizes
    return rows, columns


def merged(network: nn.Module) -> nn.Module:
    """Return a copy in which every thin product is part of its layer's weights.

    It answers the same up to float rounding, and its parameters have the names and
    shapes of a network without products.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 4))
        >>> adapt(network, {"0": 1}, seed=0)
        >>> [name for name, _ in merged(network).named_parameters()]
        ['0.weight', '0.bias']
    """
    plain = copy.deepcopy(network)
    found = [(n, m) for n, m in plain.named_modules() if isinstance(m, Adapted)]
    for name, adapted in found:
        low, high = adapted.low.weight, adapted.high.weight
        with torch.no_grad():
            product = high.flatten(1) @ low.flatten(1)  # type: ignore[operator]
            adapted.base.weight += product.view_as(adapted.base.weight)  # type: ignore[operator,arg-type]
        plain.set_submodule(name, adapted.base)
    return plain


def without_products(network: nn.Module) -> nn.Module:
    """Return a copy in which every layer is as it was before it got a thin product.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 4))
        >>> adapt(network, {"0": 1}, seed=0)
        >>> without_products(network)
        Sequential(
          (0): Linear(in_features=4, out_features=4, bias=True)
        )
    """
    plain = copy.deepcopy(network)
    found = [(n, m) for n, m in plain.named_modules() if isinstance(m, Adapted)]
    for name, adapted in found:
        plain.set_submodule(name, adapted.base)
    return plain


def plain_name(name: str) -> str:
    """Return the name a parameter has in the network without thin products.

    Example:
        >>> plain_name("up.0.attention.out.base.weight")
        'up.0.attention.out.weight'
    """
    return name.replace(".base.", ".")


def train_only(network: nn.Module, selection: Selection) -> None:
    """Freeze all but what is selected and the thin products.

    Raises:
        ParameterError: The network lacks a parameter that is selected.
    """
    missing = set(selection.parameters)
    for name, parameter in network.named_parameters():
        plain = plain_name(name)
        parameter.requires_grad_(
            plain in selection.parameters or _is_own(network, name)
        )
        missing.discard(plain)
    if missing:
        raise ParameterError(
            f"the network has no parameter '{min(missing)}'",
            hint="tune a part that the network has",
        )


def train_all(network: nn.Module) -> None:
    """Free every parameter of the network, and freeze its thin products.

    For phases that cost nothing: what they learn belongs into the weights themselves.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not _is_own(network, name))


def load_plain(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the state of a network without thin products; products stay as they are.

    Raises:
        ParameterError: Names or shapes are those of another network.
    """
    named = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not _is_own(network, name)
    }
    wanted = {plain_name(name): tensor.shape for name, tensor in named.items()}
    if wanted != {name: tensor.shape for name, tensor in state.items()}:
        raise ParameterError(
            "the weights are those of a network of another shape",
            hint="give weights that were trained for this network",
        )
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(state[plain_name(name)])


def _is_own(network: nn.Module, name: str) -> bool:
    """Return whether a parameter belongs to a thin product, not to the network."""
    owner, _, _ = name.rpartition(".")
    holder, _, part = owner.rpartition(".")
    return part in _OWN and isinstance(network.get_submodule(holder), Adapted)
