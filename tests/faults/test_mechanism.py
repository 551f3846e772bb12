"""Mistakes in the private step: clipping, summing, noise, division."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from diffusion import privatize, trainer
from diffusion.per_example import engine
from diffusion.randomness import RandomSource
from privplan.errors import ParameterError
from tests.contracts import test_engines as contract
from tests.diffusion import test_per_example as layers
from tests.faults import steps
from tests.faults.catching import fault


@pytest.fixture
def step(small_plan):
    return steps.Step(small_plan)


@pytest.fixture
def model():
    torch.manual_seed(7)
    return contract.SmallUNet()


class Chosen:
    """The engine under a check: right at first, wrong once a fault is in."""

    def __init__(self, check, model):
        self.engine, self.check, self.model = engine("auto"), check, model

    def holds(self):
        return self.check(self.engine, self.model)

    def put_in(self, mutant):
        return lambda: setattr(self, "engine", mutant())


SHORT = {
    contract.two_equal_records_count_twice: "two equal records add up",
    contract.every_neighbour_moves_the_sum_by_at_most_c: "neighbours move it by C",
    contract.doubling_the_draws_keeps_the_largest_contribution_at_c: "K draws add C",
    contract.a_record_without_a_finite_norm_counts_as_zero: "no finite norm, no part",
    contract.agrees_with_plain_autograd: "plain autograd agrees",
}


def wrong_engine(caught, model, mutant, check):
    chosen = Chosen(check, model)
    caught.check(chosen.holds, chosen.put_in(mutant), SHORT[check])


class ClipsTheMean(contract.Mutant):
    """Clips the mean of the records and scales it up again."""

    def clipped_sum(self, model, row_loss, rows, *, records, clipping, **options):
        del row_loss, options
        units = self.units(model, rows, records)
        mean = [sum(parts) / max(records, 1) for parts in zip(*units, strict=True)]
        return [g * records for g in self.clip(mean, clipping.max_grad_norm)]


class SumsInHalfPrecision(contract.Mutant):
    def clipped_sum(self, model, row_loss, rows, **options):
        sums = super().clipped_sum(model, row_loss, rows, **options)
        return [g.half().double() for g in sums]


class ClipsRows:
    """Clips every row alone, whatever record it is of; knows any loss."""

    name = "rows"

    def clipped_sum(self, model, row_loss, rows, *, clipping, **options):
        draws = options["noise_multiplicity"]
        parameters = list(model.parameters())
        total = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        for row in range(len(rows[0])):
            alone = tuple(part[row : row + 1] for part in rows)
            found = torch.autograd.grad(
                row_loss(model, alone).sum() / draws, parameters
            )
            size = steps.norm(found)
            for sink, g in zip(total, found, strict=True):
                sink.add_(g.double() * (clipping.max_grad_norm / size))
        return total


@fault("M1")
def test_a_mean_in_place_of_the_sum_is_caught(caught, model):
    """Noise made for a sum would be divided by the batch once more, or not at all."""
    wrong_engine(
        caught, model, contract.TakesTheMean, contract.two_equal_records_count_twice
    )


@fault("M2")
@pytest.mark.slow
def test_clipping_the_mean_is_caught(caught, model):
    """A single huge record turns the whole sum around."""
    wrong_engine(
        caught, model, ClipsTheMean, contract.every_neighbour_moves_the_sum_by_at_most_c
    )


@fault("M3")
@pytest.mark.slow
def test_clipping_pairs_of_records_is_caught(caught, model):
    """A neighbour changes who is paired with whom, and moves the sum by 2C."""
    wrong_engine(
        caught,
        model,
        contract.ClipsPairsOfRecords,
        contract.every_neighbour_moves_the_sum_by_at_most_c,
    )


@fault("M4")
@pytest.mark.slow
def test_a_layer_left_unclipped_is_caught(caught, model):
    wrong_engine(
        caught,
        model,
        contract.LeavesTheLastLayerUnclipped,
        contract.every_neighbour_moves_the_sum_by_at_most_c,
    )


@fault("M5")
@pytest.mark.slow
def test_a_squared_norm_is_caught(caught, model):
    """Norms below one look smaller when squared; such records stay too long."""
    check = contract.doubling_the_draws_keeps_the_largest_contribution_at_c
    wrong_engine(caught, model, contract.ComparesTheSquaredNorm, check)
    other = contract.every_neighbour_moves_the_sum_by_at_most_c
    wrong_engine(caught, model, contract.ForgetsTheRoot, other)


@fault("M6")
def test_layers_that_mix_records_are_refused(caught):
    """With rows mixed, clipping one record's gradient bounds nobody's influence."""
    rows = torch.randn(4, 3)
    for mixing in (layers.Centred(), nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))):
        caught.refusal(
            ParameterError, lambda mixing=mixing: layers.run("auto", mixing, rows)
        )


@contextlib.contextmanager
def the_sum_is(value, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            trainer,
            "accumulate",
            lambda _, model, *rest, **named: [
                torch.full_like(p, value, dtype=torch.float64)
                for p in model.parameters()
            ],
        )
        yield


def divided(monkeypatch, divisor):
    """Let the noisy sum be divided by what `divisor` says of the batch drawn last."""
    drawn, draw, add = {}, trainer.poisson_batch, trainer.noisy_sum

    def watched(stream, *, records, sample_rate):
        chosen = draw(stream, records=records, sample_rate=sample_rate)
        drawn.update(batch=len(chosen), n=records, rate=sample_rate)
        return chosen

    monkeypatch.setattr(trainer, "poisson_batch", watched)
    monkeypatch.setattr(
        trainer,
        "noisy_sum",
        lambda total, **named: [
            value * steps.EXPECTED / divisor(drawn) for value in add(total, **named)
        ],
    )


@fault("M7")
@pytest.mark.slow
def test_dividing_by_the_true_batch_size_is_caught(caught, step, monkeypatch):
    caught.check(
        lambda: steps.a_constant_divides(step, lambda v: the_sum_is(v, monkeypatch)),
        lambda: divided(monkeypatch, lambda drawn: drawn["batch"]),
        "a constant divides",
    )


@fault("M8")
@pytest.mark.slow
def test_dividing_by_the_n_of_the_data_is_caught(caught, step, monkeypatch):
    """The scale of the noise then tells n from n - 1 almost surely."""
    caught.check(
        lambda: steps.a_constant_divides(step, lambda v: the_sum_is(v, monkeypatch)),
        lambda: divided(monkeypatch, lambda drawn: drawn["n"] * drawn["rate"]),
        "a constant divides",
    )


def noise(caught, step, monkeypatch, changed):
    """Put `changed(noisy_sum)` in place of the noise, and look at what is released."""
    right = trainer.noisy_sum
    caught.check(
        lambda: steps.noise_is_as_planned(step),
        lambda: monkeypatch.setattr(trainer, "noisy_sum", changed(right)),
        "noise is as planned",
    )


@fault("M9")
@pytest.mark.slow
def test_noise_that_follows_the_batch_size_is_caught(caught, step, monkeypatch):
    """Its scale would release the size, and an empty batch would get none at all."""
    draw, drawn = trainer.poisson_batch, []

    def watched(*given, **named):
        drawn.append(draw(*given, **named))
        return drawn[-1]

    monkeypatch.setattr(trainer, "poisson_batch", watched)

    def changed(add):
        def wrong(total, *, noise_multiplier, **named):
            size = max(len(drawn[-1]), 1e-6)
            return add(total, noise_multiplier=noise_multiplier * size, **named)

        return wrong

    noise(caught, step, monkeypatch, changed)


@fault("M10")
@pytest.mark.slow
def test_noise_in_every_physical_batch_is_caught(caught, step, monkeypatch):
    """Too much noise here; with the noise of one rank left out, too little."""
    right = trainer.accumulate

    def wrong(chosen, model, row_loss, pieces, **named):
        found = [
            right(chosen, model, row_loss, [piece], **named) for piece in pieces
        ] or [right(chosen, model, row_loss, [], **named)]
        stream = RandomSource().stream()
        noisy = [
            privatize.noisy_sum(
                part, stream=stream, noise_multiplier=1.7, max_grad_norm=0.3
            )
            for part in found
        ]
        return [sum(parts) for parts in zip(*noisy, strict=True)]

    def put_in():
        monkeypatch.setattr(trainer, "accumulate", wrong)
        monkeypatch.setattr(trainer, "noisy_sum", lambda total, **_: total)

    caught.check(lambda: steps.noise_is_as_planned(step), put_in, "noise is as planned")


@fault("M11")
@pytest.mark.slow
def test_a_tensor_without_noise_is_caught(caught, step, monkeypatch):
    def changed(add):
        return lambda total, **named: [
            quiet if place == 4 else noisy
            for place, (quiet, noisy) in enumerate(
                zip(total, add(total, **named), strict=True)
            )
        ]

    noise(caught, step, monkeypatch, changed)


@fault("M12")
@pytest.mark.slow
def test_two_percent_less_noise_is_caught(caught, step, monkeypatch):
    noise(
        caught,
        step,
        monkeypatch,
        lambda add: lambda total, **named: [0.98 * v for v in add(total, **named)],
    )


@fault("M13")
@pytest.mark.slow
def test_noise_for_a_clip_in_other_units_is_caught(caught, step, monkeypatch):
    """The multiplier alone is not a standard deviation: it is multiples of C."""
    noise(
        caught,
        step,
        monkeypatch,
        lambda add: lambda total, **named: add(total, **named | {"max_grad_norm": 1.0}),
    )


@fault("M14")
def test_records_without_a_finite_gradient_are_caught(caught, model):
    """One such record turned every weight to NaN elsewhere: epsilon is infinite."""
    wrong_engine(
        caught,
        model,
        contract.MultipliesNaNByZero,
        contract.a_record_without_a_finite_norm_counts_as_zero,
    )
    contract.a_huge_record_stays_within_c(engine("auto"), model)
    rows = contract.make_rows(3, 2, [0.0, 0.0, 0.0])
    found = contract.run(engine("auto"), model, rows, 3)
    assert contract.norm(found) == 0


@fault("M15")
@pytest.mark.slow
def test_a_skipped_empty_batch_is_caught(caught, step, monkeypatch):
    """A step that is not taken tells that nobody was drawn."""
    right = step.released

    def skipping(images, **named):
        if named.get("rate", 1.0) < 1e-6:
            step.seen = []
        else:
            right(images, **named)
        assert step.seen, "no step was taken"
        return step.seen

    caught.check(
        lambda: steps.noise_is_as_planned(step),
        lambda: monkeypatch.setattr(step, "released", skipping),
        "empty batch is a step",
    )


@fault("M16")
@pytest.mark.slow
def test_clipping_every_noise_draw_alone_is_caught(caught, step, model):
    """K draws clipped alone contribute K C against noise for C."""
    wrong_engine(
        caught, model, contract.ClipsEveryCopy, contract.agrees_with_plain_autograd
    )

    def put_in():
        step.performance = replace(step.performance, engine=ClipsRows())

    caught.check(lambda: draws_agree(step, flip=False), put_in, "draws are averaged")


@fault("M17")
@pytest.mark.slow
def test_clipping_every_augmented_copy_alone_is_caught(caught, step):
    def put_in():
        step.performance = replace(step.performance, engine=ClipsRows())

    caught.check(lambda: draws_agree(step, flip=True), put_in, "copies are averaged")


def draws_agree(step, *, flip):
    """One record, four draws: the length released is C, however the draws point."""
    steps.neighbours_move_it_by_at_most_c(step, draws=4, flip=flip)
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8) * 4
    alone = step.released(steps.records(pixels), draws=4, flip=flip, seed=5)
    assert math.isclose(steps.norm(alone), steps.C, rel_tol=1e-3)


@fault("M18")
def test_a_module_that_remembers_its_input_is_refused(caught):
    """A buffer goes into the checkpoint without noise."""
    caught.refusal(
        ParameterError,
        lambda: layers.run("auto", layers.Remembering(), torch.randn(4, 3)),
        match="'seen'",
    )


@fault("M19")
def test_a_sum_in_half_precision_is_caught(caught, model):
    """It rounds small records away and overflows at 65,504."""
    wrong_engine(
        caught, model, SumsInHalfPrecision, contract.agrees_with_plain_autograd
    )


def test_random_neighbours_alone_would_miss_what_adversarial_ones_catch(model):
    """Why the checks use identical, zero, tiny-and-huge and alternating records."""
    rows = contract.make_rows(4, 1)
    whole = contract.run(contract.ClipsPairsOfRecords(), model, rows, 4)
    less = contract.run(
        contract.ClipsPairsOfRecords(), model, contract.without(rows, 4, 3), 3
    )
    moved = contract.norm([x - y for x, y in zip(whole, less, strict=True)])
    assert moved <= contract.C * (1 + contract.RELATIVE)
    with pytest.raises(AssertionError):
        contract.every_neighbour_moves_the_sum_by_at_most_c(
            contract.ClipsPairsOfRecords(), model
        )
