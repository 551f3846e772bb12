"""Averaged weights: the mean of a noisy walk is better than its last step.

Under DP-SGD every step adds noise to the weights. Averaging the weights over steps
takes much of it out again, and since it looks only at weights already released it is
post-processing: it costs no privacy.

The decay warms up, so that a short run is not dominated by its first weights:

    average <- d average + (1 - d) weights,    d = min(decay, (1 + n) / (10 + n))

with n the number of updates so far, this one included.

Source: Polyak & Juditsky 1992; De et al. 2022, arXiv:2204.13650, section 3, for DP;
the warm-up is that of TensorFlow's ExponentialMovingAverage, used by Dockhorn et al.
2023, arXiv:2210.09929.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from privplan import checks
from privplan.errors import DocumentError


class Ema:
    """Averaged copies of the parameters that a model trains when this is made.

    What is frozen then is not copied: it stays what it is.

    Attributes:
        decay: The decay after warm-up; at least 0 and below 1.
        updates: How many steps have been averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        checks.fraction(ema_decay=decay)
        self.decay = decay
        self.updates = 0
        self._model = model
        self._average = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def update(self) -> None:
        """Take the model's present weights into the average; once per step.

        Example:
            >>> model = nn.Linear(1, 1)
            >>> ema = Ema(model, decay=0.9)
            >>> ema.update()
            >>> ema.updates
            1
        """
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, parameter in self._own().items():
                self._average[name].lerp_(parameter, 1 - decay)

    def averaged(self) -> dict[str, Tensor]:
        """Return the model's state with averaged parameters; tensors are copies."""
        state = {
            name: t.detach().clone() for name, t in self._model.state_dict().items()
        }
        return state | {name: t.clone() for name, t in self._average.items()}

    @contextmanager
    def swapped(self) -> Iterator[nn.Module]:
        """Let the model hold the averaged weights inside a `with` block.

        Its own weights come back at the end, also when the block raises.

        Example:
            >>> model = nn.Linear(1, 1)
            >>> ema = Ema(model, decay=0.0)
            >>> with ema.swapped() as averaged:
            ...     averaged is model
            True
        """
        own = {name: p.detach().clone() for name, p in self._own().items()}
        try:
            self._fill(self._average)
            yield self._model
        finally:
            self._fill(own)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: the averages, and `updates` as a tensor."""
        kept = {f"average.{name}": t.clone() for name, t in self._average.items()}
        return kept | {"updates": torch.tensor(self.updates)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take up a state that `state` returned.

        Raises:
            DocumentError: Names or shapes are not those of this model; nothing changes.
        """
        wanted = {f"average.{name}": t.shape for name, t in self._average.items()}
        found = {name: t.shape for name, t in state.items()}
        if found != wanted | {"updates": torch.Size([])}:
            raise DocumentError(
                "the averaged weights do not belong to this network",
                hint="use the checkpoint of a run with the same plan",
            )
        self.updates = int(state["updates"])
        for name, average in self._average.items():
            average.copy_(state[f"average.{name}"])

    def _fill(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._own().items():
                parameter.copy_(weights[name])

    def _own(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are averaged, by name."""
        named = self._model.named_parameters()
        return {name: p for name, p in named if name in self._average}
