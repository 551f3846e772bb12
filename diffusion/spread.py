"""How noisy gradients are, and why: measured on images that a program draws.

The gradient of one record differs from draw to draw of its diffusion noise (v_t), and
the mean gradients of two records differ too (v_x). Averaging K draws before clipping
divides v_t by K, at no privacy cost, and leaves v_x alone; so v_t / v_x says how large
K is worth. It was nearly the same on synthetic images as on private ones (5.4 and 5.1
on digits), so it is measured where it costs nothing: no record is read here.

Gradients are taken one row at a time, before clipping, and only sums are kept.

Units: squared gradient units; the ratio has none.
Source: Dockhorn et al. 2023, arXiv:2210.09929, section 3 (what K does); the split is
a one-way analysis of variance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffusion.loss import draw_rows
from diffusion.network import NetworkConfig
from diffusion.synthetic import generate, pseudo_labels
from diffusion.trainer import LossSettings
from privplan.errors import ParameterError

_SEED = 20240603
_LEAST_BETWEEN = 0.01  # of v_t: a smaller v_x drowns in the error of the estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where the variance of a record's gradient comes from; squared gradient units.

    Attributes:
        mean: Squared length of the mean gradient, s.
        between: Variance of the mean gradients of different records, v_x.
        within: Variance over the noise draws of one record, v_t.
    """

    mean: float
    between: float
    within: float

    @property
    def ratio(self) -> float:
        """Return v_t / v_x, at least 0; the K at which both are equal."""
        return self.within / self.between


def measure_spread(
    network: nn.Module,
    config: NetworkConfig,
    *,
    loss: LossSettings,
    kind: str = "strokes",
    records: int = 48,
    draws: int = 4,
    progress: Callable[[float], None] = lambda _: None,
) -> Spread:
    """Split the variance of gradients on synthetic images by where it comes from.

    Gradients are taken one row at a time, before clipping; only sums are kept. The
    same network and arguments give the same answer, up to float rounding.

    Args:
        network: With public weights; unchanged.
        config: Its shape, which is that of the images.
        loss: As planned, with the sigma law of the private stage.
        kind: Which program draws the images.
        records: Images; at least 2.
        draws: Noise draws of each; at least 2.
        progress: Called after each image with the part that is done, 0 to 1.

    Returns:
        Unbiased estimates; `between` is kept at a hundredth of `within` or above.

    Raises:
        ParameterError: Fewer than 2 images or draws, or a network without gradient.
    """
    if not (records >= 2 and draws >= 2):
        raise ParameterError(
            f"records is {records!r} and draws {draws!r}, but a variance takes 2",
            hint="give records=48 and draws=4",
        )
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(_SEED)
    pictures, labels = stand_ins(config, records, kind=kind)
    squares, of_means = 0.0, 0.0
    total: list[Tensor] = []
    for record in range(records):
        rows = draw_rows(
            pictures[record : record + 1],
            labels[record : record + 1],
            noise_multiplicity=draws,
            law=loss.law,
            label_dropout=loss.label_dropout,
            null_label=loss.null_label,
            generator=generator,
        )
        one: list[Tensor] = []
        for draw in range(draws):
            row = tuple(tensor[draw : draw + 1].to(device) for tensor in rows)
            gradient = _gradient(network, loss, row)
            squares += _squared_length(gradient)
            one = _plus(one, gradient)
        of_means += _squared_length(one) / draws
        total = _plus(total, one)
        progress((record + 1) / records)
    of_all = _squared_length(total) / (records * draws)
    return _split(squares, of_means, of_all, records=records, draws=draws)


def _split(
    squares: float, of_means: float, of_all: float, *, records: int, draws: int
) -> Spread:
    """One-way analysis of variance, from sums of squared lengths."""
    within = (squares - of_means) / (records * (draws - 1))
    means = (of_means - of_all) / (records - 1)
    between = max((means - within) / draws, _LEAST_BETWEEN * within)
    if not between > 0:
        raise ParameterError(
            "the network has no gradient on synthetic images",
            hint="give the network as it is when private training begins",
        )
    mean = max(of_all - means, 0.0) / (records * draws)
    return Spread(mean=mean, between=between, within=within)


def _gradient(
    network: nn.Module, loss: LossSettings, row: tuple[Tensor, ...]
) -> list[Tensor]:
    trained = [p for p in network.parameters() if p.requires_grad]
    value = loss.row_loss(network, row).sum()
    return list(torch.autograd.grad(value, trained, materialize_grads=True))


def _squared_length(parts: list[Tensor]) -> float:
    return sum(float(part.double().square().sum()) for part in parts)


def _plus(total: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    if not total:
        return [part.double() for part in more]
    return [a + b for a, b in zip(total, more, strict=True)]


def stand_ins(config: NetworkConfig, count: int, *, kind: str) -> tuple[Tensor, Tensor]:
    """Return synthetic images in [-1, 1] and labels, of the shape a network is for."""
    drawn = max(count, config.classes)
    pictures = generate(
        kind,
        drawn,
        channels=config.channels,
        height=config.height,
        width=config.width,
        seed=_SEED,
    )
    labels = pseudo_labels(pictures, config.classes, _SEED)
    return pictures[:count], labels[:count]
