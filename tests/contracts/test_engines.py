"""The contract of a per-example engine, run against every engine and every mutant.

The checks are plain functions that fail by assertion. Each real engine passes all of
them; each wrong engine, built here from mistakes found in published code, fails the one
that exists for it. A check that no mutant fails would prove nothing.
"""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.per_example import ENGINES, Clipping, accumulate, engine, split_records
from privplan.errors import ParameterError

C = 0.5
CLIPPING = Clipping(max_grad_norm=C)
LOOSE = Clipping(max_grad_norm=1e6)  # nothing is clipped: shows the plain gradient
# float32 sums of a few thousand terms, in another order per engine, agree to about
# 1e-6 of a parameter's norm; the contract asks for 1e-5.
RELATIVE = 1e-5


class SmallUNet(nn.Module):
    """Every layer with a rule, wired as in a diffusion U-Net, on 8x8 images."""

    def __init__(self):
        super().__init__()
        self.label = nn.Embedding(4, 12)
        self.condition = nn.Linear(12, 2 * 8)
        self.conv_in = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)
        self.tokens_norm = nn.LayerNorm(8)
        self.query_key_value = nn.Conv2d(8, 24, 1)
        self.mixed = nn.Linear(8, 8)
        self.conv_out = nn.Conv2d(16, 1, 3, padding="same")

    def forward(self, x, label):
        scale, shift = self.condition(self.label(label))[..., None, None].chunk(2, 1)
        skip = functional.silu(self.norm(self.conv_in(x)) * (1 + scale) + shift)
        low = self.dilated(functional.silu(self.down(skip)))
        qkv = self.query_key_value(low).flatten(2).transpose(1, 2).chunk(3, dim=2)
        mixed = self.mixed(functional.scaled_dot_product_attention(*qkv))
        mixed = self.tokens_norm(mixed).transpose(1, 2).reshape(low.shape)
        grown = functional.interpolate(low + mixed, scale_factor=2.0)
        return self.conv_out(torch.cat([grown, skip], dim=1))


def row_loss(model, rows):
    """Mean squared error of each row, times a weight that sets its gradient's size."""
    x, label, target, weight = rows
    error = model(x, label) - target
    return weight * error.square().mean(dim=(1, 2, 3))


@pytest.fixture
def model():
    torch.manual_seed(7)
    return SmallUNet()


def make_rows(records, draws, weights=None):
    """K-major rows; weights give each record's loss its scale."""
    generator = torch.Generator().manual_seed(3)
    clean = torch.randn(records, 1, 8, 8, generator=generator).repeat(draws, 1, 1, 1)
    x = clean + torch.randn(clean.shape, generator=generator)
    label = torch.randint(0, 4, (records,), generator=generator).repeat(draws)
    scale = torch.ones(records) if weights is None else torch.tensor(weights)
    return x, label, clean, scale.repeat(draws)


def per_record(model, rows, records):
    """The truth: plain autograd on the mean loss of one record after the other."""
    parameters = list(model.parameters())
    return [
        torch.autograd.grad(
            row_loss(model, tuple(part[b::records] for part in rows)).mean(), parameters
        )
        for b in range(records)
    ]


def norm(gradients):
    return math.sqrt(sum(g.double().square().sum().item() for g in gradients))


def truth(model, rows, records, clipping):
    """Clip each record's gradient by the formula, in Python numbers, and add up."""
    total = [torch.zeros_like(p, dtype=torch.float64) for p in model.parameters()]
    for gradients in per_record(model, rows, records):
        size = norm(gradients)
        factor = (
            clipping.max_grad_norm / (size + 0.01)
            if clipping.kind == "normalised"
            else min(1.0, clipping.max_grad_norm / size)
        )
        for accumulator, g in zip(total, gradients, strict=True):
            accumulator.add_(factor * g.double())
    return total


def run(chosen, model, rows, records, clipping=CLIPPING):
    draws = len(rows[0]) // records if records else 1
    return chosen.clipped_sum(
        model,
        row_loss,
        rows,
        records=records,
        noise_multiplicity=draws,
        clipping=clipping,
    )


