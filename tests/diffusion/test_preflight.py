"""Every check of a preflight, and the mistake that it alone is there for.

A mutant is an engine, a network or a part of the step with one mistake in it, most of
them found in published code. Each must be refused, by the check named beside it, and
an honest plan must pass.
"""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from diffusion import per_example, rehearsal, trainer
from diffusion.blueprint import network_of
from diffusion.clipping import Clipping
from diffusion.engines.loop import LoopEngine
from diffusion.engines.record_gradients import empty_sum
from diffusion.preflight import flight, steps, structure
from diffusion.preflight.gradients import check as check_engine
from diffusion.releases import made_up, of_plan, setting_of
from diffusion.run import train
from diffusion.watching import RunOptions
from privplan.errors import PolicyError
from privplan.preflight import from_text, to_text

OPTIONS = RunOptions(engine="loop")


class Tiny(nn.Module):
    """A network of the plan's shape, small enough to be tried many times."""

    def __init__(self, channels=1):
        super().__init__()
        self.conv_in = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.conv_out = nn.Conv2d(4, 1, 1)

    def forward(self, x, c_noise, labels):
        hidden = self.norm(self.conv_in(x)) * (1 + c_noise[:, None, None, None])
        return self.conv_out(torch.tanh(hidden))


@pytest.fixture
def plan(small_plan):
    return small_plan


@pytest.fixture
def fly(plan, monkeypatch):
    """Check a network with an engine; the network of the plan is replaced by it."""
    torch.manual_seed(0)

    def run(network=None, engine=None):
        network = Tiny() if network is None else network
        monkeypatch.setattr(
            "diffusion.releases.private_network", lambda _: copy.deepcopy(network)
        )
        if engine is not None:
            monkeypatch.setitem(per_example.ENGINES, "loop", engine)
        phase = plan.private_phases[0]
        release = of_plan(plan, OPTIONS)[-1]
        setting = setting_of(plan, phase, OPTIONS)
        exact = setting_of(plan, phase, OPTIONS, in_float64=True)
        checks = flight.of_network(
            copy.deepcopy(network), setting, exact, release, made_up(plan, 3)
        )
        flight.stop_at_the_first_failure(checks)
        return {check.found.name for check in checks}

    return run


@pytest.fixture
def engine_checks(plan):
    """Hold one engine against autograd; returns the names of the checks that fail."""
    torch.manual_seed(0)

    def run(engine, clipping="fixed"):
        setting = setting_of(plan, plan.private_phases[0], OPTIONS)
        mechanism = replace(
            setting.mechanism, clipping=Clipping(max_grad_norm=1.0, kind=clipping)
        )
        setting = replace(
            setting,
            mechanism=mechanism,
            performance=replace(setting.performance, engine=engine),
        )
        exact = setting_of(plan, plan.private_phases[0], OPTIONS, in_float64=True)
        bench = flight._bench(Tiny(), setting, exact, made_up(plan, 3))
        return {c.found.name for c in check_engine(bench) if not c.found.holds}

    return run


class Wrong(LoopEngine):
    """A loop engine whose `clipped_sum` a mutant changes."""

    def honest(self, model, row_loss, rows, records, draws, clipping):
        return super().clipped_sum(
            model, row_loss, rows, records=records, noise_multiplicity=draws,
            clipping=clipping,
        )  # fmt: skip

    def clipped_sum(
        self, model, row_loss, rows, *, records, noise_multiplicity, clipping
    ):
        return self.mutant(model, row_loss, rows, records, noise_multiplicity, clipping)


class ClipsEachDraw(Wrong):
    def mutant(self, model, row_loss, rows, records, draws, clipping):
        return self.honest(model, row_loss, rows, records * draws, 1, clipping)


class DividesByTheBatch(Wrong):
    def mutant(self, *given):
        return [part / max(given[3], 1) for part in self.honest(*given)]


class SkipsRecords(Wrong):
    def mutant(self, model, row_loss, rows, records, draws, clipping):
        kept = records - 1 if records > 1 else records
        place = torch.arange(records * draws) % max(records, 1) < kept
        rows = tuple(row[place] for row in rows)
        return self.honest(model, row_loss, rows, kept, draws, clipping)


