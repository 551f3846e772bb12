import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffusion.privatize import grid_step, noisy_sum
from diffusion.randomness import RandomSource
from privplan.errors import ParameterError


def privatize(parts, z=1.0, norm=1.0):
    return noisy_sum(
        parts, stream=RandomSource().stream(), noise_multiplier=z, max_grad_norm=norm
    )


@pytest.mark.parametrize(("z", "norm"), [(1.0, 1.0), (7.3, 0.2), (0.5, 1e-6)])
def test_the_noise_has_the_planned_scale(z, norm):
    """Noise off by 2 % must be seen: at 1e5 coordinates the band is 1.1 %."""
    noise = privatize([torch.zeros(100_000)], z, norm)[0].numpy()
    assert noise.std() == pytest.approx(z * norm, rel=0.0125)
    assert stats.kstest(noise / (z * norm), "norm").pvalue > 1e-6


def test_noise_scaled_by_098_would_be_seen():
    """The check above is worth nothing if this mutant passes it."""
    noise = 0.98 * privatize([torch.zeros(100_000)])[0].numpy()
    assert noise.std() != pytest.approx(1.0, rel=0.0125)


def test_every_tensor_gets_noise_of_its_own():
    """A tensor left without noise, or noise shared by two, breaks the guarantee."""
    a, b = privatize([torch.zeros(50, 1000), torch.zeros(50, 1000)])
    assert a.std().item() == pytest.approx(1, rel=0.02)
    assert b.std().item() == pytest.approx(1, rel=0.02)
    assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 5 / math.sqrt(50_000)


def test_the_noise_is_added_to_the_sum_itself():
    total = [torch.full((1000,), 1e6), torch.tensor(-3.0)]
    noisy = privatize(total, z=1.0, norm=1.0)
    assert noisy[0].mean().item() == pytest.approx(1e6, abs=0.2)
    assert noisy[1].shape == ()


def test_whatever_the_sum_the_result_lies_on_one_public_grid():
    """Off the grid, the last bits of `sum + noise` tell two sums apart."""
    step = grid_step(0.7 * 0.3)
    for value in (0.0, 1 / 3, math.pi * 1e-4, 17.123456789):
        on_grid = privatize([torch.full((5000,), value)], z=0.7, norm=0.3)[0] / step
        assert torch.equal(on_grid, on_grid.round())


def test_the_grid_is_a_power_of_two_far_below_the_noise():
    for std in (1e-9, 0.3, 1.0, 5e7):
        step = grid_step(std)
        assert math.frexp(step)[0] == 0.5
        assert std * 2.0**-21 < step <= std * 2.0**-20


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_no_noise_is_not_an_option(bad):
    for z, norm in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(ParameterError):
            privatize([torch.zeros(2)], z, norm)
