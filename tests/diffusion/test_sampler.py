"""The samplers: on Gaussian data, where the exact answer is known."""

import itertools

import numpy as np
import pytest
import torch

from diffusion.noise_grid import karras_grid
from diffusion.sampler import SamplerConfig, sample
from privplan.errors import ParameterError

LABELS = torch.zeros(4000, dtype=torch.int64)
MEAN = torch.tensor([0.4, -0.2])
VARIANCE = torch.tensor([0.25, 0.04])
METHODS = {
    "ddim": SamplerConfig(method="ddim", steps=60, sigma_min=0.02, sigma_max=10.0),
    "stochastic-ddim": SamplerConfig(
        method="ddim", steps=60, sigma_min=0.02, sigma_max=10.0, eta=1.0
    ),
    "heun": SamplerConfig(method="heun", steps=30, sigma_min=0.02, sigma_max=10.0),
    "heun-churn": SamplerConfig(
        method="heun", steps=40, sigma_min=0.02, sigma_max=10.0, churn=10.0
    ),
    "dpm-solver-2m": SamplerConfig(
        method="dpm-solver-2m", steps=40, sigma_min=0.02, sigma_max=10.0
    ),
}


def _gaussian(x, sigma, labels):
    """The exact denoiser of N(MEAN, diag VARIANCE): Wiener's filter."""
    mean, variance = MEAN.view(1, 2, 1, 1), VARIANCE.view(1, 2, 1, 1)
    gain = variance / (variance + sigma[:, None, None, None] ** 2)
    return mean + gain * (x - mean)


