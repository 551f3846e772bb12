"""Every rule of the folded engine against plain autograd and against `torch.func`.

A rule that is wrong for one stride or one memory order crashes nothing: it is clipped
and noised like a right one, and the model learns something else. So each form of each
layer is compared with two other routes to the same gradient.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.clipping import Clipping
from diffusion.engines.folded import FoldedEngine
from diffusion.engines.loop import LoopEngine
from diffusion.engines.opacus_hooks import OpacusEngine
from diffusion.engines.record_gradients import Dense, Outer, clip_and_sum
from diffusion.engines.vmap import VmapEngine

# float32 sums of at most a few thousand terms in another order.
RELATIVE = 1e-5
# Wide enough to keep some records whole, and tight enough to clip others.
CLIPPING = Clipping(max_grad_norm=3.0)


def loss_of(model, rows):
    """Squares of the outputs around a target, so that no gradient is constant."""
    x, scale = rows
    out = model(x)
    target = torch.linspace(-1, 1, out[0].numel()).view(out.shape[1:])
    return scale * (out - target).square().flatten(1).sum(1)


def clipped(chosen, model, x, records):
    draws = len(x) // records
    scale = torch.logspace(-2, 2, records).repeat(draws)
    return chosen.clipped_sum(
        model,
        loss_of,
        (x, scale),
        records=records,
        noise_multiplicity=draws,
        clipping=CLIPPING,
    )


def assert_same(model, x, *others, records=3):
    found = clipped(FoldedEngine(), model, x, records)
    for other in others or (LoopEngine(), VmapEngine()):
        for one, two in zip(found, clipped(other, model, x, records), strict=True):
            assert (one - two).norm() <= RELATIVE * two.norm() + 1e-12


CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "padded": {"kernel_size": 3, "padding": 1},
    "oblong": {"kernel_size": (1, 3), "padding": (0, 2), "stride": (2, 1)},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "skipping": {"kernel_size": 2, "stride": 3},
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "grouped": {"kernel_size": 3, "groups": 2, "padding": 1},
    "depthwise": {"kernel_size": 3, "groups": 4, "padding": 1},
    "pointwise": {"kernel_size": 1},
    "pointwise-strided": {"kernel_size": 1, "stride": 2},
    "pointwise-padded": {"kernel_size": 1, "padding": 1},
    "pointwise-grouped": {"kernel_size": 1, "groups": 4},
    "same": {"kernel_size": 3, "padding": "same", "dilation": 2},
    "same-uneven": {"kernel_size": (4, 3), "padding": "same"},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "no-bias": {"kernel_size": 3, "bias": False},
    "one-output": {"kernel_size": 3, "out": 1},
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own route copies
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("draws", [1, 3])
def test_every_form_of_convolution_has_the_gradient_of_autograd(options, draws):
    """Folding records into groups must respect every way a kernel can move."""
    torch.manual_seed(0)
    options = dict(options)
    model = nn.Conv2d(4, options.pop("out", 8), **options)
    assert_same(model, torch.randn(3 * draws, 4, 7, 6))


def reordered(x, order):
    """The same numbers in another memory order."""
    if order == "channels-last":
        return x.to(memory_format=torch.channels_last)
    if order == "transposed":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    if order == "strided":
        return torch.stack([x, -x], dim=-1).flatten(3)[..., ::2]
    return x[:1].expand(len(x), -1, -1, -1)


@pytest.mark.parametrize(
    "order", ["channels-last", "transposed", "strided", "expanded"]
)
@pytest.mark.parametrize("last", [False, True], ids=["weights", "weights-last"])
def test_the_memory_order_of_images_changes_no_gradient(order, last):
    """Opacus 1.6 reads strides as if images were contiguous, and is silently wrong."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 6, 1),
        nn.Conv2d(6, 2, 3, stride=2),
    )
    if last:
        model = model.to(memory_format=torch.channels_last)
    x = reordered(torch.randn(6, 4, 7, 6), order)
    assert_same(model, x, LoopEngine(), VmapEngine(), OpacusEngine())
    contiguous = clipped(LoopEngine(), model, x.contiguous(), 3)
    for one, two in zip(clipped(FoldedEngine(), model, x, 3), contiguous, strict=True):
        assert (one - two).norm() <= RELATIVE * two.norm()


class Tokens(nn.Module):
    """A layer over (rows, tokens, features), from an image-like input."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.flatten(2).transpose(1, 2))


LAYERS = {
    "linear": (nn.Linear(5, 7), (5,)),
    "linear-thin": (nn.Linear(40, 30), (40,)),
    "linear-tokens": (nn.Linear(5, 7), (9, 5)),
    "linear-grid": (nn.Linear(5, 7, bias=False), (3, 4, 5)),
    "linear-transposed": (Tokens(nn.Linear(5, 7)), (5, 3, 4)),
    "group-norm": (nn.GroupNorm(2, 6), (6, 4, 3)),
    "group-norm-flat": (nn.GroupNorm(2, 6), (6,)),
    "group-norm-tokens": (nn.GroupNorm(3, 6), (6, 5)),
    "layer-norm": (nn.LayerNorm(5), (4, 5)),
    "layer-norm-grid": (nn.LayerNorm((4, 5)), (3, 4, 5)),
    "layer-norm-no-bias": (nn.LayerNorm(5, bias=False), (5,)),
    "layer-norm-transposed": (Tokens(nn.LayerNorm(5)), (5, 3, 4)),
}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("draws", [1, 3])
def test_every_layer_has_the_gradient_of_autograd(layer, shape, draws):
    """Rows of vectors, of tokens and of grids all reach the same rule."""
    torch.manual_seed(0)
    model = nn.Sequential(layer, nn.SiLU())
    assert_same(model, torch.randn(3 * draws, *shape))


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear, (4,)),
        (lambda a, b: nn.Conv2d(a, b, 3), (4, 5, 5)),
        (lambda a, _: nn.GroupNorm(2, a), (4, 5)),
        (lambda a, _: nn.LayerNorm(a), (5, 4)),
    ],
    ids=["linear", "conv", "group-norm", "layer-norm"],
)
def test_a_frozen_half_of_a_layer_stays_out(layer, shape, name):
    """Fine-tuning biases alone is a model like any other."""
    torch.manual_seed(0)
    model = layer(4, 4)
    getattr(model, name).requires_grad_(requires_grad=False)
    assert_same(model, torch.randn(6, *shape))


@pytest.mark.parametrize("padding", [None, 0, 2])
def test_an_embedding_has_the_gradient_of_autograd(padding):
    """Entries named twice add up, and the padding entry never learns."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4, padding_idx=padding), nn.Linear(4, 3))
    words = torch.tensor([[0, 1], [2, 2], [4, 0]] * 2)
    assert_same(model, words)


