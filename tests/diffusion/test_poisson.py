import numpy as np
import pytest
from scipy import stats

from diffusion.poisson import poisson_batch
from diffusion.randomness import RandomSource
from privplan.errors import ParameterError


def batches(records, rate, times):
    source = RandomSource()
    return [
        poisson_batch(source.stream(), records=records, sample_rate=rate).numpy()
        for _ in range(times)
    ]


def test_batch_sizes_follow_the_binomial_law():
    """Fixed-size or shuffled batches would have no variance at all."""
    records, rate, times = 500, 0.1, 2000
    sizes = np.array([len(b) for b in batches(records, rate, times)])
    counts = np.bincount(sizes, minlength=records + 1)
    expected = times * stats.binom.pmf(np.arange(records + 1), records, rate)
    inner = expected > 5
    observed = np.append(counts[inner], counts[~inner].sum())
    wanted = np.append(expected[inner], expected[~inner].sum())
    assert stats.chisquare(observed, wanted).pvalue > 1e-6


def test_two_records_are_together_no_more_often_than_chance():
    """Pairs drawn together would be amplified as one record of twice the size."""
    drawn = batches(2, 0.3, 20_000)
    both = np.mean([len(b) == 2 for b in drawn])
    assert abs(both - 0.09) < 6 * np.sqrt(0.09 * 0.91 / 20_000)


def test_a_record_of_one_step_says_nothing_of_the_next_step():
    """An epoch, in which a record comes exactly once, would show here."""
    present = np.array([len(b) for b in batches(1, 0.5, 20_001)], dtype=float)
    correlation = np.corrcoef(present[:-1], present[1:])[0, 1]
    assert abs(correlation) < 6 / np.sqrt(20_000)


def test_every_record_is_chosen_at_the_same_rate():
    drawn = np.concatenate(batches(50, 0.2, 4000))
    counts = np.bincount(drawn, minlength=50)
    assert stats.chisquare(counts).pvalue > 1e-6


def test_a_batch_may_be_empty_and_never_repeats_a_record():
    drawn = batches(20, 0.05, 400)
    assert any(len(b) == 0 for b in drawn)
    assert all(len(set(b)) == len(b) for b in drawn)


def test_no_records_and_impossible_rates_are_refused():
    stream = RandomSource().stream()
    with pytest.raises(ParameterError, match="records"):
        poisson_batch(stream, records=0, sample_rate=0.5)
    with pytest.raises(ParameterError, match="rate"):
        poisson_batch(stream, records=5, sample_rate=float("nan"))
