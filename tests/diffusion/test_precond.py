"""The parameterisations: against table 1, and against what they are for."""

import math

import pytest
import torch

from diffusion.precond import Denoiser, Edm, V, Ve, Vp, denoise, guided
from privplan.errors import ParameterError

ALL = [Edm(sigma_data=0.5), Edm(sigma_data=1 / math.sqrt(3)), V(), Vp(), Ve()]
each = pytest.mark.parametrize("precond", ALL, ids=str)
SIGMA = torch.logspace(-2.5, 2, 40, dtype=torch.float64)


class _Linear(torch.nn.Module):
    """Returns a fixed multiple of its input."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x, c_noise, labels):
        return self.factor * x + c_noise[:, None, None, None]


@each
def test_the_weight_asks_the_same_of_the_network_everywhere(precond):
    """In table 1 every weight is 1 / c_out^2; else one noise level drowns the rest."""
    product = precond.weight(SIGMA) * precond.c_out(SIGMA) ** 2
    torch.testing.assert_close(product, torch.ones_like(SIGMA), rtol=1e-12, atol=0)


@pytest.mark.parametrize("precond", [ALL[0], ALL[1], V()], ids=str)
def test_input_and_target_of_edm_and_v_have_unit_variance(precond):
    """Karras et al. 2022, equations 114 and 117; c_out is then as small as can be."""
    data = getattr(precond, "sigma_data", 1.0)
    shown = precond.c_in(SIGMA) ** 2 * (data**2 + SIGMA**2)
    torch.testing.assert_close(shown, torch.ones_like(SIGMA))
    skip, out = precond.c_skip(SIGMA), precond.c_out(SIGMA)
    target = ((1 - skip) ** 2 * data**2 + skip**2 * SIGMA**2) / out**2
    torch.testing.assert_close(target, torch.ones_like(SIGMA))


def test_v_is_edm_for_data_of_unit_variance():
    edm, v = Edm(sigma_data=1.0), V()
    for name in ("c_skip", "c_out", "c_in", "weight"):
        torch.testing.assert_close(getattr(v, name)(SIGMA), getattr(edm, name)(SIGMA))


@pytest.mark.parametrize(("precond", "sign"), [(Vp(), -1.0), (Ve(), 1.0)])
def test_vp_and_ve_predict_the_noise(precond, sign):
    """With F = -sign * noise the denoiser must return the clean image exactly."""
    clean = torch.rand(3, 1, 2, 2, dtype=torch.float64)
    noise = torch.rand(3, 1, 2, 2, dtype=torch.float64)
    sigma = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    noisy = clean + sigma[:, None, None, None] * noise

    class Knows(torch.nn.Module):
        def forward(self, x, c_noise, labels):
            return -sign * noise

    found = denoise(Knows(), precond, noisy, sigma, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, clean)


@each
def test_the_coded_noise_level_tells_all_levels_apart(precond):
    """The network knows sigma only through c_noise; it must grow, and stay near one."""
    coded = precond.c_noise(SIGMA)
    assert bool((coded.diff() > 0).all())
    assert coded.abs().max() < 10


def test_the_coded_noise_levels_are_those_of_table_one():
    sigma = torch.tensor([1.0, math.e**4], dtype=torch.float64)
    assert Edm().c_noise(sigma).tolist() == pytest.approx([0.0, 1.0])
    assert V().c_noise(sigma[:1]).item() == pytest.approx(0.5)
    assert Ve().c_noise(2 * sigma).tolist() == pytest.approx([0.0, 4.0])
    at_one = torch.tensor([math.sqrt(math.expm1(19.9 / 2 + 0.1))], dtype=torch.float64)
    assert Vp().c_noise(at_one).item() == pytest.approx(1.0)


@each
def test_the_denoiser_is_equation_seven(precond):
    x = torch.rand(3, 1, 2, 2)
    sigma = torch.tensor([0.1, 1.0, 5.0])
    labels = torch.zeros(3, dtype=torch.int64)
    found = Denoiser(network=_Linear(2.0), precond=precond)(x, sigma, labels)
    for i in range(3):
        s = sigma[i]
        inner = 2.0 * precond.c_in(s) * x[i] + precond.c_noise(s)
        truth = precond.c_skip(s) * x[i] + precond.c_out(s) * inner
        torch.testing.assert_close(found[i], truth)


def test_guidance_moves_away_from_no_class():
    """(1 + w) D(y) - w D(null), and nothing at all at w = 0."""

    def by_label(x, sigma, labels):
        return x + labels[:, None, None, None]

    x, sigma, labels = torch.zeros(2, 1, 1, 1), torch.ones(2), torch.tensor([0, 3])
    found = guided(by_label, guidance=2.0, null_label=10)(x, sigma, labels)
    assert found.flatten().tolist() == [3 * 0 - 2 * 10, 3 * 3 - 2 * 10]
    assert guided(by_label, guidance=0.0, null_label=10) is by_label


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_an_impossible_guidance_is_refused(value):
    with pytest.raises(ParameterError):
        guided(lambda x, _s, _y: x, guidance=value, null_label=0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_an_impossible_sigma_data_is_refused(value):
    with pytest.raises(ParameterError):
        Edm(sigma_data=value)


def test_an_impossible_noise_rate_is_refused():
    with pytest.raises(ParameterError):
        Vp(beta_d=float("nan"))
