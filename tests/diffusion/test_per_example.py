"""Choosing an engine, and what the engines refuse before anything is released."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.engines.heap import keep_freed_memory
from diffusion.per_example import (
    ENGINES,
    Clipping,
    PerExampleEngine,
    accumulate,
    engine,
    split_records,
)
from privplan.errors import ParameterError

CLIPPING = Clipping(max_grad_norm=1.0)
# Batched engines see several records at once, and so can see them mixed.
BATCHED = ("auto", "folded", "opacus")


def row_loss(model, rows):
    return model(rows[0]).flatten(1).square().mean(1)


def run(name, model, x, *, records=None, draws=1, loss=row_loss):
    return engine(name).clipped_sum(
        model,
        loss,
        (x,),
        records=len(x) // draws if records is None else records,
        noise_multiplicity=draws,
        clipping=CLIPPING,
    )


@pytest.mark.parametrize("name", ENGINES)
def test_every_name_gives_an_engine(name):
    """The words on the command line are the words here."""
    assert isinstance(engine(name), PerExampleEngine)
    assert engine(name).name in {name, "folded"}


def test_an_unknown_engine_is_refused():
    """A misspelt engine must not silently become the default."""
    with pytest.raises(ParameterError, match="'fast'"):
        engine("fast")


def test_a_model_is_refused_when_the_engine_is_chosen():
    """The earlier the refusal, the less was done on private data."""
    with pytest.raises(ParameterError, match="BatchNorm1d"):
        engine("auto", nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_opacus_is_not_imported_until_it_works():
    """It takes seconds, and nobody who chose another engine should wait."""
    code = "import sys, diffusion.per_example as p; p.engine('opacus'); "
    code += "print('opacus' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


class Transposed(nn.Module):
    """A layer without a rule after one that has one."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(2, 3, 3)
        self.grown = nn.ConvTranspose2d(3, 1, 2)

    def forward(self, x):
        return self.grown(functional.silu(self.plain(x)))


def test_a_layer_without_a_rule_falls_back_to_vmap_and_says_so():
    """The fallback is slower; the person who wonders must find the reason."""
    torch.manual_seed(0)
    model, x = Transposed(), torch.randn(4, 2, 5, 5)
    chosen = engine("auto", model)
    found = chosen.clipped_sum(
        model, row_loss, (x,), records=4, noise_multiplicity=1, clipping=CLIPPING
    )
    assert chosen.name == "vmap"
    assert "'grown.weight'" in chosen.note
    for one, two in zip(found, run("loop", model, x), strict=True):
        # float32 in another order of summation.
        assert torch.allclose(one, two, atol=1e-6)


def test_the_folded_engine_refuses_a_layer_without_a_rule():
    """Chosen by name, it must not do something else, nor leave a layer out."""
    with pytest.raises(ParameterError, match=r"grown\.weight") as caught:
        run("folded", Transposed(), torch.randn(4, 2, 5, 5))
    assert "vmap" in caught.value.hint


class UsedBeside(nn.Module):
    """A weight that a rule covers in one place and nothing covers in another."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) + x @ self.layer.weight.exp()


def test_a_second_use_that_no_rule_sees_is_found():
    """Half a gradient is clipped and noised like a whole one, and nothing crashes."""
    with pytest.raises(ParameterError, match=r"layer\.weight"):
        run("folded", UsedBeside(), torch.randn(4, 3))
    found = run("auto", UsedBeside(), torch.randn(4, 3))
    assert all(g.norm() > 0 for g in found)


class Positions(nn.Module):
    """A table of positions, as long as some batch by accident."""

    def __init__(self, length):
        super().__init__()
        self.table = nn.Embedding(length, 3)
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        places = torch.arange(self.table.num_embeddings)
        return self.layer(x[:, None, :] + self.table(places))


@pytest.mark.parametrize("length", [3, 4, 5])
def test_positions_are_not_taken_for_records(length):
    """Taken for rows, position t would get the sum over all records as one record's.

    One record would then reach every row of the sum, and move it by more than C.
    """
    torch.manual_seed(0)
    model, x = Positions(length), torch.randn(length, 3)
    with pytest.raises(ParameterError, match=r"table\.weight"):
        run("folded", model, x)
    for one, two in zip(run("auto", model, x), run("loop", model, x), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


class Centred(nn.Module):
    """Subtracts the mean over the batch: batch normalisation by hand."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x) - self.layer(x).mean(0)


@pytest.mark.parametrize("name", BATCHED)
def test_rows_that_see_each_other_are_refused(name):
    """With rows mixed, clipping one record's gradient bounds nobody's influence."""
    with pytest.raises(ParameterError, match="another row"):
        run(name, Centred(), torch.randn(4, 3))


def test_batch_norm_without_a_module_is_refused():
    """A function has no name in the model's tree, and mixes rows all the same."""

    class Hidden(nn.Linear):
        def forward(self, x):
            return functional.batch_norm(super().forward(x), None, None, training=True)

    with pytest.raises(ParameterError, match="batch_norm"):
        run("folded", Hidden(3, 2), torch.randn(4, 3))


