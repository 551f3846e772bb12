"""Bounds from guesses, against simulation, closed forms and each other."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from privplan import one_run, tradeoff
from privplan.errors import ParameterError
from privplan.events import GaussianEvent
from privplan.one_run import Guesses


@pytest.mark.parametrize("guesses", [30, 100, 1000])
def test_the_ceiling_without_delta_is_that_of_the_formula(guesses):
    """s^k = significance has one solution: logit(significance^(1/k))."""
    perfect = Guesses(canaries=guesses, guesses=guesses, correct=guesses)
    found = one_run.epsilon_lower(perfect, delta=0.0, significance=0.05)
    share = 0.05 ** (1 / guesses)
    assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-6)


def test_a_delta_can_only_lower_the_bound():
    found = Guesses(canaries=1000, guesses=100, correct=90)
    bounds = [
        one_run.epsilon_lower(found, delta=delta, significance=0.05)
        for delta in (0.0, 1e-6, 1e-5, 1e-4)
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > bounds[-1]


def test_the_p_value_is_the_maximum_over_all_shifts_written_out():
    """Vectorised tails against the theorem's sum, term by term."""
    found, epsilon, delta = Guesses(canaries=50, guesses=20, correct=15), 0.7, 1e-3
    share = 1 / (1 + math.exp(-epsilon))
    chance = [binom.pmf(v, 20, share) for v in range(21)]
    most = max(sum(chance[15 - i : 15]) / i for i in range(1, 16))
    plain = sum(chance[15:]) + 2 * 50 * delta * most
    got = one_run.p_value(found, epsilon=epsilon, delta=delta)
    assert got == pytest.approx(plain, rel=1e-10)


def test_chance_guesses_refute_nothing_and_the_worst_case_is_rarely_refuted():
    """Randomised response is exactly epsilon-private, and the bound is tight on it.

    100,000 runs at significance 0.05: the mean is below 0.05, and 0.053 is beyond
    four standard deviations of the estimate.
    """
    epsilon, guesses, runs = 1.0, 50, 100_000
    share = 1 / (1 + math.exp(-epsilon))
    right = np.random.default_rng(0).binomial(guesses, share, runs)
    refuted = {
        v: one_run.p_value(
            Guesses(canaries=guesses, guesses=guesses, correct=v),
            epsilon=epsilon,
            delta=0.0,
        )
        <= 0.05
        for v in range(guesses + 1)
    }
    assert 0.01 < np.mean([refuted[v] for v in right.tolist()]) < 0.053
    half = Guesses(canaries=100, guesses=50, correct=25)
    assert one_run.epsilon_lower(half, delta=1e-5, significance=0.05) == 0.0


def gaussian_guesses(mu, *, canaries, guesses, generator):
    """One run of independent Gaussian canaries with the best guesses there are."""
    coins = generator.random(canaries) < 0.5
    order = np.argsort(generator.normal(size=canaries) + mu * coins)
    half = guesses // 2
    right = coins[order[-half:]].sum() + (~coins[order[:half]]).sum()
    return Guesses(canaries=canaries, guesses=guesses, correct=int(right))


def test_the_true_curve_is_rarely_refuted_and_a_better_one_often():
    """400 runs of a mechanism whose curve is known exactly: mu = 1.

    An exact test at 0.05 refutes the truth in 20 of 400; 36 is beyond 3.5 standard
    deviations. One with a quarter of the mu is refuted nearly always.
    """
    generator = np.random.default_rng(1)
    runs = [
        gaussian_guesses(1.0, canaries=400, guesses=80, generator=generator)
        for _ in range(400)
    ]
    rates = one_run.asked_rates(runs[0], 0.05)
    refuted = []
    for noise in (1.0, 4.0):
        curve = tradeoff.curve(GaussianEvent(noise_multiplier=noise), rates)
        answers = {
            v: one_run.refutes(
                Guesses(canaries=400, guesses=80, correct=v), curve, significance=0.05
            )
            for v in {run.correct for run in runs}
        }
        refuted.append(sum(answers[run.correct] for run in runs))
    assert refuted[0] <= 36
    assert refuted[1] >= 390


def test_the_curve_is_used_as_the_closed_form_says():
    """Certified lower bounds on a Gaussian's curve, against Phi."""
    found = Guesses(canaries=1000, guesses=100, correct=90)
    rates = one_run.asked_rates(found, 0.05)
    curve = tradeoff.curve(GaussianEvent(noise_multiplier=1.0), rates)
    exact = norm.cdf(norm.isf(rates) - 1.0)
    got = curve.false_negative_rates(rates)
    assert (got <= exact + 1e-12).all()
    assert np.allclose(got, exact, atol=1e-4)


def test_more_right_guesses_never_lower_a_bound_and_none_passes_the_ceiling():
    def event_at(factor):
        return GaussianEvent(noise_multiplier=2.0 * factor)

    plain, curved = [], []
    for right in (60, 80, 90, 100):
        found = Guesses(canaries=500, guesses=100, correct=right)
        plain.append(one_run.epsilon_lower(found, delta=1e-5, significance=0.05))
        curved.append(
            one_run.curve_epsilon_lower(found, event_at, delta=1e-5, significance=0.05)
        )
    assert plain == sorted(plain)
    assert curved == sorted(curved)
    assert curved[-1] > plain[-1]  # it knows more


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct"), [(10, 11, 5), (10, 5, 6), (0, 0, 0), (5, 5, -1)]
)
def test_impossible_counts_are_refused(canaries, guesses, correct):
    with pytest.raises(ParameterError):
        Guesses(canaries=canaries, guesses=guesses, correct=correct)


@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf])
def test_an_epsilon_that_is_no_number_is_refused(bad):
    found = Guesses(canaries=10, guesses=10, correct=9)
    with pytest.raises(ParameterError):
        one_run.p_value(found, epsilon=bad, delta=0.0)
