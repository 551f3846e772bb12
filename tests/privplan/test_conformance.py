"""Bands against simulation: an honest law stays inside as often as is said."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from privplan import conformance as law
from privplan.errors import ParameterError
from privplan.measured import measure

RUNS = 4000
ALARM = 0.05
# 4,000 runs: 5 % plus four standard deviations is 6.4 %.
MOST = 0.064


def outside(values, band):
    return float(np.mean([not band[0] <= value <= band[1] for value in values]))


@pytest.fixture(scope="module")
def normals():
    return np.random.default_rng(0).normal(size=(RUNS, 2, 40))


def test_bands_hold_honest_noise_as_often_as_they_say(normals):
    """A band that is too narrow stops honest runs, one too wide lets mistakes pass."""
    both = normals.reshape(RUNS, 80)
    found = {
        "std": outside(np.sqrt((both**2).mean(1)), law.std_band(80, false_alarm=ALARM)),
        "mean": outside(both.mean(1), law.mean_band(80, false_alarm=ALARM)),
        "pairs": outside(
            [law.correlation(x, y) for x, y in normals],
            law.correlation_band(40, false_alarm=ALARM),
        ),
    }
    assert all(0.037 < share < MOST for share in found.values()), found


@pytest.mark.parametrize(("trials", "rate"), [(500, 0.3), (500, 0.01), (7, 0.5)])
def test_a_rate_stays_in_its_band_at_least_as_often_as_is_said(trials, rate):
    """Binomials are discrete: the exact band may be left more rarely, never oftener."""
    low, high = law.rate_band(trials, rate, false_alarm=ALARM)
    inside = binom.cdf(round(high * trials), trials, rate) - binom.cdf(
        round(low * trials) - 1, trials, rate
    )
    assert inside >= 1 - ALARM


@pytest.mark.parametrize(("records", "rate"), [(1000, 0.1), (1000, 0.001), (3, 0.5)])
def test_far_batches_are_as_frequent_as_is_said(records, rate):
    distance, chance = law.far_batch(records, rate)
    sizes = np.arange(records + 1)
    far = np.abs(sizes - records * rate) > distance
    assert chance == pytest.approx(binom.pmf(sizes[far], records, rate).sum())
    assert 0.0 <= chance <= 1.0


def test_two_per_cent_less_noise_is_seen_at_a_hundred_thousand_coordinates():
    low, _ = law.std_band(100_000)
    assert low > 0.98
    assert low < 0.99  # and an honest run has room


def test_the_same_noise_twice_is_outside_every_band(normals):
    value = law.correlation(normals[0, 0], normals[0, 0])
    assert value == pytest.approx(1.0)
    assert not -1 <= value <= law.correlation_band(40)[1]


def test_what_is_no_number_lies_in_no_range():
    for value in (math.nan, math.inf, -math.inf):
        assert not measure("x", value, (-1e300, 1e300), "x").holds


@pytest.mark.parametrize("bad", [math.nan, 0.0, 1.0])
def test_a_false_alarm_that_is_no_probability_is_refused(bad):
    for band in (law.std_band, law.mean_band, law.correlation_band):
        with pytest.raises(ParameterError):
            band(10, false_alarm=bad)