class Bare(nn.Module):
    """Parameters that meet the rows element by element, written in every way."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.channel = nn.Parameter(torch.randn(4, 1, 1))
        self.place = nn.Parameter(torch.randn(1, 4, 3, 3))
        self.shift = nn.Parameter(torch.randn(3))

    def forward(self, x):
        y = self.gain * x + self.channel
        y = torch.mul(y, self.place) - self.shift
        return (self.shift - y) / (2 + y.square()) + torch.add(self.gain, y)


@pytest.mark.parametrize("draws", [1, 3])
def test_bare_scales_and_biases_have_the_gradient_of_autograd(draws):
    """A gain on a residual branch is no layer, and must be clipped like one."""
    torch.manual_seed(0)
    assert_same(Bare(), torch.randn(3 * draws, 4, 3, 3))


class Tied(nn.Module):
    """One weight, used twice by layers and once as a function."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(40, 40)
        self.again = nn.Linear(40, 40, bias=False)
        self.again.weight = self.first.weight

    def forward(self, x):
        x = self.again(functional.silu(self.first(x)))
        return functional.linear(functional.silu(x), self.first.weight)


def test_a_shared_weight_is_one_parameter_with_one_norm():
    """Norms of the parts do not add up to the norm of the sum."""
    torch.manual_seed(0)
    assert_same(Tied(), torch.randn(6, 40))


def test_an_unformed_gradient_has_the_norm_and_sum_of_a_formed_one():
    """The cheap form must not change who is clipped, or by how much."""
    torch.manual_seed(0)
    left, right = torch.randn(4, 5, 8), torch.randn(4, 5, 6)
    formed = Dense(torch.bmm(left.mT, right))
    unformed = Outer(left, right)
    shapes = [torch.Size([8, 6])]
    assert torch.allclose(formed.squared_norms(), unformed.squared_norms(), rtol=1e-6)
    one = clip_and_sum([formed], shapes, CLIPPING)[0]
    assert torch.allclose(one, clip_and_sum([unformed], shapes, CLIPPING)[0], atol=1e-6)


def test_terms_that_cancel_cannot_hide_from_the_norm():
    """Huge terms of opposite sign leave a small exact norm and a large rounding error.

    The sum is taken in float32; were its factor based on the exact norm, the rounding
    error itself would leave the ball of radius C.
    """
    torch.manual_seed(0)
    bound = 1e-3
    left = 1e6 * torch.randn(1, 6, 8)
    left[:, 3:] = -left[:, :3]
    right = torch.randn(1, 6, 5)
    right[:, 3:] = right[:, :3] * (1 + 1e-7)
    found = clip_and_sum(
        [Outer(left, right)], [torch.Size([8, 5])], Clipping(max_grad_norm=bound)
    )[0]
    assert found.norm() <= bound


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e25])
def test_norms_are_those_of_float64_at_every_length_and_scale(size, scale):
    """Norms are taken in stretches of float32; no stretch may be lost or overflow."""
    torch.manual_seed(0)
    gradients = scale * torch.randn(3, size)
    exact = gradients.double().square().sum(1)
    # float32 sums of at most 256 squares: a few 1e-7, squared.
    assert torch.allclose(Dense(gradients).squared_norms(), exact, rtol=3e-6)


def test_a_factor_below_the_normal_range_counts_as_zero():
    """Subnormal factors lose digits, and a rounded-up one would exceed the bound."""
    gradients = torch.full((1, 4), 3e38)
    found = clip_and_sum(
        [Dense(gradients)], [torch.Size([4])], Clipping(max_grad_norm=1e-6)
    )[0]
    assert found.norm() <= 1e-6 * (1 + RELATIVE)


def test_bfloat16_forward_agrees_with_float32_to_its_own_precision():
    """Clipping stays in full precision; only the network's products are short."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.Conv2d(8, 2, 1),
        nn.Flatten(),
        nn.Linear(2 * 25, 3),
    )
    x = torch.randn(6, 4, 5, 5)
    wanted = clipped(LoopEngine(), model, x, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = clipped(FoldedEngine(), model, x, 3)
    total = math.sqrt(sum(g.square().sum().item() for g in found))
    assert total <= 3 * CLIPPING.max_grad_norm * (1 + RELATIVE)
    for one, two in zip(found, wanted, strict=True):
        # bfloat16 keeps 8 bits; a few layers deep that is a few per cent.
        assert (one - two).norm() <= 0.05 * two.norm()
