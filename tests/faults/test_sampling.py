"""Mistakes in who is drawn: rates, shuffles, weights, workers, loaders."""

import os
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from diffusion import run, trainer
from diffusion.data import PrivateImages
from diffusion.randomness import RandomSource
from privplan.errors import ParameterError, PolicyError
from tests.diffusion.test_run import StopAfter
from tests.faults.catching import fault


@cache
def _source():
    return RandomSource()


def batches(records, rate, times):
    """Batches from whatever the trainer draws with at the moment."""
    return [
        trainer.poisson_batch(
            _source().stream(), records=records, sample_rate=rate
        ).numpy()
        for _ in range(times)
    ]


def batches_follow_the_law():
    """Sizes, rates, pairs and steps, each to one false alarm in ten million.

    The sharpest is the rate: 6 million coins at rate 0.1 show it to 0.12 %, so a rate
    off by 1 % is eight standard errors away.
    """
    sizes = np.array([len(b) for b in batches(200, 0.02, 1500)])
    counts = np.bincount(sizes, minlength=201)
    expected = 1500 * stats.binom.pmf(np.arange(201), 200, 0.02)
    inner = expected > 5
    observed = np.append(counts[inner], counts[~inner].sum())
    wanted = np.append(expected[inner], expected[~inner].sum())
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > (
        1e-7
    )
    drawn = batches(60, 0.05, 2000)
    assert all(len(set(b)) == len(b) for b in drawn)
    per_record = np.bincount(np.concatenate(drawn), minlength=60)
    assert stats.chisquare(per_record).pvalue > 1e-7
    coins = sum(len(b) for b in batches(10**6, 0.1, 6))
    assert abs(coins / 6e6 - 0.1) < 6 * (0.09 / 6e6) ** 0.5
    pairs = np.mean([len(b) == 2 for b in batches(2, 0.3, 4000)])
    assert abs(pairs - 0.09) < 6 * (0.09 * 0.91 / 4000) ** 0.5
    present = np.array([len(b) for b in batches(1, 0.5, 4001)], dtype=float)
    assert abs(np.corrcoef(present[:-1], present[1:])[0, 1]) < 6 / 4000**0.5


def wrong_sampler(caught, monkeypatch, wrong):
    caught.check(
        batches_follow_the_law,
        lambda: monkeypatch.setattr(trainer, "poisson_batch", wrong),
        "batches follow the law",
    )


right = trainer.poisson_batch
chance = np.random.default_rng(3)


@fault("S1")
def test_a_rate_off_by_one_percent_is_caught(caught, monkeypatch):
    def wrong(stream, *, records, sample_rate):
        return right(stream, records=records, sample_rate=0.99 * sample_rate)

    wrong_sampler(caught, monkeypatch, wrong)


@fault("S2")
def test_shuffled_batches_are_caught(caught, monkeypatch):
    """Charged as Poisson, they cost up to four times what was said."""

    def wrong(stream, *, records, sample_rate):
        del stream
        size = max(round(records * sample_rate), 1)
        return torch.from_numpy(np.sort(chance.permutation(records)[:size]))

    wrong_sampler(caught, monkeypatch, wrong)


@fault("S3")
def test_drawing_with_replacement_is_caught(caught, monkeypatch):
    """A record drawn twice contributes 2C."""

    def wrong(stream, *, records, sample_rate):
        chosen = right(stream, records=records, sample_rate=sample_rate)
        return torch.from_numpy(np.sort(chance.integers(0, records, len(chosen))))

    wrong_sampler(caught, monkeypatch, wrong)


@fault("S4")
def test_weighted_records_are_caught(caught, monkeypatch):
    """Whoever is drawn more often is protected less than was said."""

    def wrong(stream, *, records, sample_rate):
        half = records // 2
        weights = np.r_[np.full(half, 0.8), np.full(records - half, 1.2)]
        hit = stream.uniforms(records) < sample_rate * weights * records / weights.sum()
        return torch.from_numpy(np.flatnonzero(hit))

    wrong_sampler(caught, monkeypatch, wrong)


@fault("S5")
def test_a_sampler_that_skips_empty_batches_is_caught(caught, monkeypatch):
    """A skipped step tells that nobody was drawn."""

    def wrong(stream, *, records, sample_rate):
        while True:
            chosen = right(stream, records=records, sample_rate=sample_rate)
            if len(chosen):
                return chosen

    wrong_sampler(caught, monkeypatch, wrong)


@fault("S6")
def test_cutting_large_batches_short_is_caught(caught, monkeypatch):
    """What was cut depends on the others, and costs a delta nobody paid."""

    def wrong(stream, *, records, sample_rate):
        chosen = right(stream, records=records, sample_rate=sample_rate)
        return chosen[: int(records * sample_rate) + 3]

    wrong_sampler(caught, monkeypatch, wrong)


@fault("S7")
def test_a_forked_worker_cannot_draw_with_its_parents_stream(caught):
    """It would draw the same records and the same noise once more."""
    stream = RandomSource().stream()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            right(stream, records=10, sample_rate=0.5)
        except ParameterError:
            os.write(writing, b"refused")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.read() == b"refused"
    stream._process = -1  # what the child sees
    caught.refusal(
        ParameterError, lambda: right(stream, records=10, sample_rate=0.5), "forked"
    )


@fault("S8")
@pytest.mark.slow
@pytest.mark.usefixtures("flown_once")
def test_other_records_after_a_pause_are_refused(caught, small_plan, digits, tmp_path):
    """A subset has another n; a replaced record has the same, and is seen as well."""
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(1))
    fewer = PrivateImages(digits.images[:-1], digits.labels[:-1], digits.classes)
    pixels = digits.images.clone()
    pixels[3] = 255 - pixels[3]
    other = PrivateImages(pixels, digits.labels, digits.classes)
    for changed in (fewer, other):
        error = caught.refusal(
            PolicyError,
            lambda changed=changed: run.train(small_plan, changed, folder, resume=True),
        )
        assert str(len(fewer.labels)) not in error.message


@fault("S9")
def test_a_loader_in_place_of_the_records_is_refused(
    caught, small_plan, digits, tmp_path
):
    """Its batches are its own affair; here only the sampler of the plan draws."""
    pairs = torch.utils.data.TensorDataset(digits.images, digits.labels)
    loader = torch.utils.data.DataLoader(pairs, batch_size=16, shuffle=True)
    unchecked = getattr(run.train, "__wrapped__", run.train)
    caught.refusal(
        ParameterError,
        lambda: unchecked(small_plan, loader, tmp_path / "run"),
        match="loader|records",
    )
    assert not (tmp_path / "run" / "ledger.sqlite").exists()


@pytest.mark.parametrize("name", ["poisson_batch"])
def test_nothing_else_in_the_trainer_chooses_records(name):
    """The law above is about this one function; a second sampler would escape it."""
    used = [n for n in vars(trainer) if "batch" in n.lower() and n != "PhysicalBatch"]
    assert used == [name]
