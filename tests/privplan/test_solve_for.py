"""Each unknown: what is found keeps the target, and a little more would not."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, questions, solve_for
from privplan.batches import Sampling, dp_sgd
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import InfeasibleBudgetError, ParameterError, PolicyError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    NonPrivateEvent,
    NoOpEvent,
    RandomizedResponseEvent,
)
from privplan.questions import as_event, calibrate

BUDGET = PrivacyBudget(target_epsilon=2.0, target_delta=1e-5)


def cost(event, budget=BUDGET):
    return accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    )


@settings(max_examples=6, deadline=None)
@given(
    rate=st.floats(0.02, 0.5),
    steps=st.integers(150, 900),
    query=st.floats(6.0, 40.0),
    open_field=st.sampled_from(["noise", "rate", "count"]),
)
def test_what_is_found_keeps_the_budget_jointly_and_wastes_nothing(
    rate, steps, query, open_field
):
    text = {
        "noise": f"sgd:{rate!r},?,{steps}",
        "rate": f"sgd:?,3.0,{steps}",
        "count": f"sgd:{rate!r},6.0,?",
    }[open_field]
    found = calibrate([f"gaussian:{query!r}", text], budget=BUDGET)
    assert found.epsilon == cost(found.event)
    assert found.epsilon.upper <= 2
    worse = {
        "noise": found.value * (1 - 2e-5),
        "rate": min(found.value * (1 + 2e-5), 1.0),
        "count": found.value + 1,
    }[open_field]
    if worse != found.value:
        parts = [f"gaussian:{query!r}", text.replace("?", repr(worse))]
        assert cost(as_event(parts)).upper > 2


def test_events_texts_and_one_function_may_be_mixed():
    """The same question in three spellings has one answer."""

    def run(noise):
        return dp_sgd(sample_rate=0.05, noise_multiplier=noise, steps=500)

    query = GaussianEvent(noise_multiplier=20.0)
    by_text = calibrate(["gaussian:20", "sgd:0.05,?,500"], budget=BUDGET)
    mixed = calibrate([query, "sgd:0.05,?,500"], budget=BUDGET)
    function = calibrate(["gaussian:20", run], budget=BUDGET)
    alone = calibrate(run, budget=BUDGET)
    assert by_text.value == mixed.value == function.value > alone.value
    assert function.parts == (query, run(function.value))
    assert alone.value == calibrate("sgd:0.05,?,500", budget=BUDGET).value


def test_fixed_phases_that_cost_too_much_are_named_with_their_price():
    """A bare "infeasible" sends people to lower the noise of the wrong phase."""
    with pytest.raises(InfeasibleBudgetError) as refused:
        calibrate(["gaussian:1.5", "pure:0.2", "sgd:0.05,?,500"], budget=BUDGET)
    fixed = cost(as_event(["gaussian:1.5", "pure:0.2"])).upper
    assert refused.value.needed == fixed
    assert f"alone cost epsilon {fixed:.2f}"[:-1] in refused.value.message
    with pytest.raises(InfeasibleBudgetError, match="epsilon inf"):
        calibrate(["raw", "sgd:0.05,?,500"], budget=BUDGET)


def test_a_question_without_an_answer_says_so():
    """Not even one step, not even the rarest sampling."""
    tiny = PrivacyBudget(target_epsilon=0.01, target_delta=1e-9)
    with pytest.raises(InfeasibleBudgetError, match="even at best"):
        calibrate("gaussian:1,?", budget=tiny)


@pytest.mark.parametrize(
    "phases", [[], ["gaussian:3"], ["gaussian:?", "laplace:?"],
               ["gaussian:?", lambda z: GaussianEvent(noise_multiplier=z)]],
)  # fmt: skip
def test_one_unknown_is_needed_and_one_only(phases):
    with pytest.raises(ParameterError):
        calibrate(phases, budget=BUDGET)


@settings(max_examples=15, deadline=None)
@given(noise=st.floats(0.3, 30.0), at=st.floats(0.0, 6.0))
def test_a_promised_epsilon_or_delta_is_never_below_the_certified_one(noise, at):
    query = GaussianEvent(noise_multiplier=noise)
    delta = solve_for.delta(query, epsilon=at)
    assert accounting.delta(query, epsilon=at).upper <= delta
    assert delta <= accounting.delta(query, epsilon=at).upper * (1 + 1e-5)
    epsilon = solve_for.epsilon(query, delta=1e-6)
    upper = accounting.epsilon(query, delta=1e-6).upper
    assert upper <= epsilon <= upper * (1 + 1e-5)


def test_what_was_read_without_noise_is_promised_nothing():
    assert solve_for.epsilon(NonPrivateEvent(), delta=0.5) == math.inf
    assert solve_for.delta(NonPrivateEvent(), epsilon=9.0) == 1
    assert solve_for.delta(NoOpEvent(), epsilon=0.0) == 0


@pytest.mark.parametrize("records", [1_797, 60_000, 3 * 10**8])
def test_the_largest_batch_is_the_highest_rate_times_n(records):
    """Rounded down again, since the product has digits of its own."""

    def run(rate):
        return dp_sgd(sample_rate=rate, noise_multiplier=1.5, steps=300)

    found = solve_for.expected_batch_size(run, records=records, budget=BUDGET)
    assert cost(run(found / records)).upper <= 2
    assert cost(run(found * (1 + 3e-5) / records)).upper > 2


def test_one_scale_for_all_noise_keeps_their_proportions():
    """The factor is the least: a little less exceeds the budget."""
    event = as_event(["sgd:0.05,1,500", "gaussian:10", "laplace:30", "pure:0.05"])
    found = solve_for.noise_scale(event, budget=BUDGET)
    assert cost(solve_for.scaled(event, found)).upper <= 2
    assert cost(solve_for.scaled(event, found * (1 - 1e-4))).upper > 2
    twice = solve_for.scaled(event, 2.0)
    assert twice == as_event(
        ["sgd:0.05,2,500", "gaussian:20", "laplace:60", "pure:0.05"]
    )


def test_what_has_no_noise_cannot_be_scaled():
    """It would be asked for the least factor of a cost that no factor changes."""
    for event in (RandomizedResponseEvent(epsilon=0.1), ComposedEvent(events=())):
        with pytest.raises(ParameterError, match="nothing in this event"):
            solve_for.noise_scale(event, budget=BUDGET)
    with pytest.raises(ParameterError, match="scale"):
        solve_for.scaled(NoOpEvent(), math.nan)


@pytest.mark.parametrize("sampling", [Sampling.SHUFFLED, Sampling.FIXED_SIZE])
def test_batches_that_are_not_poisson_get_no_event(sampling):
    """Its epsilon would be read as theirs."""
    with pytest.raises(PolicyError, match="no Poisson epsilon") as refused:
        dp_sgd(sample_rate=0.1, noise_multiplier=1, steps=3, sampling=sampling)
    assert "gaussian:NOISE" in refused.value.hint


def test_replace_one_is_solved_where_it_has_an_answer():
    two = PrivacyBudget(
        target_epsilon=2.0, target_delta=1e-5, adjacency=Adjacency.REPLACE_ONE
    )
    doubled = calibrate("gaussian:?", budget=two).value
    plain = calibrate("gaussian:?", budget=BUDGET).value
    # both are rounded up to six digits
    assert doubled == pytest.approx(2 * plain, rel=1e-5)
    with pytest.raises(PolicyError, match="replace-one"):
        calibrate("sgd:0.05,?,500", budget=two)


def test_the_package_offers_the_questions_and_loads_them_late():
    import subprocess
    import sys

    code = (
        "import sys, privplan; before = set(sys.modules);"
        "from privplan import Budget, epsilon;"
        "print(sorted(m for m in before if m.startswith('privplan')));"
        "print(sorted({'numpy', 'scipy', 'pydantic'} & set(sys.modules)));"
        "print(epsilon('none', delta=0.1).upper)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:3] == ["['privplan']", "[]", "0.0"]
    import privplan

    assert set(privplan.__all__) <= set(dir(privplan))
    assert privplan.epsilon is questions.epsilon
    with pytest.raises(AttributeError, match="no attribute 'epsilons'"):
        privplan.epsilons  # noqa: B018 - the access is what is tested