def _draw(config, denoise=_gaussian, labels=LABELS, seed=0):
    return sample(
        denoise,
        labels=labels,
        shape=(2, 1, 1),
        config=config,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("config", METHODS.values(), ids=METHODS.keys())
def test_gaussian_data_comes_out_with_its_mean_and_covariance(config):
    """An error in any coefficient of a sampler moves the variance of what it draws."""
    x = _draw(config).flatten(1).double()
    count, spread = len(x), VARIANCE.sqrt()
    # four standard errors, plus 6 % of the deviation for steps of finite size
    assert bool(((x.mean(0) - MEAN).abs() < spread * (4 / count**0.5 + 0.06)).all())
    error = 4 * (2 / count) ** 0.5 + 0.12
    assert bool(((x.var(0) / VARIANCE - 1).abs() < error).all())
    correlation = np.corrcoef(x.T.numpy())[0, 1]
    assert abs(correlation) < 4 / count**0.5


def _end_error(method, steps, rho=1.0):
    """Distance to the exact solution of the probability-flow equation.

    For Gaussian data x(s) - mean is proportional to sqrt(variance + s^2).
    """
    config = SamplerConfig(
        method=method, steps=steps, sigma_min=0.5, sigma_max=4.0, rho=rho
    )
    labels = torch.zeros(1, dtype=torch.int64)
    noise = torch.randn(1, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    path = []

    def watched(x, sigma, labels):
        path.append((sigma.item(), x.double()))
        return _gaussian(x.double(), sigma.double(), labels)

    _draw(config, watched, labels)
    reached = next(x for sigma, x in reversed(path) if abs(sigma - 0.5) < 1e-6)
    mean, variance = MEAN.view(1, 2, 1, 1), VARIANCE.view(1, 2, 1, 1)
    shrink = torch.sqrt((variance + 0.25) / (variance + 16.0))
    truth = mean + (4.0 * noise.double() - mean) * shrink
    return (reached - truth).norm().item()


@pytest.mark.parametrize(
    ("method", "order"), [("ddim", 1), ("heun", 2), ("dpm-solver-2m", 2)]
)
def test_halving_the_step_divides_the_error_as_the_order_says(method, order):
    """A second-order method with one wrong factor still works, at first order."""
    # with n + 1 levels there are n steps down to sigma_min
    errors = [_end_error(method, steps + 1) for steps in (16, 32, 64)]
    orders = [np.log2(a / b) for a, b in itertools.pairwise(errors)]
    # the next term of the expansion is not yet negligible, most so for the 2M solver
    assert orders[-1] == pytest.approx(order, abs=0.4)


def test_heun_beats_ddim_at_equal_steps():
    assert _end_error("heun", 33) < _end_error("ddim", 33) / 5


@pytest.mark.parametrize("config", METHODS.values(), ids=METHODS.keys())
def test_the_same_generator_gives_the_same_images(config):
    labels = torch.zeros(3, dtype=torch.int64)
    before = torch.get_rng_state()
    first, again = _draw(config, labels=labels), _draw(config, labels=labels)
    assert torch.equal(first, again)
    assert not torch.equal(first, _draw(config, labels=labels, seed=1))
    assert torch.equal(before, torch.get_rng_state())


def _noise_drawn(config):
    generator = torch.Generator().manual_seed(0)
    sample(
        _gaussian,
        labels=torch.zeros(3, dtype=torch.int64),
        shape=(2, 1, 1),
        config=config,
        generator=generator,
    )
    twin = torch.Generator().manual_seed(0)
    torch.randn((3, 2, 1, 1), generator=twin)
    return not torch.equal(generator.get_state(), twin.get_state())


@pytest.mark.parametrize("name", METHODS)
def test_only_stochastic_samplers_draw_more_noise_than_they_start_from(name):
    assert _noise_drawn(METHODS[name]) == (name in {"stochastic-ddim", "heun-churn"})


@pytest.mark.parametrize("config", METHODS.values(), ids=METHODS.keys())
def test_a_sampler_ends_where_its_denoiser_points(config):
    """At the last level everything but the estimate must be gone."""

    def constant(x, sigma, labels):
        return labels[:, None, None, None] * torch.ones_like(x)

    labels = torch.tensor([1, 2])
    drawn = _draw(config, constant, labels)
    torch.testing.assert_close(drawn, constant(drawn, None, labels).float())


def test_the_denoiser_is_called_on_the_levels_of_the_grid():
    """Heun asks twice per step, at both ends, and once at the last."""
    seen = []

    def watched(x, sigma, labels):
        seen.append(round(sigma[0].item(), 5))
        return _gaussian(x, sigma, labels)

    config = SamplerConfig(steps=3, sigma_min=0.1, sigma_max=2.0)
    _draw(config, watched, LABELS[:1])
    a, b, c, _ = karras_grid(steps=3, sigma_min=0.1, sigma_max=2.0).tolist()
    assert seen == pytest.approx([a, b, b, c, c], abs=1e-5)


def test_progress_counts_every_step_to_the_end():
    told = []
    sample(
        _gaussian,
        labels=LABELS[:1],
        shape=(2, 1, 1),
        config=SamplerConfig(steps=4),
        generator=torch.Generator(),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"sigma_min": 5.0, "sigma_max": 1.0},
        {"sigma_min": float("nan")},
        {"method": "ddim", "eta": 1.5},
        {"method": "ddim", "eta": float("nan")},
        {"method": "heun", "eta": 0.5},
        {"method": "ddim", "churn": 1.0},
        {"churn": -1.0},
        {"churn_interval": (2.0, 1.0)},
        {"churn_noise": 0.0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ParameterError):
        SamplerConfig(**wrong)


def test_the_2m_solver_extrapolates_to_the_middle_of_the_step():
    """For an estimate linear in ln sigma, D_i is its value half-way, at sqrt(s s').

    Uneven steps tell 1/(2 r) from r/2; even ones do not.
    """

    def logarithm(x, sigma, labels):
        return sigma.log()[:, None, None, None] * torch.ones_like(x)

    seen = []

    def watched(x, sigma, labels):
        seen.append(x)
        return logarithm(x, sigma, labels)

    config = SamplerConfig(
        method="dpm-solver-2m", steps=3, sigma_min=0.1, sigma_max=4.0, rho=1.0
    )
    _draw(config, watched, LABELS[:1])
    a, b, c, _ = karras_grid(steps=3, sigma_min=0.1, sigma_max=4.0, rho=1.0).tolist()
    first = b / a * seen[0] + (1 - b / a) * np.log(a)
    torch.testing.assert_close(seen[1], first)
    second = c / b * first + (1 - c / b) * np.log(np.sqrt(b * c))
    torch.testing.assert_close(seen[2], second)
