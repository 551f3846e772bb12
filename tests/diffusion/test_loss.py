"""The loss: one number per row, K-major rows, labels dropped once per record."""

import pytest
import torch
from torch.func import functional_call, grad, vmap

from diffusion.loss import draw_rows, row_loss
from diffusion.network import NetworkConfig, build
from diffusion.noise_levels import LogNormal
from diffusion.precond import Edm, V, Ve, Vp
from privplan.errors import ParameterError

LAW = LogNormal(intervals=((0.02, 10.0),))
NULL = 3
CONFIG = NetworkConfig(
    channels=1,
    height=6,
    width=6,
    classes=NULL,
    base_width=8,
    width_multipliers=(1, 2),
    blocks=1,
    attention_resolutions=(3,),
)


def _rows(records=4, draws=3, *, dropout=0.0, seed=0):
    images = torch.rand(records, 1, 6, 6, generator=torch.Generator().manual_seed(9))
    return images, draw_rows(
        images,
        torch.arange(records) % NULL,
        noise_multiplicity=draws,
        law=LAW,
        label_dropout=dropout,
        null_label=NULL,
        generator=torch.Generator().manual_seed(seed),
    )


def _awake():
    network = build(CONFIG, seed=0)
    with torch.no_grad():
        network.conv_out.weight.normal_(generator=torch.Generator().manual_seed(1))
    return network


class _Loss(torch.nn.Module):
    def __init__(self, network, loss):
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, *rows):
        return self.loss(self.network, rows)


def test_row_k_times_b_plus_b_is_draw_k_of_record_b():
    """The engine sums over draws by this rule; another order mixes two records."""
    images, (clean, noisy, sigma, labels) = _rows(records=4, draws=3)
    for draw in range(3):
        for record in range(4):
            row = draw * 4 + record
            assert torch.equal(clean[row], images[record])
            assert labels[row] == record % NULL
    noise = (noisy - clean) / sigma[:, None, None, None]
    # 432 standard normal numbers: mean within 4 and variance within 4 standard errors
    assert abs(noise.mean().item()) < 4 / 432**0.5
    assert abs(noise.var().item() - 1) < 4 * (2 / 432) ** 0.5
    assert len(set(sigma.tolist())) == 12


def test_a_label_is_dropped_for_all_draws_of_a_record_or_for_none():
    _, (_, _, _, labels) = _rows(records=300, draws=2, dropout=0.3)
    first, second = labels.view(2, 300)
    assert torch.equal(first, second)
    dropped = (first == NULL).float().mean().item()
    # 300 coin throws at 0.3: four standard errors
    assert abs(dropped - 0.3) < 4 * (0.21 / 300) ** 0.5


def test_dropout_of_one_hides_every_label_and_of_zero_none():
    assert bool((_rows(dropout=1.0)[1][3] == NULL).all())
    assert bool((_rows(dropout=0.0)[1][3] != NULL).all())


def test_an_empty_batch_draws_empty_rows():
    """An empty Poisson batch is a step too."""
    _, rows = _rows(records=0)
    assert [len(part) for part in rows] == [0, 0, 0, 0]
    assert row_loss(Edm())(build(CONFIG, seed=0), rows).shape == (0,)


def test_drawing_uses_its_own_generator():
    """Noise from the global generator could be replayed by whoever seeds it."""
    before = torch.get_rng_state()
    first, again = _rows(seed=4)[1], _rows(seed=4)[1]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("precond", [Edm(), V(), Vp(), Ve()], ids=str)
def test_the_loss_is_the_error_in_the_networks_own_units(precond):
    """Karras et al. 2022, equation 8, written in two ways.

    weight |D - clean|^2 = |F - (clean - c_skip x) / c_out|^2 for weight = 1/c_out^2.
    """
    network = _awake()
    _, rows = _rows()
    clean, noisy, sigma, labels = rows
    column = sigma[:, None, None, None]
    target = (clean - precond.c_skip(column) * noisy) / precond.c_out(column)
    out = network(precond.c_in(column) * noisy, precond.c_noise(sigma), labels)
    truth = (out - target).square().mean(dim=(1, 2, 3))
    # float32; targets of order 10, differences of them squared
    torch.testing.assert_close(
        row_loss(precond)(network, rows), truth, rtol=2e-3, atol=1e-4
    )


def test_a_row_of_the_loss_depends_on_that_row_alone():
    network = _awake()
    _, rows = _rows()
    together = row_loss(Edm())(network, rows)
    for i in range(len(together)):
        alone = row_loss(Edm())(network, tuple(part[i : i + 1] for part in rows))
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_per_record_gradients_by_vmap_add_up_to_the_ordinary_gradient():
    """The fall-back engine maps this loss over records; it must trace and agree."""
    records, draws = 4, 3
    model = _Loss(_awake(), row_loss(Edm()))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    _, rows = _rows(records, draws)
    folded = tuple(part.view(draws, records, *part.shape[1:]) for part in rows)

    def record_loss(weights, *own):
        return functional_call(model, weights, own).mean()

    each = vmap(grad(record_loss), in_dims=(None, 1, 1, 1, 1))(parameters, *folded)
    model(*rows).mean().backward()
    for name, parameter in model.named_parameters():
        truth = parameter.grad
        # relative to the largest entry: sums run in another order
        scale = truth.abs().max().item()
        assert (each[name].mean(0) - truth).abs().max().item() <= 1e-4 * scale + 1e-7


@pytest.mark.parametrize(
    ("draws", "dropout"), [(0, 0.1), (2, -0.1), (2, 1.5), (2, float("nan"))]
)
def test_impossible_draws_are_refused(draws, dropout):
    with pytest.raises(ParameterError):
        _rows(draws=draws, dropout=dropout)
