"""Many answers at once are the answers one by one, and never go the wrong way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, grids, profile
from privplan.batches import dp_sgd
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import InfeasibleBudgetError, ParameterError, PolicyError
from privplan.questions import as_event

RUN = as_event(["sgd:0.05,1.5,300", "gaussian:20", "pure:0.05,2"])


def test_a_profile_is_what_the_accountant_says_point_by_point():
    """In any order and shape, repeated or not."""
    at = np.array([[2.0, 0.0, 5.0], [2.0, 0.7, 1.3]])
    found = profile.deltas(RUN, at)
    for index, epsilon in np.ndenumerate(at):
        one = accounting.delta(RUN, epsilon=float(epsilon))
        assert one.lower <= found.lower[index] <= found.upper[index] <= one.upper
    assert found.upper.shape == (2, 3)


def test_a_profile_asked_both_ways_comes_back():
    """epsilon(delta) and delta(epsilon) are one curve."""
    deltas = np.geomspace(1e-12, 1e-2, 6)
    there = profile.epsilons(RUN, deltas)
    back = profile.deltas(RUN, there.upper)
    assert np.all(back.lower <= deltas)
    assert back.upper == pytest.approx(deltas, rel=1e-5)


def test_neighbours_tighten_each_other():
    """A bound that is loose at one point cannot be looser than the point before."""
    found = profile.deltas(dp_sgd(sample_rate=0.3, noise_multiplier=0.9, steps=4),
                           np.linspace(0, 6, 13))  # fmt: skip
    assert np.all(np.diff(found.upper) <= 0)
    assert np.all(np.diff(found.lower) <= 0)
    assert np.all(found.lower <= found.upper)


@settings(max_examples=4, deadline=None)
@given(
    noise=st.floats(0.8, 6.0), rate=st.floats(0.02, 0.5), steps=st.integers(150, 900)
)
def test_a_table_is_right_at_each_place_and_in_order_along_each_axis(
    noise, rate, steps
):
    noises = noise * np.array([1.0, 1.3, 2.0])[:, None, None]
    rates = rate * np.array([0.5, 1.0])[:, None]
    counts = [steps, 2 * steps]
    found = grids.epsilon_bounds(noises, rates, counts, delta=1e-5)
    assert found.upper.shape == (3, 2, 2)
    assert np.all(np.diff(found.upper, axis=0) <= 0)
    assert np.all(np.diff(found.upper, axis=1) >= 0)
    assert np.all(np.diff(found.upper, axis=2) >= 0)
    one = accounting.epsilon(
        dp_sgd(
            sample_rate=float(rates[1, 0]),
            noise_multiplier=float(noises[1, 0, 0]),
            steps=counts[1],
        ),
        delta=1e-5,
    )
    assert one.lower <= found.lower[1, 1, 1] <= found.upper[1, 1, 1] <= one.upper
    assert np.array_equal(
        found.upper, grids.epsilons(noises, rates, counts, delta=1e-5)
    )


def test_the_noise_of_a_table_keeps_the_budget_everywhere_and_wastes_none():
    budget = PrivacyBudget(target_epsilon=2.0, target_delta=1e-5)
    rates, counts = np.array([[0.02], [0.1]]), np.array([200, 200, 1500])
    found = grids.noise_multipliers(rates, counts, budget=budget)
    assert np.all(grids.epsilons(found, rates, counts, delta=1e-5) <= 2.0)
    assert np.all(grids.epsilons(found * 0.9999, rates, counts, delta=1e-5) > 2.0)
    assert np.array_equal(found[:, 0], found[:, 1])
    assert np.all(np.diff(found, axis=0) > 0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_an_entry_that_is_not_allowed_is_named_by_its_index(bad):
    with pytest.raises(ParameterError, match=r"noise_multiplier\[1, 0\]"):
        grids.epsilons([[1.0], [bad]], 0.1, 10, delta=1e-5)
    with pytest.raises(ParameterError, match=r"sample_rate\[2\]"):
        grids.epsilons(1.0, [0.1, 0.2, bad], 10, delta=1e-5)
    with pytest.raises(ParameterError, match="steps is"):
        grids.epsilons(1.0, 0.1, bad, delta=1e-5)
    with pytest.raises(ParameterError, match=r"steps\[0\]"):
        grids.noise_multipliers(
            0.1, [1.5], budget=PrivacyBudget(target_epsilon=1, target_delta=1e-5)
        )
    with pytest.raises(ParameterError, match="delta"):
        grids.epsilons(1.0, 0.1, 10, delta=bad)
    with pytest.raises(ParameterError, match=r"deltas\[0\]"):
        profile.epsilons(RUN, [bad])
    if bad:
        with pytest.raises(ParameterError, match=r"epsilons\[1\]"):
            profile.deltas(RUN, [0.0, bad])


def test_nothing_asked_is_refused():
    """An empty table reads as "all is well"."""
    with pytest.raises(ParameterError, match="epsilons is empty"):
        profile.deltas(RUN, [])


def test_tables_refuse_what_one_answer_refuses():
    with pytest.raises(PolicyError, match="replace-one"):
        grids.epsilons(1.0, 0.1, 10, delta=1e-5, adjacency=Adjacency.REPLACE_ONE)
    tiny = PrivacyBudget(target_epsilon=1e-9, target_delta=1e-12)
    with pytest.raises(InfeasibleBudgetError):
        grids.noise_multipliers(1.0, 2**50, budget=tiny)
