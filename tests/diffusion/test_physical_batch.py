"""The size of a pass is found on public rows, and fits what it was given."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.engines.live_bytes import LiveBytes
from diffusion.per_example import Clipping, engine
from diffusion.physical_batch import PhysicalBatch
from privplan.errors import ParameterError

DRAWS = 2
LIMIT = 4 * 2**20


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.second(functional.silu(self.first(x)))


def row_loss(model, rows):
    return model(rows[0]).square().mean((1, 2, 3))


def held(model, records):
    chosen = engine("folded")
    rows = (torch.rand(records * DRAWS, 1, 16, 16),)
    sums = {"records": records, "noise_multiplicity": DRAWS}
    clipping = Clipping(max_grad_norm=1.0)
    chosen.clipped_sum(model, row_loss, rows, clipping=clipping, **sums)
    with LiveBytes() as counted:
        chosen.clipped_sum(model, row_loss, rows, clipping=clipping, **sums)
    return counted.peak


def fitted(model, like, **options):
    return PhysicalBatch(**options).records(
        engine("folded"), model, row_loss, like, noise_multiplicity=DRAWS
    )


def test_the_chosen_size_fits_and_a_tenth_more_does_not():
    """A wrong slope would either run out of memory or waste most of it."""
    model = Small()
    records = fitted(model, (torch.rand(1, 1, 16, 16),), limit_bytes=LIMIT)
    assert held(model, records) <= LIMIT * 1.01
    assert held(model, records + max(records // 10, 2)) > LIMIT


def test_one_record_is_taken_even_where_nothing_fits():
    assert fitted(Small(), (torch.rand(1, 1, 16, 16),), limit_bytes=1) == 1


def test_a_given_size_is_taken_without_trying():
    """A user who pins it has measured; trying could need more than there is."""
    size = PhysicalBatch(7).records(
        engine("folded"), nn.Identity(), row_loss, (), noise_multiplicity=1
    )
    assert size == 7


def test_the_values_of_the_rows_decide_nothing():
    """A size that followed from private pixels would be an uncharged release."""
    model = Small()
    sizes = {
        fitted(model, (torch.full((1, 1, 16, 16), value),), limit_bytes=LIMIT)
        for value in (0.0, 1.0, float("nan"), float("inf"))
    }
    assert len(sizes) == 1


def test_trying_moves_no_random_state_and_leaves_the_model_alone():
    model = Small()
    weights = [p.clone() for p in model.parameters()]
    before = torch.get_rng_state()
    fitted(model, (torch.zeros(1, 1, 16, 16),))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, model.parameters(), weights))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("wrong", [{"records": 0}, {"limit_bytes": 0}])
def test_a_size_below_one_is_refused(wrong):
    with pytest.raises(ParameterError, match="at least 1"):
        PhysicalBatch(**wrong)


def test_live_bytes_are_counted_until_they_are_freed():
    with LiveBytes() as counted:
        first = torch.ones(1000)
        view = first[10:]
        second = first + 1
        del first
        assert (counted.now, counted.peak) == (8000, 8000)
        del view, second
        assert (counted.now, counted.peak) == (0, 8000)
