"""Alternatives and advice: what else could be planned, and what would help."""

import math
from dataclasses import replace

import pytest

from privplan import calibration
from privplan.advice import Advice, advice, records_needed
from privplan.alternatives import alternatives, over_epsilon
from privplan.budget import PrivacyBudget, default_delta
from privplan.candidates import ChoiceRequest, Compute, Start
from privplan.choice import choose
from privplan.events import ComposedEvent, GaussianEvent
from privplan.rough_noise import Training


def made(records=1437, epsilon=10.0, draws=72_000.0, parameters=93_961, **rest):
    return choose(
        ChoiceRequest(
            budget=PrivacyBudget(
                target_epsilon=epsilon, target_delta=default_delta(records)
            ),
            records=records,
            trained_parameters=parameters,
            compute=Compute(draws=draws),
            **rest,
        )
    )


def by_name(choice):
    return {other.name: other for other in alternatives(choice)}


def topics(choice):
    return {found.topic: found.text for found in advice(choice, alternatives(choice))}


@pytest.fixture(scope="module")
def digits():
    return made(start=Start.PREPARED, steps=100)


def test_alternatives_change_one_thing_and_cost_what_they_say(digits):
    """Their noise is an estimate; a reader would be misled by a wrong one."""
    chosen, request = digits.chosen, digits.request
    for name, epsilon, steps in (
        ("half epsilon", 5.0, 100),
        ("twice epsilon", 20.0, 100),
        ("half the steps", 10.0, 50),
    ):
        other = by_name(digits)[name]
        training = Training(sample_rate=chosen.sample_rate, steps=steps)
        exact = calibration.noise_multiplier(
            training.beside(request.fixed),
            budget=replace(request.budget, target_epsilon=epsilon),
        )
        assert other.target_epsilon == epsilon
        assert other.candidate.steps == steps
        assert other.candidate.noise_multiplier == pytest.approx(exact, rel=3e-3)
        assert other.candidate.sample_rate == chosen.sample_rate


def test_a_tenth_of_the_parameters_is_worth_the_root_of_ten(digits):
    other = by_name(digits)["a tenth of the parameters"]
    gained = other.candidate.feasibility / digits.chosen.feasibility
    # P is whole, and the noise an estimate.
    assert gained == pytest.approx(math.sqrt(10), rel=1e-3)


def test_twice_the_compute_reaches_more(digits):
    other = by_name(digits)["twice the compute"].candidate
    assert other.efficiency > digits.chosen.efficiency
    assert other.draws > 1.9 * digits.chosen.draws


def test_half_epsilon_is_none_where_the_queries_alone_exceed_it():
    query = ComposedEvent(events=(GaussianEvent(noise_multiplier=3.5),))
    found = by_name(made(epsilon=1.0, fixed=query))
    assert found["half epsilon"].candidate is None
    assert found["twice epsilon"].candidate is not None


def test_the_row_over_epsilon_rises(digits):
    row = over_epsilon(digits)
    indices = [other.candidate.feasibility for other in row]
    noises = [other.candidate.noise_multiplier for other in row]
    assert indices == sorted(indices)
    assert noises == sorted(noises, reverse=True)
    assert [other.target_epsilon for other in row] == [0.1, 0.3, 1.0, 3.0, 10.0]


def test_records_needed_bring_the_index_where_it_should_be():
    """n = 1347 at epsilon 1 and 58,600 parameters: about 21,000."""
    small = made(1347, 1.0, 1e7, 58_600)
    needed = records_needed(small)
    assert needed == 21_000
    request = replace(small.request, records=needed, sample_rate=1.0)
    # Same delta; 21,000 is rounded to two digits.
    assert choose(request).chosen.feasibility == pytest.approx(30, rel=0.03)


def test_a_sated_plan_is_told_that_more_is_useless():
    text = topics(made(epsilon=1.0, draws=1e7, start=Start.PREPARED))
    assert "100 % of what this budget allows" in text["sated"]
    assert "useless" in text["sated"]
    assert "uses" in text["unused"]
    assert "starved" not in text


def test_a_plan_with_signal_to_spare_is_not_told_that_steps_are_useless():
    """Everybody in every step, and F = 383: sixty steps cannot be all there is."""
    text = topics(made(60_000, draws=1e5, start=Start.PREPARED, sample_rate=1.0))
    assert "steps or noise draws would still help" in text["sated"]
    assert "times the compute" in text["over"]


def test_a_starved_plan_is_told_so_and_what_would_help():
    text = topics(made(60_000, 10.0, 1e5, 170_000))
    assert "starved of compute" in text["starved"]
    assert "twice the compute would reach" in text["starved"]
    assert "privplan does not have it" in text["correlated-noise"]
    assert "sated" not in text


def test_correlated_noise_is_not_advised_where_it_gains_nothing():
    """Measured: no gain at a noise multiplier of 1.3, half the noise at 0.5."""
    starved = made(60_000, 10.0, 5e5, 170_000)
    assert starved.chosen.efficiency < 0.5
    assert starved.chosen.noise_multiplier > 0.6
    assert "correlated-noise" not in topics(starved)


def test_drowned_signals_are_named_with_a_way_out():
    text = topics(made(epsilon=1.0, start=Start.SCRATCH))
    assert "noise drowns the signal: F = 1.5" in text["noise"]
    assert "records needed for F = 30" in text["noise"]
    assert "F x 3.2" in text["parameters"]
    assert "prepared without records" in text["start"]


def test_a_plan_that_lacks_compute_is_not_told_to_find_records():
    text = topics(made(60_000, 10.0, 2e4, 170_000, start=Start.PREPARED))
    assert "with more compute the same budget reaches 280" in text["noise"]
    assert "records needed" not in text["noise"]


def test_the_published_run_is_not_called_hopeless():
    """1.75 million parameters at epsilon 1: F0 = 12, and it learned."""
    text = topics(made(60_000, 1.0, 5.8e8, 1_750_000))
    assert "noise" not in text
    assert "start" not in text


def test_expensive_queries_large_deltas_and_few_steps_are_named():
    query = ComposedEvent(events=(GaussianEvent(noise_multiplier=0.8),))
    text = topics(made(fixed=query, steps=20))
    assert "% of the budget" in text["queries"]
    assert "delta is 0.00033" in text["delta"]
    assert "20 steps are few" in text["short"]


def test_a_good_plan_hears_little():
    choice = made(60_000, 3.0, 5e6, 170_000, start=Start.PREPARED)
    assert 0.5 < choice.chosen.efficiency < 0.95
    assert advice(choice) == ()
    assert all(isinstance(found, Advice) for found in advice(made()))
