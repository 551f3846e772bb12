"""The sampler against its law: no rounding, no bias, no shortcut in the tails."""

import numpy as np
import pytest
from scipy import stats

from diffusion import discrete_gaussian as room
from diffusion.discrete_gaussian import MAX_SIGMA, discrete_gaussian
from diffusion.randomness import RandomSource
from privplan.errors import ParameterError


def drawn(sigma, count):
    return discrete_gaussian(RandomSource().stream(), sigma=sigma, count=count)


def pmf(sigma):
    """The law by its definition, on a range that leaves out less than 1e-40."""
    x = np.arange(-14 * sigma - 14, 14 * sigma + 15)
    weights = np.exp(-(x.astype(np.float64) ** 2) / (2 * sigma**2))
    return x, weights / weights.sum()


def fits(found, sigma):
    x, law = pmf(sigma)
    counts = np.bincount(found - x[0], minlength=len(x))
    expected = len(found) * law
    inner = expected > 8
    observed = np.append(counts[inner], counts[~inner].sum())
    wanted = np.append(expected[inner], expected[~inner].sum())
    return stats.chisquare(observed, wanted).pvalue


@pytest.mark.parametrize("sigma", [1, 2, 7, 40])
def test_samples_follow_the_exact_law(sigma):
    """One false alarm in ten million; 40,000 samples."""
    assert fits(drawn(sigma, 40_000), sigma) > 1e-7


@pytest.mark.statistical
@pytest.mark.parametrize("sigma", [1, 3, 25, 300])
def test_two_million_samples_follow_the_exact_law(sigma):
    assert fits(drawn(sigma, 2_000_000), sigma) > 1e-7


def test_zero_counted_twice_would_be_seen(monkeypatch):
    """The mistake the source warns of: +0 and -0 are the same number."""

    def doubled(stream, scale, count):
        size = np.abs(right(stream, scale, count))
        heads = stream.words(len(size)) & np.uint64(1)
        return np.where(heads == 1, -size, size)

    right = room._laplace
    monkeypatch.setattr(room, "_laplace", doubled)
    assert fits(drawn(1, 40_000), 1) > 1e-7  # folding a law without it changes nothing

    def with_both_zeros(stream, scale, count):
        found = right(stream, scale, count)
        return np.concatenate([found, found[found == 0]])

    monkeypatch.setattr(room, "_laplace", with_both_zeros)
    assert fits(drawn(1, 40_000), 1) < 1e-7


def test_a_sampler_that_keeps_every_laplace_would_be_seen(monkeypatch):
    monkeypatch.setattr(
        room, "_exp_coins", lambda stream, n, d: np.ones(len(n), dtype=bool)
    )
    assert fits(drawn(7, 40_000), 7) < 1e-7


def test_coins_fall_with_the_probability_they_are_for():
    stream = RandomSource().stream()
    for n, d in ((0, 5), (1, 1), (2, 7), (5, 2), (41, 10)):
        whole = np.full(40_000, n), np.full(40_000, d)
        rate = room._exp_coins(stream, *whole).mean()
        truth = np.exp(-n / d)
        assert abs(rate - truth) <= 6 * (truth * (1 - truth) / 40_000) ** 0.5


def test_uniform_numbers_have_no_bias_and_stay_below_their_bound():
    """A word modulo the bound alone would favour small numbers."""
    stream = RandomSource().stream()
    bound = 3 * 2**62 // 2  # two thirds of what a word holds: the bias would be plain
    found = room._below(stream, np.full(20_000, bound))
    assert found.min() >= 0
    assert found.max() < bound
    assert stats.kstest(found / bound, "uniform").pvalue > 1e-7
    small = room._below(stream, np.full(30_000, 3))
    assert stats.chisquare(np.bincount(small, minlength=3)).pvalue > 1e-7


def test_the_largest_sigma_stays_within_whole_numbers_and_its_scale():
    found = drawn(MAX_SIGMA, 20_000)
    assert found.dtype == np.int64
    assert abs(found.std() / MAX_SIGMA - 1) < 6 / (2 * 20_000) ** 0.5
    assert stats.kstest(found / MAX_SIGMA, "norm").pvalue > 1e-7


def test_none_are_drawn_and_impossible_laws_are_refused():
    assert drawn(5, 0).shape == (0,)
    for sigma in (0, -1, MAX_SIGMA + 1):
        with pytest.raises(ParameterError):
            drawn(sigma, 1)


def test_two_streams_never_draw_alike():
    assert not np.array_equal(drawn(1000, 50), drawn(1000, 50))
