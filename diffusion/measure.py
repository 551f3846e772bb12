"""What a private step costs on this machine, measured without private data.

The planner turns minutes into draws, and for that it needs two times:

    seconds per draw    one row through the network, forward and backward, clipped and
                        summed
    seconds per step    what a step takes beside: the noise, the optimiser

Both come from real private steps of the planned engine, on a copy of the network and
on random pixels of the shape of the private images. No record is read.

Units: seconds of wall time, so another process on the machine makes them longer.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from diffusion.data import PrivateImages
from diffusion.ema import Ema
from diffusion.network import NetworkConfig
from diffusion.per_example import Clipping
from diffusion.randomness import RandomSource
from diffusion.readers.latent_set import made_up
from diffusion.trainer import (
    Learner,
    LossSettings,
    Mechanism,
    Performance,
    private_step,
)
from privplan import checks

_SEED = 20240604
_LEAST_ROWS = 32  # a smaller step would tell of nothing but its fixed costs
_GROWTH = 4
_MOST_RECORDS = 256  # more go through in several passes of this size anyway
_LEAST_SLOPE = 0.1  # below it, the device is so idle that a draw shows no cost
_PART_OF_A_STEP = 1 / 6  # of the time given: several steps fit
_FEWEST_TIMED = 3
_EMA_DECAY = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one draw costs on this machine.

    Attributes:
        seconds_per_draw: What one more draw adds to a step.
        seconds_per_step: What a step takes beside: the noise, the optimiser.
        draws_per_step: In the larger of the two steps that were timed.
    """

    seconds_per_draw: float
    seconds_per_step: float
    draws_per_step: int


def measure_speed(
    network: nn.Module,
    config: NetworkConfig,
    *,
    loss: LossSettings,
    performance: Performance,
    noise_multiplicity: int,
    seconds: float = 2.0,
    progress: Callable[[float], None] = lambda _: None,
) -> Speed:
    """Time private steps on random pixels.

    Each is a private step in everything but its records: sampled, clipped, noised and
    applied. Batches grow until the next would take more than a sixth of the time
    given, or would be very large; that is the warm-up. Then steps of that size and of
    a quarter are timed in turn, which tells draws from steps.

    Args:
        network: The planned network; a copy of it is trained.
        config: Its shape, which is that of the images.
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

    records, images = 1, _images(config, 1)
    while records < _MOST_RECORDS:
        took = min(step(records, images), step(records, images))
        enough = records * noise_multiplicity >= _LEAST_ROWS
        if enough and took > _PART_OF_A_STEP * seconds / _GROWTH:
            break
        records = min(_GROWTH * records, _MOST_RECORDS)
        images = _images(config, records)
    fewer = max(records // _GROWTH, 1)
    few = _images(config, fewer)
    times: list[tuple[float, float]] = []
    while len(times) < _FEWEST_TIMED or time.perf_counter() - began < seconds:
        times.append((step(fewer, few), step(records, images)))
    return _speed(times, fewer * noise_multiplicity, records * noise_multiplicity)


def _speed(times: list[tuple[float, float]], fewer: int, draws: int) -> Speed:
    """Split the time of a step into what each draw takes and what every step takes."""
    small, large = (statistics.median(column) for column in zip(*times, strict=True))
    slope = (large - small) / (draws - fewer) if draws > fewer else 0.0
    each = slope if slope > _LEAST_SLOPE * large / draws else large / draws
    return Speed(
        seconds_per_draw=each,
        seconds_per_step=max(large - each * draws, 0.0),
        draws_per_step=draws,
    )


def _images(config: NetworkConfig, count: int) -> PrivateImages:
    """Random pixels in the place of private ones; what they show costs no time."""
    generator = torch.Generator().manual_seed(_SEED)
    shape = (count, config.channels, config.height, config.width)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, config.classes, (count,), generator=generator)
    return made_up(pixels, labels, config.classes)


def _mechanism(records: int, noise_multiplicity: int) -> Mechanism:
    return Mechanism(
        sample_rate=1.0,
        noise_multiplier=1.0,
        clipping=Clipping(max_grad_norm=1.0),
        noise_multiplicity=noise_multiplicity,
        expected_batch_size=float(records),
    )


def _throwaway(network: nn.Module, device: torch.device) -> Learner:
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