class ClipsEachTensor(Wrong):
    def mutant(self, model, row_loss, rows, records, draws, clipping):
        total = empty_sum(model.parameters(), clipping)
        for record in range(records):
            own = torch.arange(records * draws) % records == record
            alone = tuple(row[own] for row in rows)
            loose = Clipping(max_grad_norm=1e30)
            parts = self.honest(model, row_loss, alone, 1, draws, loose)
            for sum_, part in zip(total, parts, strict=True):
                size = float(part.norm())
                if math.isfinite(size):
                    sum_.add_(
                        part * min(1.0, clipping.max_grad_norm / max(size, 1e-30))
                    )
        return total


class LetsNaNPass(Wrong):
    def mutant(self, model, row_loss, rows, records, draws, clipping):
        total = self.honest(model, row_loss, rows, records, draws, clipping)
        broken = sum(float(row.sum()) * 0 for row in rows if row.is_floating_point())
        return [part + broken for part in total]


class ForgetsATensor(Wrong):
    def mutant(self, *given):
        first, *others = self.honest(*given)
        return [torch.zeros_like(first), *others]


class ClipsTheSum(Wrong):
    def mutant(self, model, row_loss, rows, records, draws, clipping):
        loose = Clipping(max_grad_norm=1e30)
        total = self.honest(model, row_loss, rows, records, draws, loose)
        size = torch.cat([part.flatten() for part in total]).norm()
        bound = clipping.max_grad_norm / max(float(size), 1e-30)
        return [part * min(1.0, bound) for part in total]


ENGINES = [
    (ClipsEachDraw, "clipped sum"),
    (DividesByTheBatch, "neighbours"),
    (SkipsRecords, "neighbours"),
    (ClipsEachTensor, "bound"),
    (LetsNaNPass, "broken rows"),
    (ForgetsATensor, "gradients"),
    (ClipsTheSum, "clipped sum"),
]


@pytest.mark.parametrize(
    ("mutant", "check"), ENGINES, ids=lambda x: getattr(x, "__name__", x)
)
def test_an_engine_with_one_mistake_fails_the_check_that_is_there_for_it(
    engine_checks, mutant, check
):
    assert check in engine_checks(mutant())


@pytest.mark.parametrize("clipping", ["fixed", "normalised", "adaptive"])
@pytest.mark.parametrize("name", ["folded", "vmap", "loop"])
def test_every_engine_passes_under_every_clipping(engine_checks, name, clipping):
    """A check that honest engines fail would stop honest runs."""
    assert engine_checks(per_example.ENGINES[name](), clipping) == set()


def test_a_wrong_engine_is_refused_with_the_cure_in_the_message(fly):
    with pytest.raises(PolicyError, match="nothing was counted") as refusal:
        fly(engine=ForgetsATensor)
    assert "'conv_in.weight'" in refusal.value.message
    assert "--engine" in refusal.value.hint
    assert refusal.value.exit_code == 5


def test_an_honest_network_passes_every_check(fly):
    names = fly()
    assert {"isolation", "gradients", "own noise", "rate", "frozen"} <= names
    assert {"private: huge", "private: frozen"} <= names


def test_a_large_batch_does_not_make_an_honest_step_look_dead(plan):
    """Divided by a large batch, the noise of a step is lost in the float32 of a weight
    near 1; a preflight that then sees nothing move refuses an honest run by chance.
    """
    setting = setting_of(plan, plan.private_phases[0], OPTIONS)
    large = replace(setting.mechanism, expected_batch_size=1e12)
    setting = replace(setting, mechanism=large)
    found = steps.of_learning(Tiny(), setting, made_up(plan, 3))
    assert {check.found.name for check in found} == {"frozen", "trained"}
    assert all(check.found.holds for check in found)


class Mean(nn.Module):
    """Looks along the batch, and is of no type anybody refuses."""

    def forward(self, x):
        return x - x.mean(dim=0, keepdim=True)


