"""The network: rows that stand alone, layers we can differentiate, public weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from diffusion.network import NetworkConfig, build, preset
from privplan.errors import ParameterError

SIZES = [(1, 8, 8), (1, 7, 9), (1, 14, 14), (1, 28, 28), (3, 32, 32), (1, 1, 1)]
SMALL = NetworkConfig(
    channels=2,
    height=7,
    width=10,
    classes=3,
    base_width=8,
    width_multipliers=(1, 2),
    blocks=1,
    attention_resolutions=(5,),
)


def _inputs(config, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, config.channels + config.guide_channels, config.height, config.width)
    x = torch.randn(shape, generator=generator)
    labels = torch.arange(rows) % (config.classes + 1)
    return x, torch.randn(rows, generator=generator), labels


def _awake(config, seed=0):
    """A network whose zero-initialised output has been given weights."""
    network = build(config, seed=seed)
    with torch.no_grad():
        network.conv_out.weight.normal_(generator=torch.Generator().manual_seed(1))
    return network


@pytest.mark.parametrize("size", SIZES)
def test_every_image_size_comes_back_as_it_was(size):
    """Halving 7 and growing 4 back to 8 would crash on odd sizes only."""
    config = preset(*size, 10)
    x, c_noise, labels = _inputs(config, 2)
    assert build(config, seed=0)(x, c_noise, labels).shape == x.shape


def test_the_default_network_has_the_size_we_say():
    """DP noise grows with the parameters; a preset that grows unseen costs quality."""
    sizes = {}
    for side in (8, 28):
        network = build(preset(1, side, side, 10), seed=0)
        sizes[side] = sum(p.numel() for p in network.parameters())
    assert 60_000 <= sizes[8] <= 130_000
    assert 1_500_000 <= sizes[28] <= 2_000_000


def test_only_layers_with_a_per_record_rule_hold_parameters():
    """A parameter elsewhere would be trained without being clipped."""
    allowed = nn.Conv2d | nn.Linear | nn.GroupNorm | nn.Embedding
    network = build(SMALL, seed=0)
    for module in network.modules():
        if list(module.parameters(recurse=False)):
            assert isinstance(module, allowed)
    assert not list(network.buffers())


def test_a_row_does_not_depend_on_the_other_rows():
    """One record's loss seen through another's row would escape its own clipping."""
    network = _awake(SMALL)
    x, c_noise, labels = _inputs(SMALL, 4)
    together = network(x, c_noise, labels)
    alone = torch.cat(
        [network(x[i : i + 1], c_noise[i : i + 1], labels[i : i + 1]) for i in range(4)]
    )
    # 1e-5: kernels may sum in another order for another batch size.
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_building_leaves_the_global_random_state_alone():
    """A build that seeds the global generator would make DP noise repeat."""
    before = torch.get_rng_state()
    first = build(SMALL, seed=5).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    again = build(SMALL, seed=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = build(SMALL, seed=6).state_dict()
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])


@pytest.mark.parametrize("format_", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_convolution_is_fed_rows_in_plain_order(format_, channels):
    """Opacus computes a wrong gradient, silently, from a convolution fed otherwise."""
    config = NetworkConfig(
        channels=channels,
        height=8,
        width=8,
        classes=3,
        base_width=8,
        width_multipliers=(1, 2),
        blocks=1,
        attention_resolutions=(4, 8),
    )
    network, seen = build(config, seed=0), []

    def look(_module, inputs):
        (x,) = inputs
        plain = torch.empty(x.shape).stride()
        seen.append(x.is_contiguous() and x.stride()[-2:] == plain[-2:])

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(look)
    x, c_noise, labels = _inputs(config, 3)
    network(x.to(memory_format=format_), c_noise, labels)
    assert seen
    assert all(seen)


def test_noise_level_and_label_reach_the_features_from_the_first_step():
    """With zero-initialised conditioning the class is never learned under noise."""
    network = _awake(SMALL)
    x, c_noise, _ = _inputs(SMALL, 1)
    classes = [network(x, c_noise, torch.tensor([label])) for label in range(4)]
    for other in classes[1:]:
        assert (other - classes[0]).abs().max() > 1e-3
    quieter = network(x, c_noise - 0.5, torch.tensor([0]))
    assert (quieter - classes[0]).abs().max() > 1e-3


def test_training_starts_at_zero_output():
    """A random first output would have to be unlearned under noise."""
    x, c_noise, labels = _inputs(SMALL, 3)
    assert not build(SMALL, seed=0)(x, c_noise, labels).any()


def test_every_parameter_gets_a_gradient():
    """A dead parameter takes its share of the DP noise and gives nothing back."""
    network = _awake(SMALL)
    # all four labels occur, so every embedding row is used
    network(*_inputs(SMALL, 8)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_guide_image_widens_the_input_only():
    """The guide goes in beside the noisy image; what comes out is one image."""
    config = NetworkConfig(
        channels=2, height=8, width=8, classes=3, base_width=8, guide_channels=2
    )
    x, c_noise, labels = _inputs(config, 2)
    assert x.shape[1] == 4
    assert build(config, seed=0)(x, c_noise, labels).shape == (2, 2, 8, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_width": 12},
        {"base_width": 0},
        {"classes": 0},
        {"width_multipliers": ()},
        {"width_multipliers": (1, 0)},
        {"height": 0},
        {"guide_channels": -1},
    ],
    ids=str,
)
def test_an_impossible_shape_is_refused(wrong):
    fields = {"channels": 1, "height": 8, "width": 8, "classes": 2}
    with pytest.raises(ParameterError):
        NetworkConfig(**(fields | wrong))


def test_a_network_of_patches_answers_for_the_pixels_it_was_shown():
    """A wrong order of the pixels in a patch would train as well and draw mosaics."""
    config = replace(SMALL, height=8, width=12, patch=2, attention_resolutions=())
    network = _awake(config)
    x, c_noise, labels = _inputs(config, 1)
    x.requires_grad_()
    for row, column in ((0, 0), (3, 7), (7, 11)):
        network.zero_grad()
        (found,) = torch.autograd.grad(
            network(x, c_noise, labels)[0, 0, row, column], x
        )
        # group norms let every pixel see a little of every other one
        strongest = found[0].abs().sum(0).flatten().argmax().item()
        assert abs(strongest // 12 - row) <= 4
        assert abs(strongest % 12 - column) <= 4


def test_patches_that_do_not_tile_the_image_are_refused():
    with pytest.raises(ParameterError, match="patches of 2 do not tile 7 x 10"):
        replace(SMALL, patch=2)
