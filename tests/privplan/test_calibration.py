"""Calibration: inside the budget, no farther inside than one last digit."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, calibration, canonical
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import InfeasibleBudgetError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)


def sgd(rate, noise, steps):
    step = PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
    return SelfComposedEvent(event=step, count=steps)


def budget(epsilon, delta=1e-5, adjacency=Adjacency.ADD_OR_REMOVE_ONE):
    return PrivacyBudget(
        target_epsilon=epsilon, target_delta=delta, adjacency=adjacency
    )


def cost(event, allowed):
    return accounting.epsilon(
        event, delta=allowed.target_delta, adjacency=allowed.adjacency
    )


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(1e-3, 1.0),
    epsilon=st.floats(0.05, 30.0),
    delta=st.sampled_from([1e-3, 1e-6, 1e-11]),
    participations=st.floats(3.0, 500.0),
)
def test_the_noise_found_is_inside_and_the_next_digit_down_is_not(
    rate, epsilon, delta, participations
):
    """Rounding down by one digit is the mutant that this catches."""
    steps = math.ceil(participations / rate)
    allowed = budget(epsilon, delta)
    found = calibration.noise_multiplier(lambda z: sgd(rate, z, steps), budget=allowed)
    assert found == float(f"{found:.6g}")
    assert cost(sgd(rate, found, steps), allowed).upper <= epsilon
    # Two units of the sixth digit: the bracket is far narrower than one.
    less = found - 2 * 10 ** (math.floor(math.log10(found)) - 5)
    assert cost(sgd(rate, less, steps), allowed).lower > epsilon


def test_rounding_down_is_caught(monkeypatch):
    """Mutant: the search is right and the last rounding is not."""
    allowed = budget(1.0)
    monkeypatch.setattr(canonical, "round_up", canonical.round_down)
    with pytest.raises(InfeasibleBudgetError):
        calibration.noise_multiplier(lambda z: sgd(0.07, z, 4394), budget=allowed)


def test_other_phases_are_counted_with_the_unknown():
    """Calibrating one phase alone would overspend the rest."""
    allowed = budget(2.0)
    fixed = GaussianEvent(noise_multiplier=4.0)

    def make(noise):
        return ComposedEvent(events=(fixed, sgd(0.01, noise, 2000)))

    found = calibration.noise_multiplier(make, budget=allowed)
    alone = calibration.noise_multiplier(lambda z: sgd(0.01, z, 2000), budget=allowed)
    assert found > alone
    assert cost(make(found), allowed).upper <= 2.0
    # One unit of the sixth digit is at most 1e-5.
    assert cost(make(found * (1 - 1.1e-5)), allowed).lower > 2.0


def test_a_budget_that_other_phases_have_spent_is_refused_with_the_figure():
    """More noise cannot buy back what is gone."""
    fixed = GaussianEvent(noise_multiplier=1.0)
    with pytest.raises(InfeasibleBudgetError, match=r"4\.377") as caught:
        calibration.noise_multiplier(
            lambda z: ComposedEvent(events=(fixed, sgd(0.01, z, 100))),
            budget=budget(2.0),
        )
    assert caught.value.target == 2.0
    assert caught.value.needed > 4.37


@pytest.mark.parametrize(
    ("make", "epsilon"),
    [
        (lambda n: sgd(0.01, 1.0, n), 2.0),
        (lambda n: sgd(0.05, 3.0, n), 4.0),
        (
            lambda n: ComposedEvent(
                events=(GaussianEvent(noise_multiplier=9.0), sgd(0.001, 0.8, n))
            ),
            1.5,
        ),
        (
            lambda n: SelfComposedEvent(
                event=GaussianEvent(noise_multiplier=10.0), count=n
            ),
            1.0,
        ),
    ],
)
def test_the_most_steps_fit_and_one_more_does_not(make, epsilon):
    """Off by one is off by one release."""
    allowed = budget(epsilon)
    found = calibration.steps(make, budget=allowed)
    assert cost(make(found), allowed).upper <= epsilon
    assert cost(make(found + 1), allowed).upper > epsilon


def test_not_even_one_step_is_refused():
    """An answer of zero steps would be taken for a plan."""
    with pytest.raises(InfeasibleBudgetError):
        calibration.steps(lambda n: sgd(1.0, 0.5, n), budget=budget(0.5))


def test_the_highest_rate_fits_and_the_next_digit_up_does_not():
    """Rounded down, because more sampling costs more."""
    allowed = budget(2.0)
    found = calibration.sample_rate(lambda q: sgd(q, 1.0, 1000), budget=allowed)
    assert found == float(f"{found:.6g}")
    assert cost(sgd(found, 1.0, 1000), allowed).upper <= 2.0
    assert cost(sgd(found * (1 + 2e-5), 1.0, 1000), allowed).lower > 2.0


def test_a_rate_of_one_is_found_where_it_fits():
    """The end of the range is part of it."""
    assert calibration.sample_rate(lambda q: sgd(q, 50.0, 4), budget=budget(1.0)) == 1.0


def test_what_costs_nothing_needs_the_least_noise_there_is():
    """A stage that reads no record has no unknown worth searching."""
    found = calibration.noise_multiplier(lambda _: NoOpEvent(), budget=budget(1.0))
    assert found == 0.01


def test_replace_one_needs_twice_the_noise_of_a_plain_query():
    """The sensitivity doubles, and nothing else changes."""
    query = calibration.noise_multiplier(
        lambda z: GaussianEvent(noise_multiplier=z),
        budget=budget(2.0, adjacency=Adjacency.REPLACE_ONE),
    )
    plain = calibration.noise_multiplier(
        lambda z: GaussianEvent(noise_multiplier=z), budget=budget(2.0)
    )
    # Both are rounded up to six digits.
    assert query == pytest.approx(2 * plain, rel=1e-5)