class Counts(nn.Module):
    """Keeps a statistic of what it saw."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += x.detach().abs().mean()
        return x


def with_layer(layer):
    network = Tiny()
    network.norm = layer
    return network


class Idle(Tiny):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (lambda: with_layer(nn.BatchNorm2d(4)), "'norm' lets one record see"),
        (lambda: with_layer(Mean()), "'norm' lets one record see"),
        (lambda: with_layer(Counts()), "'norm.seen' changes in the forward pass"),
        (Idle, "no gradient reaches 'spare.weight'"),
    ],
    ids=["BatchNorm", "a mean over the batch", "a running statistic", "dead tensor"],
)
def test_a_network_that_cannot_be_trained_privately_is_refused_by_layer(
    fly, network, named
):
    with pytest.raises(PolicyError, match=named) as refusal:
        fly(network())
    assert refusal.value.hint


def test_a_network_is_looked_at_without_being_changed():
    network = Tiny().double()
    before = copy.deepcopy(network.state_dict())

    def row_loss(network, rows):
        return network(rows[0], rows[2], rows[3]).square().mean(dim=(1, 2, 3))

    rows = (torch.rand(3, 1, 8, 8).double(), torch.rand(3, 1, 8, 8).double(),
            torch.rand(3).double(), torch.zeros(3, dtype=torch.int64))  # fmt: skip
    assert all(c.found.holds for c in structure.check(network, row_loss, rows))
    assert not network._forward_hooks
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def scaled_noise(factor):
    real = trainer.noisy_sum

    def wrong(total, *, noise_multiplier, **named):
        return real(total, noise_multiplier=factor * noise_multiplier, **named)

    return wrong


def same_noise(total, *, stream, noise_multiplier, max_grad_norm):
    generator = torch.Generator().manual_seed(0)
    std = noise_multiplier * max_grad_norm
    return [
        part.double()
        + std * torch.randn(part.shape, generator=generator, dtype=torch.float64)
        for part in total
    ]


def every_other(stream, *, records, sample_rate):
    return torch.arange(0, records, max(round(1 / sample_rate), 1))


def fixed_size(stream, *, records, sample_rate):
    order = torch.randperm(records)
    return order[: max(round(records * sample_rate), 1)].sort().values


def twice_the_rate(stream, *, records, sample_rate):
    chosen = stream.below(min(2 * sample_rate, 1.0), records)
    return torch.from_numpy(chosen.nonzero()[0])


def divides_by_the_batch(total, *, stream, noise_multiplier, max_grad_norm):
    """Noise that follows the realised batch, as where the divisor does."""
    size = float(torch.cat([p.flatten() for p in total]).abs().sum())
    return REAL_NOISE(
        total, stream=stream, max_grad_norm=max_grad_norm,
        noise_multiplier=noise_multiplier * max(size, 1.0),
    )  # fmt: skip


REAL_NOISE = trainer.noisy_sum
STEPS = [
    ("noisy_sum", scaled_noise(0.9), "noise"),
    ("noisy_sum", scaled_noise(1.1), "noise"),
    ("noisy_sum", same_noise, "noise|coordinates|steps"),
    ("noisy_sum", divides_by_the_batch, "noise|differ"),
    ("poisson_batch", every_other, "repeats|pairs|sizes"),
    ("poisson_batch", fixed_size, "sizes"),
    ("poisson_batch", twice_the_rate, "rate"),
]


@pytest.mark.parametrize(
    ("part", "mutant", "found"), STEPS, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_a_step_with_one_mistake_is_refused(fly, monkeypatch, part, mutant, found):
    monkeypatch.setattr(trainer, part, mutant)
    with pytest.raises(PolicyError, match=found):
        fly()


def test_a_failed_preflight_stops_a_run_before_anything_is_counted(
    plan, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainer, "noisy_sum", scaled_noise(0.9))
    with pytest.raises(PolicyError, match="preflight"):
        train(plan, digits, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_preflight_of_the_whole_plan_passes_and_can_be_read_again(small):
    """With queries and a network that corrects a prior: every kind of release."""
    plan = small("best")
    found = flight.preflight(plan, RunOptions())
    assert found.passed
    assert found.plan_digest == plan.digest
    assert from_text(to_text(found).encode()) == found
    names = {check.name for check in found.checks}
    assert {"gaussian: huge", "private: huge", "gradients"} <= names


def test_networks_begin_where_nothing_flows_and_are_shaken(plan):
    """The last layer begins at zero; all other gradients would be zero too."""
    network = network_of(plan)
    assert not network.conv_out.weight.any()
    moved = rehearsal.shaken(network)
    assert moved.conv_out.weight.any()
    assert not network.conv_out.weight.any()
