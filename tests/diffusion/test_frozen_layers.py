"""Frozen layers between trained ones: the same gradients, and next to no memory.

A gradient on its way to a trained layer passes frozen ones. A rule keeps less for that
than torch does, and a wrong one would give every layer before it a wrong gradient.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.adapters import train_only
from diffusion.blueprint import network_for
from diffusion.clipping import Clipping
from diffusion.denoisers import loss_for
from diffusion.engines.folded import FoldedEngine, Uncovered
from diffusion.engines.live_bytes import LiveBytes
from diffusion.engines.loop import LoopEngine
from diffusion.engines.tape import stand_in
from diffusion.loss import draw_rows
from privplan import plan_size
from privplan.plan import PlanShape
from privplan.plan_training import TrainingWishes, training_of
from privplan.presets import Preset
from privplan.recipes import recipe
from privplan.stage_text import ALL_PRIVATE, parse
from tests.diffusion.test_per_example_layers import assert_same, clipped, loss_of

FROZEN = {
    "conv": lambda: nn.Conv2d(8, 8, 3, padding=1),
    "strided": lambda: nn.Conv2d(8, 8, 3, stride=2, padding=1),
    "oblong": lambda: nn.Conv2d(8, 8, (1, 3), padding=(0, 2), dilation=(1, 2)),
    "grouped": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
    "same": lambda: nn.Conv2d(8, 8, 3, padding="same", dilation=2),
    "pointwise": lambda: nn.Conv2d(8, 8, 1),
    "group norm": lambda: nn.GroupNorm(4, 8),
    "plain norm": lambda: nn.GroupNorm(2, 8, affine=False),
    "norm, silu, conv": lambda: nn.Sequential(
        nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1)
    ),
    "linear": lambda: nn.Linear(8, 8),
}
TUNINGS = ("attention", "embedding", "film", "bias", "lora:2@attention")


def frozen(module):
    """Freeze a module, away from the values that layers begin with."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_layer_hands_the_gradient_on(name, layout):
    """One record at a time through plain autograd says what is right."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), frozen(FROZEN[name]()), nn.SiLU(),
        frozen(nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    x = torch.randn(6, 3, 8, 8)
    if layout == "channels last":
        x = x.to(memory_format=torch.channels_last)
    assert_same(model, x)


@pytest.mark.parametrize("trained", ["bias", "weight"])
def test_half_a_layer_before_frozen_ones_has_its_gradient(trained):
    """Of a layer whose bias alone is trained, the input is not kept."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(),
        nn.Flatten(), nn.Linear(128, 12), nn.Linear(12, 4),
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(requires_grad=name.endswith(trained))
    assert_same(model, torch.randn(6, 3, 8, 8), LoopEngine())


class Computed(nn.Module):
    """A convolution whose weight is computed from one that is trained."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.gain = nn.Parameter(torch.ones(4, 1, 1, 1))
        self.register_buffer("weight", torch.randn(4, 4, 3, 3))

    def forward(self, x):
        return functional.conv2d(self.first(x), self.weight * self.gain)


def test_a_weight_that_is_computed_from_a_trained_one_is_not_frozen():
    """It is no parameter itself; taken for frozen, its gradient would be lost."""
    torch.manual_seed(0)
    model, x = Computed(), torch.randn(4, 3, 8, 8)
    found = FoldedEngine().attempt(
        model,
        loss_of,
        (x, torch.ones(4)),
        records=4,
        noise_multiplicity=1,
        clipping=Clipping(max_grad_norm=1.0),
    )
    assert found == Uncovered(("gain",))


def held_by(blocks, width=16, side=16):
    """Bytes at the peak of one sum through that many frozen blocks."""
    torch.manual_seed(0)
    middle = [
        nn.Sequential(
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        for _ in range(blocks)
    ]
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), *map(frozen, middle), nn.Conv2d(width, 1, 1)
    )
    engine, x = FoldedEngine(), torch.randn(8, 3, side, side)
    clipped(engine, model, x, 8)  # the first pass also tries the model
    with LiveBytes() as counted:
        clipped(engine, model, x, 8)
    return counted.peak / (8 * width * side * side * 4)


def test_a_frozen_block_holds_one_feature_map_and_not_two():
    """torch keeps what goes into the norm, and what goes into the activation too.

    The tenth above one: means and deviations of the norm.
    """
    assert (held_by(9) - held_by(3)) / 6 < 1.1


def peak_of(tune, side=16):
    shape = PlanShape(channels=1, height=side, width=side, classes=4)
    settings = replace(
        recipe(records=1, height=side, width=side), attention_resolutions=(side // 2,)
    )
    allocation = parse(
        ALL_PRIVATE,
        dimensions=shape.dimensions,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
    )
    training = training_of(
        TrainingWishes(tune=tune), Preset(stages=ALL_PRIVATE), allocation, settings,
        shape,
    )  # fmt: skip
    network = network_for(shape, training)
    train_only(network, plan_size.selected(shape, training))
    loss = loss_for(training, 4, ((training.sigma_min, training.sigma_max),))
    rows = draw_rows(
        torch.rand(8, 1, side, side),
        torch.zeros(8, dtype=torch.int64),
        noise_multiplicity=2,
        law=loss.law,
        label_dropout=0.0,
        null_label=4,
        generator=torch.Generator().manual_seed(0),
    )
    engine = FoldedEngine()
    for _ in range(2):
        with LiveBytes() as counted:
            engine.clipped_sum(
                network, loss.row_loss, rows, records=8, noise_multiplicity=2,
                clipping=Clipping(max_grad_norm=0.2),
            )  # fmt: skip
    return counted.peak


@pytest.fixture(scope="module")
def peak_of_all():
    return peak_of("all")


@pytest.mark.parametrize("tune", TUNINGS)
def test_tuning_a_part_holds_less_than_tuning_all(tune, peak_of_all):
    """A user tunes a part to fit larger batches; before, some tunings needed more."""
    assert peak_of(tune) < peak_of_all


def test_a_stand_in_is_one_number_in_any_sizes():
    x = torch.zeros(4, 3, 2, dtype=torch.float64)
    seen = stand_in(x, 5, 7)
    assert (seen.shape, seen.dtype) == ((5, 7), x.dtype)
    assert seen.untyped_storage().nbytes() == 8
    assert stand_in(x).shape == x.shape
