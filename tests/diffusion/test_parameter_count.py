"""The closed-form count of parameters, against the network itself."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.network import NetworkConfig, build, preset
from privplan.errors import ParameterError
from privplan.parameter_count import NetworkShape, parameter_count
from privplan.recipes import recipe


def counted(config):
    shape = NetworkShape(
        channels=config.channels,
        height=config.height,
        width=config.width,
        classes=config.classes,
        base_width=config.base_width,
        width_multipliers=config.width_multipliers,
        blocks=config.blocks,
        attention_resolutions=config.attention_resolutions,
        guide_channels=config.guide_channels,
        patch=config.patch,
    )
    return parameter_count(shape)


def real(config):
    network = build(config, seed=0)
    return sum(parameter.numel() for parameter in network.parameters())


@settings(max_examples=15, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(4, 40), st.integers(4, 40), st.integers(1, 3)),
    base_width=st.sampled_from([8, 16, 24]),
    multipliers=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    blocks=st.integers(1, 3),
    attention=st.lists(st.integers(2, 40), max_size=20),
    guide=st.integers(0, 3),
)
def test_the_count_is_that_of_the_real_network(
    channels, size, base_width, multipliers, blocks, attention, guide
):
    """A planner with a wrong P would promise a signal that noise then drowns."""
    height, width, patch = size
    config = NetworkConfig(
        channels=channels,
        height=height * patch,
        width=width * patch,
        classes=height + 3,
        base_width=base_width,
        width_multipliers=tuple(multipliers),
        blocks=blocks,
        attention_resolutions=tuple(attention),
        guide_channels=guide,
        patch=patch,
    )
    assert counted(config) == real(config)


@pytest.mark.parametrize("shape", [(1, 8, 8, 10), (1, 28, 28, 10), (3, 64, 64, 2)])
def test_the_count_holds_for_every_suggested_network(shape):
    config = preset(*shape)
    assert counted(config) == real(config)
    every = tuple(range(2, 65))
    attentive = replace(config, attention_resolutions=every)
    assert counted(attentive) == real(attentive) > real(config)


@pytest.mark.parametrize("side", [8, 28, 29, 48])
def test_the_count_holds_for_every_recipe(side):
    found = recipe(records=1437, height=side, width=side)
    config = NetworkConfig(
        channels=1,
        height=side,
        width=side,
        classes=10,
        base_width=found.base_width,
        width_multipliers=found.width_multipliers,
        blocks=found.blocks,
        attention_resolutions=found.attention_resolutions,
        patch=found.patch,
    )
    assert counted(config) == real(config)


def test_a_shape_that_is_no_network_is_refused():
    with pytest.raises(ParameterError, match="levels is 0"):
        NetworkShape(
            channels=1,
            height=8,
            width=8,
            classes=10,
            base_width=8,
            width_multipliers=(),
            blocks=1,
            attention_resolutions=(),
        )
