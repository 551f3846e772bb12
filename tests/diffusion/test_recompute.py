"""Activations that are made again, and gradients formed twice, change no gradient."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.clipping import Clipping
from diffusion.engines import folded
from diffusion.engines.convolution import Convolution
from diffusion.engines.folded import FoldedEngine
from diffusion.engines.live_bytes import LiveBytes
from diffusion.engines.loop import LoopEngine
from diffusion.engines.recompute import Recompute
from diffusion.engines.record_gradients import Again, Dense, clip_and_sum
from diffusion.engines.tape import Tape
from privplan.errors import ParameterError

CLIPPING = Clipping(max_grad_norm=0.5)
# float32 sums of at most a few thousand terms in another order.
RELATIVE = 1e-5


class Net(nn.Module):
    """Norms, activations and attention, with few positions and many channels."""

    def __init__(self, change=lambda x: x):
        super().__init__()
        self.change = change
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.norm = nn.GroupNorm(4, 32)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.mix = nn.Linear(32, 96)
        self.last = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, x):
        hidden = self.change(functional.silu(self.norm(self.first(x))))
        hidden = hidden + functional.silu(self.second(hidden))
        tokens = self.mix(hidden.flatten(2).mT.contiguous()).chunk(3, 2)
        mixed = functional.scaled_dot_product_attention(*tokens)
        return self.last(hidden * (1 + mixed.mT.reshape(hidden.shape)))


def row_loss(model, rows):
    return rows[1] * (model(rows[0]) - 0.3).square().mean((1, 2, 3))


def clipped(chosen, model, *, draws=2, size=4, records=3, bad=None):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(draws * records, 1, size, size, generator=generator)
    if bad is not None:
        x[bad] = float("nan")
    scale = torch.logspace(-1, 2, records).repeat(draws)
    return chosen.clipped_sum(
        model,
        row_loss,
        (x, scale),
        records=records,
        noise_multiplicity=draws,
        clipping=CLIPPING,
    )


def assert_same(found, wanted):
    for one, two in zip(found, wanted, strict=True):
        assert (one - two).norm() <= RELATIVE * two.norm() + 1e-12


@pytest.fixture
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x[:, :, :, ::1].clone(),
        lambda x: x.flip(3).contiguous(),
        lambda x: x.add_(1.0) * x,
        lambda x: functional.silu(x, inplace=True),
        lambda x: functional.silu(functional.silu(x)),
    ],
    ids=["plain", "copied", "flipped", "written-into", "in-place", "twice"],
)
def test_what_is_made_again_is_what_it_was(seeded, change, draws):
    """A recipe for a tensor that was changed since would give another gradient."""
    model = Net(change)
    assert_same(
        clipped(FoldedEngine(), model, draws=draws),
        clipped(LoopEngine(), model, draws=draws),
    )


def test_recipes_hold_less_than_what_they_make(seeded):
    """Else the whole module would be for nothing."""
    x = torch.randn(8, 16, 16, 16, requires_grad=True)

    def held(recompute):
        with LiveBytes() as counted:
            y = functional.silu(x)
            recompute.note(y, functional.silu, x)
            with recompute:
                kept = y * y
            del y
            now = counted.now
            kept.sum().backward()
        return now

    class Never(Recompute):
        def note(self, output, make, source):
            pass

    # The activation itself is gone; what is left is the product.
    assert held(Recompute()) == held(Never()) - x.nbytes


def test_a_kept_tensor_that_is_written_into_is_refused(seeded):
    """With hooks torch checks nothing; the gradient would be wrong without a word."""
    x = torch.randn(4, requires_grad=True)
    with Recompute():
        y = x.exp()
        z = y * y
        y.detach().add_(1)
    with pytest.raises(ParameterError, match="in place"):
        z.sum().backward()


def test_a_gradient_of_few_positions_is_kept_as_what_it_is_formed_of(seeded):
    """Sixteen positions times 64 numbers, against 9,216 in the gradient."""
    kinds = []
    honest = folded.clip_and_sum

    def watched(gradients, *rest):
        kinds.extend(type(g) for g in gradients)
        return honest(gradients, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded, "clip_and_sum", watched)
        found = clipped(FoldedEngine(), model := Net(), draws=1)
    assert Again in kinds
    assert Dense in kinds
    assert_same(found, clipped(LoopEngine(), model, draws=1))


@pytest.mark.parametrize("draws", [1, 2])
def test_a_gradient_formed_twice_drops_a_record_that_is_not_finite(seeded, draws):
    model = Net()
    found = clipped(FoldedEngine(), model, draws=draws, bad=1)
    assert all(g.isfinite().all() for g in found)
    assert_same(found, clipped(LoopEngine(), model, draws=draws, bad=1))


def test_terms_that_cancel_cannot_hide_from_a_norm_taken_earlier(seeded):
    """The weighted sum rounds otherwise than the norm's own gradient did.

    The norm of the sum that is left after cancelling is given as zero, the worst case;
    only the allowance for rounding then keeps the record inside C.
    """
    conv = nn.Conv2d(8, 8, 1, bias=False)
    x, g = 1e6 * torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    x[:, :, 2:] = x[:, :, :2]
    g[:, :, 2:] = -g[:, :, :2] * (1 + 1e-7)
    tape = Tape([conv.weight], records=1, draws=1)
    rule = Convolution(
        weight=conv.weight,
        bias=None,
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
    )
    squares = rule._rounding(x, g, tape)
    again = Again(squares, x, g, rule._summed)
    bound = Clipping(max_grad_norm=1e-3)
    (found,) = clip_and_sum([again], [conv.weight.shape], bound)
    assert found.norm() <= 1e-3
