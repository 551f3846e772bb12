"""The optimisers a plan can name; all of them post-processing of a noised gradient.

    adam      torch's Adam: the default of the recipes
    adamw     Adam with weights that shrink by themselves; Loshchilov & Hutter 2019,
              arXiv:1711.05101
    sgd       one momentum; Sutskever et al. 2013

Under noise the second moments of Adam measure the noise, so that Adam is not far from
momentum with a rate of its own; see Tang et al. 2024, arXiv:2312.14334.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from privplan.errors import ParameterError

MOMENTUM = 0.9
WEIGHT_DECAY = 0.01


def _adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters)


def _adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, weight_decay=WEIGHT_DECAY)


def _sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0, momentum=MOMENTUM)


OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}


def new_optimiser(
    name: str, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return a fresh optimiser; its learning rate is set at every step.

    Args:
        name: One of the words of `OPTIMISERS`.
        parameters: What it moves.

    Raises:
        ParameterError: The name is unknown.

    Example:
        >>> type(new_optimiser("sgd", torch.nn.Linear(1, 1).parameters())).__name__
        'SGD'
    """
    if name not in OPTIMISERS:
        raise ParameterError(
            f"optimiser is {name!r}, but it must be one of {', '.join(OPTIMISERS)}",
            hint="give 'adam' unless you compare optimisers",
        )
    return OPTIMISERS[name](list(parameters))
