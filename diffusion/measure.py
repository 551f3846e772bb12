"""What a step costs here and how noisy gradients are, measured without private data.

The planner needs two numbers that depend on the network and the machine. Both come from
images that a program draws, of the shape of the private ones, so measuring them reads
no record and costs no privacy:

    seconds per draw    one row through the network, forward and backward, clipped,
                        summed, with its share of the noise and of the optimiser
    spread ratio        v_t / v_x: how much the gradient of one record varies over its
                        noise draws, against how much records differ from one another

The first runs real private steps of the planned engine on a copy of the network; the
second takes gradients one row at a time and keeps sums only.

Units: seconds of wall time; the ratio has none.
Source: Dockhorn et al. 2023, arXiv:2210.09929, section 3 (draws of one record reduce
v_t and not v_x); the decomposition is a one-way analysis of variance.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffusion.data import PrivateImages
from diffusion.ema import Ema
from diffusion.loss import draw_rows
from diffusion.network import NetworkConfig, UNet
from diffusion.per_example import Clipping
from diffusion.randomness import RandomSource
from diffusion.synthetic import generate, pseudo_labels
from diffusion.trainer import (
    Learner,
    LossSettings,
    Mechanism,
    Performance,
    private_step,
)
from privplan import checks
from privplan.errors import ParameterError

_SEED = 20240603
_GROWTH = 4
_PART_OF_A_STEP = 1 / 6  # of the time given: fixed costs hardly show, and a few fit
_LEAST_BETWEEN = 0.01  # of v_t: a smaller v_x drowns in the error of the estimate
_FEWEST_TIMED = 3
_EMA_DECAY = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one draw costs on this machine.

    Attributes:
        seconds_per_draw: The median over the timed steps.
        steps: How many were timed.
        draws_per_step: K times the records of one physical batch.
    """

    seconds_per_draw: float
    steps: int
    draws_per_step: int


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


def measure_speed(
    network: UNet,
    *,
    loss: LossSettings,
    performance: Performance,
    noise_multiplicity: int,
    seconds: float = 2.0,
    progress: Callable[[float], None] = lambda _: None,
) -> Speed:
    """Time private steps on synthetic images.

    Each is a private step in everything but its records: sampled, clipped, noised and
    applied. Batches grow until the next would take more than a sixth of the time
    given, or is larger than a physical batch; that is the warm-up. Then the clock
    counts.

    Args:
        network: The planned network; a copy of it is trained.
        loss: As planned.
        performance: Engine, physical batch and device, as planned.
        noise_multiplicity: K.
        seconds: How long to go on, about; at least three steps are timed.
        progress: Called after each step with the part that is done, 0 to 1.

    Raises:
        ParameterError: A number is outside its range.
    """
    checks.positive(seconds=seconds)
    checks.count(noise_multiplicity=noise_multiplicity)
    learner = _throwaway(network, performance.device)
    began = time.perf_counter()

    def step(records: int, images: PrivateImages) -> float:
        start = time.perf_counter()
        private_step(
            learner,
            images,
            mechanism=_mechanism(records, noise_multiplicity),
            loss=loss,
            performance=performance,
            random=RandomSource(),
            spend=lambda: None,
        )
        _wait_for(performance.device)
        now = time.perf_counter()
        progress(min((now - began) / seconds, 1.0))
        return now - start

    records, images = 1, _images(network.config, 1)
    while records < performance.physical_batch_size:
        took = min(step(records, images), step(records, images))
        if took > _PART_OF_A_STEP * seconds / _GROWTH:
            break
        records = min(_GROWTH * records, performance.physical_batch_size)
        images = _images(network.config, records)
    times: list[float] = []
    while len(times) < _FEWEST_TIMED or time.perf_counter() - began < seconds:
        times.append(step(records, images))
    draws = records * noise_multiplicity
    return Speed(
        seconds_per_draw=statistics.median(times) / draws,
        steps=len(times),
        draws_per_step=draws,
    )


def measure_spread(
    network: UNet,
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
    pictures, labels = _pictures(network.config, records, kind=kind)
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


def _pictures(config: NetworkConfig, count: int, *, kind: str) -> tuple[Tensor, Tensor]:
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


def _images(config: NetworkConfig, count: int) -> PrivateImages:
    """Synthetic images in the place of private ones, which they are not."""
    pictures, labels = _pictures(config, count, kind="strokes")
    pixels = ((pictures + 1) * 127.5).round().to(torch.uint8)
    return PrivateImages(pixels, labels, config.classes)


def _mechanism(records: int, noise_multiplicity: int) -> Mechanism:
    return Mechanism(
        sample_rate=1.0,
        noise_multiplier=1.0,
        clipping=Clipping(max_grad_norm=1.0),
        noise_multiplicity=noise_multiplicity,
        expected_batch_size=float(records),
    )


def _throwaway(network: UNet, device: torch.device) -> Learner:
    own = copy.deepcopy(network).to(device)
    return Learner(
        network=own,
        optimiser=torch.optim.Adam(own.parameters()),
        ema=Ema(own, _EMA_DECAY),
        learning_rate=0.0,
    )


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
