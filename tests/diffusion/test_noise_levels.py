"""The laws of sigma: against closed forms, and restricted to stages."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffusion.noise_grid import karras_grid
from diffusion.noise_levels import LogNormal, LogUniform, VpUniform, VUniform, vp_time
from privplan.errors import ParameterError

NAN = float("nan")
WIDE = ((0.01, 20.0),)
LAWS = [
    LogNormal(p_mean=-1.2, p_std=1.2, intervals=WIDE),
    VUniform(intervals=WIDE),
    VpUniform(intervals=WIDE),
    LogUniform(intervals=WIDE),
]
STAGES = ((0.02, 0.3), (0.5, 0.7), (3.0, 10.0))
by_name = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)


def _levels(count=50):
    return torch.logspace(-2, math.log10(20.0), count, dtype=torch.float64)


def test_the_edm_law_is_scipys_truncated_normal_of_the_logarithm():
    """The law decides what the network becomes good at; a wrong tail shows nowhere."""
    law, sigma = LAWS[0], _levels()
    low, high = ((math.log(bound) + 1.2) / 1.2 for bound in WIDE[0])
    truth = stats.truncnorm(low, high, loc=-1.2, scale=1.2).cdf(np.log(sigma.numpy()))
    np.testing.assert_allclose(law.cdf(sigma).numpy(), truth, atol=1e-12)


def test_the_ve_law_is_scipys_reciprocal_law():
    truth = stats.loguniform(*WIDE[0]).cdf(_levels().numpy())
    np.testing.assert_allclose(LAWS[3].cdf(_levels()).numpy(), truth, atol=1e-12)


def test_the_v_law_is_uniform_in_the_angle():
    """sigma = tan(pi t / 2) with uniform t, between log-SNR 13 and -9."""
    law = VUniform()
    assert -2 * math.log(law.sigma_min) == pytest.approx(13)
    assert -2 * math.log(law.sigma_max) == pytest.approx(-9)
    ends = [2 * math.atan(bound) / math.pi for bound in law.intervals[0]]
    times = torch.linspace(*ends, 11, dtype=torch.float64)
    shares = law.cdf(torch.tan(math.pi * times / 2))
    np.testing.assert_allclose(shares.numpy(), np.linspace(0, 1, 11), atol=1e-9)


def test_the_vp_law_runs_from_time_zero_to_time_one():
    """sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1, Karras et al., table 1."""
    law = VpUniform()
    for bound, time in zip(law.intervals[0], (1e-5, 1.0), strict=True):
        sigma = math.sqrt(math.expm1(19.9 * time**2 / 2 + 0.1 * time))
        assert bound == pytest.approx(sigma, rel=1e-5)
    time = torch.tensor([1e-5, 0.3, 1.0], dtype=torch.float64)
    back = vp_time(law.unwarp(time), beta_d=19.9, beta_min=0.1)
    np.testing.assert_allclose(back.numpy(), time.numpy(), rtol=1e-9)


def test_the_published_masses_of_edm_and_v_come_out():
    """Where EDM and v put their draws is why one wins at small epsilon."""
    at = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    edm = LogNormal(intervals=((1e-6, 1e6),)).cdf(at).tolist()
    v = VUniform().cdf(at).tolist()
    # published to three digits
    assert edm[0] == pytest.approx(0.179, abs=6e-4)
    assert 1 - edm[1] == pytest.approx(0.159, abs=6e-4)
    assert v[0] == pytest.approx(0.064, abs=1.1e-3)
    assert 1 - v[1] == pytest.approx(0.500, abs=6e-3)
    assert 1 - v[2] == pytest.approx(0.0635, abs=7e-3)


@by_name
def test_quantile_and_distribution_function_undo_each_other(law):
    """Also across the gaps of a law restricted to several stages."""
    chance = torch.linspace(0.001, 0.999, 97, dtype=torch.float64)
    for restricted in (law, law.restricted(STAGES)):
        sigma = restricted.quantile(chance)
        back = restricted.cdf(sigma)
        np.testing.assert_allclose(back.numpy(), chance.numpy(), atol=1e-9)
        assert bool((sigma.diff() > 0).all())


@by_name
def test_a_restricted_law_keeps_the_proportions_inside(law):
    """A stage must change where draws go, not how they lie inside the stage."""
    stage = law.restricted(STAGES)
    edges = torch.tensor(STAGES, dtype=torch.float64)
    mass = (law.cdf(edges[:, 1]) - law.cdf(edges[:, 0])).numpy()
    inside = (stage.cdf(edges[:, 1]) - stage.cdf(edges[:, 0])).numpy()
    np.testing.assert_allclose(inside, mass / mass.sum(), atol=1e-9)


@by_name
def test_draws_follow_the_law_and_stay_in_the_intervals(law):
    stage = law.restricted(STAGES)
    sigma = stage.sample(4000, generator=torch.Generator().manual_seed(3))
    inside = torch.zeros(len(sigma), dtype=torch.bool)
    for low, high in STAGES:
        inside |= (sigma >= low * (1 - 1e-6)) & (sigma <= high * (1 + 1e-6))
    assert bool(inside.all())
    shares = stage.cdf(sigma.double().clamp(0.02, 10.0)).numpy()
    # fixed seed; a wrong law gives p far below 1e-6 at 4000 draws
    assert stats.kstest(shares, "uniform").pvalue > 1e-3


@by_name
def test_no_draws_are_no_draws(law):
    """An empty Poisson batch asks for zero noise levels."""
    assert law.sample(0, generator=torch.Generator()).shape == (0,)


def test_restricting_twice_is_restricting_to_both():
    law = LogUniform(intervals=((0.1, 1.0), (2.0, 4.0)))
    once = law.restricted(((0.5, 3.0),))
    assert once.intervals == ((0.5, 1.0), (2.0, 3.0))
    assert once.restricted(((0.7, 2.5),)).intervals == ((0.7, 1.0), (2.0, 2.5))


@pytest.mark.parametrize(
    "intervals",
    [(), ((1.0, 0.5),), ((0.0, 1.0),), ((0.1, NAN),), ((1.0, 2.0), (1.5, 3.0))],
    ids=str,
)
def test_impossible_intervals_are_refused(intervals):
    with pytest.raises(ParameterError):
        LogUniform(intervals=intervals)


def test_a_stage_outside_the_law_is_refused():
    with pytest.raises(ParameterError, match="do not meet"):
        LogUniform(intervals=WIDE).restricted(((30.0, 40.0),))
    far = LogNormal(p_mean=-1.2, p_std=0.1, intervals=((50.0, 80.0),))
    with pytest.raises(ParameterError, match="no probability"):
        far.sample(1, generator=torch.Generator())


@pytest.mark.parametrize("wrong", [{"p_std": 0.0}, {"p_std": NAN}, {"p_mean": NAN}])
def test_a_law_that_is_no_law_is_refused(wrong):
    with pytest.raises(ParameterError):
        LogNormal(**wrong)


def test_the_grid_is_equation_five():
    """Against the formula, term by term, in plain Python."""
    grid = karras_grid(steps=5, sigma_min=0.02, sigma_max=10.0, rho=7.0).tolist()
    ends = 10.0 ** (1 / 7), 0.02 ** (1 / 7)
    truth = [(ends[0] + i / 4 * (ends[1] - ends[0])) ** 7 for i in range(5)] + [0.0]
    np.testing.assert_allclose(grid, truth, rtol=1e-12)
    assert karras_grid(steps=1, sigma_min=0.1, sigma_max=2.0).tolist() == pytest.approx(
        [2.0, 0.0]
    )


@pytest.mark.parametrize(
    ("low", "high", "rho"),
    [(2.0, 1.0, 7.0), (0.0, 1.0, 7.0), (NAN, 1.0, 7.0), (0.1, 1.0, 0.0)],
)
def test_an_impossible_grid_is_refused(low, high, rho):
    with pytest.raises(ParameterError):
        karras_grid(steps=3, sigma_min=low, sigma_max=high, rho=rho)