class Remembering(nn.Module):
    """Keeps a running mean of what it saw."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.seen.mul_(0.9).add_(0.1 * x.detach().mean())
        return self.layer(x)


@pytest.mark.parametrize("name", ["auto", "folded", "loop", "opacus"])
def test_a_model_that_remembers_its_input_is_refused(name):
    """A buffer goes into the checkpoint without noise."""
    with pytest.raises(ParameterError, match="'seen'"):
        run(name, Remembering(), torch.randn(4, 3))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "layer",
    [
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
        nn.SyncBatchNorm(3),
        nn.Embedding(4, 3, max_norm=1.0),
    ],
    ids=["instance-norm-with-statistics", "sync-batch-norm", "embedding-max-norm"],
)
def test_layers_that_mix_or_rewrite_are_refused_by_name(name, layer):
    """The message names the layer, so that it can be found and replaced."""
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(ParameterError, match=type(layer).__name__):
        run(name, model, torch.randn(4, 3))


@pytest.mark.parametrize("name", ENGINES)
def test_a_model_with_nothing_to_train_is_refused(name):
    """A step that changes nothing would still be charged."""
    with pytest.raises(ParameterError, match="no trainable parameter"):
        run(
            name, nn.Linear(3, 2).requires_grad_(requires_grad=False), torch.randn(4, 3)
        )


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("records", "draws"), [(7, 1), (4, 3), (-12, -1), (0, 1), (-1, 1), (12, 0)]
)
def test_rows_that_do_not_fit_the_counts_are_refused_without_naming_them(
    name, records, draws
):
    """The number of records in a Poisson batch is private, in messages too."""
    x = torch.randn(11, 3)
    with pytest.raises(ParameterError) as caught:
        run(name, nn.Linear(3, 2), x, records=records, draws=draws)
    assert "11" not in str(caught.value)
    if draws > 0:
        assert not any(digit in str(caught.value) for digit in "0123456789")


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "loss",
    [
        lambda model, rows: row_loss(model, rows).mean(),
        lambda model, rows: model(rows[0]),
        lambda model, rows: row_loss(model, rows).detach(),
    ],
    ids=["mean", "unreduced", "detached"],
)
def test_a_row_loss_of_the_wrong_form_is_refused(name, loss):
    """A mean over rows would pass through most engines and mean something else."""
    with pytest.raises(ParameterError, match="row loss"):
        run(name, nn.Linear(3, 2), torch.randn(8, 3), draws=2, loss=loss)


def test_a_loss_is_looked_at_again_when_it_changes():
    """Stages change the loss; one that mixes rows may come second."""
    chosen, model, x = engine("folded"), nn.Linear(3, 2), torch.randn(4, 3)

    def contrast(model, rows):
        losses = row_loss(model, rows)
        return losses - losses.mean()

    sums = {"records": 4, "noise_multiplicity": 1, "clipping": CLIPPING}
    chosen.clipped_sum(model, row_loss, (x,), **sums)
    with pytest.raises(ParameterError, match="another row"):
        chosen.clipped_sum(model, contrast, (x,), **sums)


def test_dropout_draws_each_row_alone_and_leaves_the_random_state_usable():
    """The check on public rows must not see its own dropout as mixed rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5), nn.Linear(50, 1))
    for name in ENGINES:
        assert all(g.isfinite().all() for g in run(name, model, torch.randn(6, 3)))


def test_the_check_on_public_rows_does_not_move_the_random_state():
    """Training must be the same whether or not a model was looked at before."""
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    before = torch.get_rng_state()
    for name in ("folded", "vmap", "opacus"):
        run(name, model, x)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_pieces_give_zeros():
    """An empty Poisson batch is a step of noise alone, not an error."""
    model = nn.Linear(3, 2)
    found = accumulate(
        engine("auto"), model, row_loss, [], noise_multiplicity=8, clipping=CLIPPING
    )
    assert [g.shape for g in found] == [(2, 3), (2,)]
    assert not any(g.any() for g in found)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_pieces_hold_every_draw_of_every_record_once(size):
    """A record cut in two would be clipped twice, and count up to 2 C."""
    draws, records = 3, 5
    rows = torch.arange(draws * records)
    seen = []
    for (piece,), held in split_records(
        (rows,), records=records, physical_batch_size=size
    ):
        assert held <= size
        for record in range(held):
            numbers = {int(n) % records for n in piece[record::held]}
            assert len(numbers) == 1
            seen += numbers
    assert sorted(seen) == list(range(records))


def test_a_physical_batch_of_nothing_is_refused():
    """Zero records per piece would loop for ever or skip the batch."""
    with pytest.raises(ParameterError, match="physical_batch_size"):
        list(split_records((torch.ones(2),), records=2, physical_batch_size=0))


def test_sums_of_physical_batches_are_float64():
    """Adding thousands of float32 sums would round away the later ones."""
    model = nn.Linear(3, 2)
    for name in ENGINES:
        found = run(name, model, torch.randn(4, 3))
        assert {g.dtype for g in found} == {torch.float64}


def test_keeping_freed_memory_is_asked_for_safely():
    """It is a wish to the C library, and must do no harm where there is none."""
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")
    assert torch.ones(10**7).sum().item() == 1e7
