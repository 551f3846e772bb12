"""The speed of a step: against a clock that is known."""

import math

import pytest
import torch

from diffusion import measure as measure_room
from diffusion.loss import row_loss
from diffusion.measure import measure_speed
from diffusion.network import NetworkConfig, build
from diffusion.noise_levels import LogNormal
from diffusion.per_example import engine
from diffusion.physical_batch import PhysicalBatch
from diffusion.precond import Edm
from diffusion.trainer import LossSettings, Performance
from privplan.errors import ParameterError

TINY = NetworkConfig(
    channels=1,
    height=8,
    width=8,
    classes=3,
    base_width=8,
    width_multipliers=(1,),
    blocks=1,
    attention_resolutions=(),
)
LOSS = LossSettings(
    row_loss=row_loss(Edm(sigma_data=0.5)),
    law=LogNormal(intervals=((0.02, 10.0),)),
    label_dropout=0.1,
    null_label=3,
)


def performance(network, physical=32):
    return Performance(
        engine=engine("auto", network),
        physical_batch=PhysicalBatch(physical),
        device=torch.device("cpu"),
    )


def measured(network=None, physical=32, **rest):
    network = network or build(TINY, seed=0)
    return measure_speed(
        network,
        TINY,
        loss=LOSS,
        performance=performance(network, physical),
        **{"noise_multiplicity": 2, "seconds": 0.2} | rest,
    )


class Clock:
    """Time that passes by itself only in steps: so much each, so much per draw."""

    def __init__(self, each_step, each_draw):
        self.now = 0.0
        self.each_step, self.each_draw = each_step, each_draw

    def perf_counter(self):
        return self.now

    def step(self, learner, images, *, mechanism, **_):
        draws = len(images.labels) * mechanism.noise_multiplicity
        self.now += self.each_step + self.each_draw * draws


@pytest.mark.parametrize(
    ("each_step", "each_draw"), [(0.0, 1e-3), (0.05, 1e-3), (0.5, 0.1), (1e-4, 1e-6)]
)
def test_draws_and_steps_are_told_apart(monkeypatch, each_step, each_draw):
    """The noise of a step charged to its draws would make large batches look slow."""
    clock = Clock(each_step, each_draw)
    monkeypatch.setattr(measure_room, "private_step", clock.step)
    monkeypatch.setattr(measure_room, "time", clock)
    found = measured(physical=4096, seconds=2.0)
    assert found.seconds_per_draw == pytest.approx(each_draw, rel=1e-6)
    assert found.seconds_per_step == pytest.approx(each_step, abs=1e-6)


def test_a_device_too_idle_to_show_the_cost_of_a_draw_still_gets_one(monkeypatch):
    """A zero would let any plan fit into a second."""
    clock = Clock(0.02, 0.0)
    monkeypatch.setattr(measure_room, "private_step", clock.step)
    monkeypatch.setattr(measure_room, "time", clock)
    found = measured(physical=64, seconds=2.0)
    draws = 2 * measure_room._MOST_RECORDS
    assert found.seconds_per_draw == pytest.approx(0.02 / draws)
    assert found.seconds_per_step == 0.0


def test_real_steps_are_timed_on_a_copy_and_no_record_is_read(monkeypatch):
    """Measuring must not train the network that the plan will start from."""
    network = build(TINY, seed=0)
    before = [p.detach().clone() for p in network.parameters()]
    sizes = []
    real = measure_room.private_step

    def watched(learner, images, **rest):
        assert learner.network is not network
        assert rest["mechanism"].sample_rate == 1.0
        sizes.append(len(images.labels))
        real(learner, images, **rest)

    monkeypatch.setattr(measure_room, "private_step", watched)
    found = measured(network)
    assert 0 < found.seconds_per_draw < math.inf
    assert max(sizes) * 2 == found.draws_per_step
    assert max(sizes) <= 32
    assert all(map(torch.equal, before, network.parameters()))


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    measured()
    assert torch.equal(before, torch.get_rng_state())


def test_progress_rises_to_one():
    seen = []
    measured(progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    "bad", [{"seconds": math.nan}, {"seconds": 0.0}, {"noise_multiplicity": 0}]
)
def test_numbers_outside_their_range_are_refused(bad):
    with pytest.raises(ParameterError):
        measured(**bad)
