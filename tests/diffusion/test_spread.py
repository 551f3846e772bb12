"""The spread of gradients: against a model whose variances are known."""

import pytest
import torch
from torch import nn

from diffusion import spread as spread_room
from diffusion.loss import row_loss
from diffusion.network import NetworkConfig, build
from diffusion.noise_levels import LogNormal
from diffusion.precond import Edm
from diffusion.spread import measure_spread, stand_ins
from diffusion.trainer import LossSettings
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


def settings(losses=None):
    return LossSettings(
        row_loss=losses or row_loss(Edm(sigma_data=0.5)),
        law=LogNormal(intervals=((0.02, 10.0),)),
        label_dropout=0.1,
        null_label=3,
    )


class Line(nn.Module):
    """One weight per pixel; the gradient of the loss below is a known vector."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(64))


def known(network, rows):
    """A loss whose gradient is 1 + image + 2 noise, pixel by pixel."""
    clean, noisy, sigma, _ = rows
    noise = (noisy - clean) / sigma[:, None, None, None]
    return ((1 + clean + 2 * noise).flatten(1) * network.weight).sum(1)


def test_known_variances_are_found_again(monkeypatch):
    """v_t is 4 per pixel and v_x that of the images: 64 pixels, drawn as normals."""
    images = 0.5 * torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(400, dtype=torch.int64)
    monkeypatch.setattr(spread_room, "stand_ins", lambda *_, **__: (images, labels))
    found = measure_spread(Line(), TINY, loss=settings(known), records=400, draws=3)
    # 64 x 400 x 2 squares of normals: a relative error of 0.6 %; 4 of them.
    assert found.within == pytest.approx(4 * 64, rel=0.025)
    # v_x is what is left of a mean over 3 draws: its error is that of 256 / 3 + 16.
    assert found.between == pytest.approx(0.25 * 64, rel=0.25)
    assert found.mean == pytest.approx(64, rel=0.1)
    assert found.ratio == pytest.approx(found.within / found.between)


def test_the_same_network_gives_the_same_spread_and_stays_as_it_was():
    """Planning twice must give one plan, and must not train what is measured."""
    network = build(TINY, seed=0)
    before = [p.detach().clone() for p in network.parameters()]
    first, second = (
        measure_spread(network, TINY, loss=settings(), records=4, draws=2)
        for _ in range(2)
    )
    assert first == second
    assert all(p.grad is None for p in network.parameters())
    assert all(map(torch.equal, before, network.parameters()))


def test_measuring_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    measure_spread(build(TINY, seed=0), TINY, loss=settings(), records=2, draws=2)
    assert torch.equal(before, torch.get_rng_state())


def test_records_that_do_not_differ_are_not_divided_by_zero(monkeypatch):
    images = torch.zeros(4, 1, 8, 8)
    labels = torch.zeros(4, dtype=torch.int64)
    monkeypatch.setattr(spread_room, "stand_ins", lambda *_, **__: (images, labels))
    found = measure_spread(Line(), TINY, loss=settings(known), records=4, draws=64)
    assert 0 < found.ratio <= 100


def test_progress_ends_at_one():
    seen = []
    measure_spread(
        build(TINY, seed=0),
        TINY,
        loss=settings(),
        records=3,
        draws=2,
        progress=seen.append,
    )
    assert seen == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_stand_ins_have_the_shape_of_the_data_even_if_fewer_than_classes():
    images, labels = stand_ins(TINY, 2, kind="strokes")
    assert images.shape == (2, 1, 8, 8)
    assert labels.shape == (2,)
    assert int(labels.max()) < TINY.classes


@pytest.mark.parametrize("numbers", [{"records": 1}, {"draws": 1}])
def test_a_variance_of_one_is_refused(numbers):
    with pytest.raises(ParameterError, match="a variance takes 2"):
        measure_spread(build(TINY, seed=0), TINY, loss=settings(), **numbers)


def test_a_network_without_gradient_is_refused():
    def flat(network, rows):
        return 0 * rows[0].flatten(1).sum(1) + 0 * network.weight.sum()

    with pytest.raises(ParameterError, match="no gradient"):
        measure_spread(Line(), TINY, loss=settings(flat), records=2, draws=2)
