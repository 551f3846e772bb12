"""Private steps on pictures that nobody sent, with an optimiser that only listens.

A rehearsal carries out the very step that a run will take: the same sampler, engine,
clipping, noise and divisor, on a copy of the network. Only the end differs: where an
optimiser would move the weights, the gradient is written down.

    made-up pictures -> private_step -> Recorder      nothing learned, nothing spent

The weights of the copy are shaken first. A network whose last layer begins at zero has
no gradient anywhere else, and nothing could be seen of it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from diffusion.data import PrivateImages
from diffusion.ema import Ema
from diffusion.loss import RowLoss, Rows
from diffusion.randomness import RandomSource
from diffusion.readers.latent_set import made_up
from diffusion.trainer import (
    Learner,
    LossSettings,
    Mechanism,
    Performance,
    private_step,
)

SHAKE = 0.05


class Recorder(torch.optim.Optimizer):
    """Writes gradients down where an optimiser would move the weights.

    Attributes:
        seen: One flat float64 gradient per step.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self.seen: list[Tensor] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401
        """Write the gradients down."""
        parts = [
            torch.zeros_like(p) if p.grad is None else p.grad
            for group in self.param_groups
            for p in group["params"]
        ]
        self.seen.append(torch.cat([part.double().cpu().flatten() for part in parts]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """All that a private step is made of, beside learner, records and randomness.

    Attributes:
        mechanism: What the plan fixes.
        loss: How rows are drawn and judged.
        performance: Engine, physical batch and device.
    """

    mechanism: Mechanism
    loss: LossSettings
    performance: Performance

    @property
    def noise_multiplier(self) -> float:
        """Noise on the gradient over C; where C is adaptive the count takes a share."""
        rule, whole = self.mechanism.adaptive, self.mechanism.noise_multiplier
        return whole if rule is None else rule.gradient_noise_multiplier(whole)


def listening(network: nn.Module) -> Learner:
    """Return a learner around a network that writes down and never learns."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return Learner(
        network=network,
        optimiser=Recorder(trained),
        ema=Ema(network, 0.0),
        learning_rate=0.0,
    )


def shaken(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """Return a copy of a network whose weights are moved a little, trained or not.

    A network begins with a last layer of zeros, and nothing flows through it. Where a
    part is tuned, the rest is frozen and comes from elsewhere: here it stands in.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> before = layer.weight.item()
        >>> bool(shaken(layer).weight.item() != before), layer.weight.item() == before
        (True, True)
    """
    moved = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in moved.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(SHAKE * noise.to(parameter))
    return moved


def noised_sum(
    learner: Learner,
    images: PrivateImages,
    setting: Setting,
    random: RandomSource,
) -> Float64[Tensor, " length"]:
    """Take one private step and return its noised sum, in units of C.

    Args:
        learner: From `listening`; its record is emptied.
        images: Made-up pictures.
        setting: The step; the public gradient of a mixture is left out.
        random: Randomness; a fresh one, or one from a seed to repeat it.

    Returns:
        Clipped sum plus noise over C: L2 sensitivity 1, noise `noise_multiplier`.
    """
    recorder = learner.optimiser
    assert isinstance(recorder, Recorder)  # noqa: S101 - narrows the type
    recorder.seen.clear()
    mechanism = replace(setting.mechanism, beside=None)
    bound = mechanism.clipping_now(learner).max_grad_norm
    private_step(
        learner,
        images,
        mechanism=mechanism,
        loss=setting.loss,
        performance=setting.performance,
        random=random,
        spend=_nothing,
    )
    learner.max_grad_norm = None
    (gradient,) = recorder.seen
    return gradient * (mechanism.expected_batch_size / bound)


def wide(row_loss: RowLoss) -> RowLoss:
    """Return a loss that shows a float64 network float64 rows."""

    def losses(network: nn.Module, rows: Rows) -> Tensor:
        return row_loss(network, widened(rows))

    return losses


def widened(rows: Rows) -> Rows:
    """Return rows whose fractional numbers are float64."""
    return tuple(row.double() if row.is_floating_point() else row for row in rows)


def times(row_loss: RowLoss, factor: Callable[[Tensor], Tensor]) -> RowLoss:
    """Return a loss whose rows are multiplied by a function of their clean picture."""

    def losses(network: nn.Module, rows: Rows) -> Tensor:
        return row_loss(network, rows) * factor(rows[0])

    return losses


def pictures(
    count: int, *, channels: int, height: int, width: int, classes: int, seed: int = 1
) -> PrivateImages:
    """Draw random pictures of a shape; no record is anywhere near.

    Example:
        >>> pictures(3, channels=1, height=2, width=2, classes=2).shape.records
        3
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(
        0, 256, (count, channels, height, width), generator=generator
    ).to(torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return made_up(pixels, labels, classes)


def _nothing() -> None:
    """Spend nothing: no record is touched in a rehearsal."""