def without(rows, records, b):
    """The neighbouring batch: every draw of record b is gone."""
    keep = [i for i in range(len(rows[0])) if i % records != b]
    return tuple(part[keep] for part in rows)


def assert_close(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert norm([one - other]) <= RELATIVE * norm([other]) + 1e-12


def agrees_with_plain_autograd(chosen, model):
    for draws in (1, 2, 8):
        rows = make_rows(3, draws, [1.0, 30.0, 0.01])
        for clipping in (CLIPPING, LOOSE, Clipping(max_grad_norm=C, kind="normalised")):
            found = run(chosen, model, rows, 3, clipping)
            assert_close(found, truth(model, rows, 3, clipping))


def every_neighbour_moves_the_sum_by_at_most_c(chosen, model):
    for weights in (
        [1e4] * 4,
        [0.0] * 4,
        [1e-6, 1e6, 1e-6, 1e6],
        [1e6, -1e6, 1e6, -1e6],
        [1.0, 10.0, 100.0, 1000.0],
    ):
        for draws in (1, 2):
            rows = make_rows(4, draws, weights)
            if weights[0] == weights[1]:
                rows = tuple(
                    part[:1].repeat(len(part), *[1] * (part.dim() - 1)) for part in rows
                )
            whole = run(chosen, model, rows, 4)
            for b in range(4):
                less = run(chosen, model, without(rows, 4, b), 3)
                moved = norm([x - y for x, y in zip(whole, less, strict=True)])
                assert moved <= C * (1 + RELATIVE)


def doubling_the_draws_keeps_the_largest_contribution_at_c(chosen, model):
    for draws in (1, 2, 4, 8):
        alone = run(chosen, model, make_rows(1, draws, [1e5]), 1)
        assert norm(alone) == pytest.approx(C, rel=RELATIVE)


def two_equal_records_count_twice(chosen, model):
    once = make_rows(1, 2)
    twice = tuple(part.repeat_interleave(2, dim=0) for part in once)
    single = run(chosen, model, once, 1)
    assert_close(run(chosen, model, twice, 2), [2 * g for g in single])


def a_record_without_a_finite_norm_counts_as_zero(chosen, model):
    for poison in (math.nan, math.inf, -math.inf):
        for draws in (1, 2):
            rows = make_rows(3, draws, [1.0, 5.0, 2.0])
            rows[0][1] = poison  # one draw of record 1 is enough
            found = run(chosen, model, rows, 3)
            assert_close(found, truth(model, without(rows, 3, 1), 2, CLIPPING))


def a_huge_record_stays_within_c(chosen, model):
    for draws in (1, 2):
        rows = make_rows(3, draws, [1.0, 1.0, 2.0])
        rows[2][1] = 1e15  # a target so far off that squares of the gradient overflow
        others = truth(model, without(rows, 3, 1), 2, CLIPPING)
        found = run(chosen, model, rows, 3)
        assert norm([x - y for x, y in zip(found, others, strict=True)]) <= C * (
            1 + RELATIVE
        )
        rows[0][1] = 1e30
        assert all(g.isfinite().all() for g in run(chosen, model, rows, 3))


def no_records_give_zeros(chosen, model):
    empty = tuple(part[:0] for part in make_rows(1, 1))
    found = run(chosen, model, empty, 0)
    assert [g.shape for g in found] == [p.shape for p in model.parameters()]
    assert all((g == 0).all() for g in found)


def splitting_the_records_changes_nothing(chosen, model):
    rows = make_rows(5, 2, [1.0, 3.0, 9.0, 27.0, 81.0])
    whole = run(chosen, model, rows, 5)
    for size in (1, 2, 5, 100):
        pieces = split_records(rows, records=5, physical_batch_size=size)
        found = accumulate(
            chosen, model, row_loss, pieces, noise_multiplicity=2, clipping=CLIPPING
        )
        assert_close(found, whole)


def memory_format_changes_nothing(chosen, model):
    rows = make_rows(3, 2, [1.0, 5.0, 0.1])
    wanted = truth(model, rows, 3, CLIPPING)
    wide = torch.zeros(6, 1, 8, 16)
    wide[..., ::2] = rows[0]
    transposed = rows[0].transpose(2, 3).contiguous().transpose(2, 3)
    for x in (
        wide[..., ::2],
        transposed,
        rows[0].to(memory_format=torch.channels_last),
    ):
        assert_close(run(chosen, model, (x, *rows[1:]), 3), wanted)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert_close(run(chosen, last, rows, 3), wanted)


def adaptive_clipping_counts_beside_and_changes_no_sum(chosen, model):
    rows = make_rows(4, 2, [1e4, 1e-4, 1e-4, 1.0])
    rows[0][3] = math.nan
    adaptive = Clipping(max_grad_norm=C, kind="adaptive")
    *sums, balance = run(chosen, model, rows, 4, adaptive)
    assert_close(sums, run(chosen, model, rows, 4))
    # One too long, two short enough, one that has no length: (2 - 2) / 2.
    assert balance.item() == 0.0
    for b in range(4):
        *_, other = run(chosen, model, without(rows, 4, b), 3, adaptive)
        assert abs(balance - other).item() == 0.5
    empty = tuple(part[:0] for part in rows)
    assert run(chosen, model, empty, 0, adaptive)[-1].item() == 0.0


def the_model_comes_back_as_it_was(chosen, model):
    before = _traces(model)
    run(chosen, model, make_rows(3, 2), 3)
    assert _traces(model) == before

    def broken(model, rows):
        row_loss(model, rows)
        raise KeyError("the user's own mistake")

    with pytest.raises(KeyError):
        chosen.clipped_sum(
            model,
            broken,
            make_rows(3, 2),
            records=3,
            noise_multiplicity=2,
            clipping=CLIPPING,
        )
    assert _traces(model) == before


def _traces(model):
    """Everything an engine could leave behind, hooks and attributes included."""
    modules = [
        (type(m), sorted(vars(m)), [len(v) for k, v in vars(m).items() if "hooks" in k])
        for m in model.modules()
    ]
    parameters = [
        (id(p), p._version, p.requires_grad, p.grad, sorted(vars(p)))
        for p in model.parameters()
    ]
    return modules, parameters, model.training


def a_parameter_without_a_gradient_is_refused(chosen, model):
    model.spare = nn.Linear(2, 2)
    with pytest.raises(ParameterError, match="spare"):
        run(chosen, model, make_rows(2, 1), 2)


def batch_norm_is_refused_by_name(chosen, model):
    model.norm = nn.BatchNorm2d(8)
    with pytest.raises(ParameterError, match=r"'norm' \(BatchNorm2d\)"):
        run(chosen, model, make_rows(2, 1), 2)


CONTRACT = (
    agrees_with_plain_autograd,
    every_neighbour_moves_the_sum_by_at_most_c,
    doubling_the_draws_keeps_the_largest_contribution_at_c,
    two_equal_records_count_twice,
    a_record_without_a_finite_norm_counts_as_zero,
    a_huge_record_stays_within_c,
    no_records_give_zeros,
    splitting_the_records_changes_nothing,
    adaptive_clipping_counts_beside_and_changes_no_sum,
    memory_format_changes_nothing,
    the_model_comes_back_as_it_was,
    a_parameter_without_a_gradient_is_refused,
    batch_norm_is_refused_by_name,
)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_keeps_the_contract(name, check, model):
    """An engine that breaks one line of it releases more of a record than charged."""
    check(engine(name), model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_engines_agree_at_thirty_two_draws(name, model):
    """Long sums over draws must not lose digits that short ones keep."""
    rows = make_rows(4, 32, [1.0, 100.0, 0.01, 3.0])
    assert_close(run(engine(name), model, rows, 4), truth(model, rows, 4, CLIPPING))


class Mutant:
    """A correct engine with one step replaced by a mistake."""

    name = "mutant"

    def clipped_sum(
        self, model, row_loss, rows, *, records, noise_multiplicity, clipping
    ):
        """Clip units (records, unless mistaken), then add up."""
        bound = clipping.max_grad_norm
        total = [torch.zeros_like(p, dtype=torch.float64) for p in model.parameters()]
        for gradients in self.units(model, rows, records):
            for accumulator, g in zip(total, self.clip(gradients, bound), strict=True):
                accumulator.add_(g)
        return [g / self.divisor(records) for g in total]

    def units(self, model, rows, records):
        return [[g.double() for g in one] for one in per_record(model, rows, records)]

    def clip(self, gradients, bound):
        size = norm(gradients)
        return [g * min(1.0, bound / size) for g in gradients] if size else gradients

    def divisor(self, records):
        return 1


class ClipsEveryCopy(Mutant):
    def units(self, model, rows, records):
        return super().units(model, rows, len(rows[0]))


class TakesTheMean(Mutant):
    def divisor(self, records):
        return max(records, 1)


class LeavesTheLastLayerUnclipped(Mutant):
    def clip(self, gradients, bound):
        return [*super().clip(gradients[:-2], bound), *gradients[-2:]]


class ClipsEveryLayerAlone(Mutant):
    def clip(self, gradients, bound):
        alone = super().clip
        return [clipped for g in gradients for clipped in alone([g], bound)]


class ComparesTheSquaredNorm(Mutant):
    def clip(self, gradients, bound):
        size = norm(gradients) ** 2
        return [g * min(1.0, bound / size) for g in gradients] if size else gradients


class ForgetsTheRoot(Mutant):
    def clip(self, gradients, bound):
        size = math.sqrt(norm(gradients))
        return [g * min(1.0, bound / size) for g in gradients] if size else gradients


class ClipsPairsOfRecords(Mutant):
    def units(self, model, rows, records):
        units = super().units(model, rows, records)
        pairs = zip(units[::2], [*units[1::2], *([None] * (records % 2))], strict=True)
        return [
            a if b is None else [x + y for x, y in zip(a, b, strict=True)]
            for a, b in pairs
        ]


class MultipliesNaNByZero(Mutant):
    def clip(self, gradients, bound):
        size = norm(gradients)
        return (
            super().clip(gradients, bound)
            if math.isfinite(size)
            else [g * 0 for g in gradients]
        )


class LeavesGradients(Mutant):
    def clipped_sum(self, model, row_loss, rows, **options):
        row_loss(model, rows).sum().backward()
        return super().clipped_sum(model, row_loss, rows, **options)


MUTANTS = (
    (ClipsEveryCopy, agrees_with_plain_autograd),
    (TakesTheMean, two_equal_records_count_twice),
    (LeavesTheLastLayerUnclipped, every_neighbour_moves_the_sum_by_at_most_c),
    (ClipsEveryLayerAlone, doubling_the_draws_keeps_the_largest_contribution_at_c),
    (ComparesTheSquaredNorm, doubling_the_draws_keeps_the_largest_contribution_at_c),
    (ForgetsTheRoot, every_neighbour_moves_the_sum_by_at_most_c),
    (ClipsPairsOfRecords, every_neighbour_moves_the_sum_by_at_most_c),
    (MultipliesNaNByZero, a_record_without_a_finite_norm_counts_as_zero),
    (LeavesGradients, the_model_comes_back_as_it_was),
)


def test_the_mutants_rest_on_a_correct_engine(model):
    """A mutant that failed for another reason than its mistake would prove nothing."""
    agrees = (
        every_neighbour_moves_the_sum_by_at_most_c,
        doubling_the_draws_keeps_the_largest_contribution_at_c,
        two_equal_records_count_twice,
    )
    for check in agrees:
        check(Mutant(), model)


@pytest.mark.parametrize(("mutant", "check"), MUTANTS)
def test_the_contract_catches(mutant, check, model):
    """Each mistake was found in published code; none of them crashes by itself."""
    with pytest.raises(AssertionError):
        check(mutant(), model)
