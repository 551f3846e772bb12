import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting
from privplan.errors import ParameterError
from privplan.planner import DIGITS, DeclaredData, PlanRequest, Wishes, make_plan

PINNED = {"steps", "sample_rate", "noise_multiplicity"}


def quick(**wanted):
    wishes = Wishes(**{name: wanted.pop(name) for name in PINNED & wanted.keys()})
    return make_plan(PlanRequest(wishes=wishes, **wanted))


@settings(max_examples=15, deadline=None)
@given(
    epsilon=st.sampled_from([0.05, 0.5, 1.0, 3.0, 10.0]),
    steps=st.integers(1, 2000),
    rate=st.floats(0.005, 1.0),
)
def test_a_plan_never_costs_more_than_its_target(epsilon, steps, rate):
    made = quick(target_epsilon=epsilon, steps=steps, sample_rate=rate)
    found = accounting.epsilon(made.event, delta=made.budget.target_delta)
    assert found.upper <= epsilon
    assert made.accounting.epsilon_upper == found.upper


def test_a_plan_leaves_next_to_nothing_of_its_budget_unused():
    """Noise beyond what the budget asks for is quality thrown away."""
    made = quick(target_epsilon=1.0)
    assert made.accounting.epsilon_lower > 0.9999


def test_less_budget_more_steps_and_a_higher_rate_each_need_more_noise():
    def noise(**wanted):
        made = quick(**{"target_epsilon": 1.0, "steps": 100} | wanted)
        return made.private_phases[0].mechanism.noise_multiplier

    base = noise()
    assert noise(target_epsilon=0.5) > base
    assert noise(steps=400) > base
    assert noise(sample_rate=0.4) > base
    assert noise(target_delta=1e-6) > base


def test_the_noise_of_the_published_planning_table_is_reproduced():
    """n = 1347, rate 0.2, 200 steps, delta n^-1.1: 1.397 at 10 and 8.20 at 1."""
    data = DeclaredData(records=1347, channels=1, height=8, width=8, classes=10)
    for epsilon, published in ((10.0, 1.397), (1.0, 8.20)):
        made = quick(
            target_epsilon=epsilon,
            target_delta=1347**-1.1,
            data=data,
            steps=200,
            sample_rate=0.2,
        )
        found = made.private_phases[0].mechanism.noise_multiplier
        assert found == pytest.approx(published, rel=0.005)


def test_what_the_user_pins_is_what_the_plan_holds():
    made = quick(
        target_epsilon=2.0,
        target_delta=1e-6,
        steps=77,
        sample_rate=0.03,
        noise_multiplicity=9,
    )
    phase = made.private_phases[0]
    assert phase.steps == 77
    assert phase.mechanism.sample_rate == 0.03
    assert phase.noise_multiplicity == 9
    assert phase.expected_batch_size == pytest.approx(0.03 * DIGITS.records)
    assert made.budget.target_delta == 1e-6


def test_noise_draws_per_record_cost_no_privacy():
    one, many = (quick(target_epsilon=1.0, noise_multiplicity=k) for k in (1, 32))
    assert one.event == many.event


def test_an_impossible_request_is_refused_before_anything_is_computed():
    with pytest.raises(ParameterError, match="records"):
        DeclaredData(records=0, channels=1, height=8, width=8, classes=10)
    with pytest.raises(ParameterError, match="below 1/n"):
        quick(target_epsilon=1.0, target_delta=0.01)


def test_the_second_opinions_are_in_the_plan_and_agree():
    made = make_plan(PlanRequest(target_epsilon=1.0, stages="", second_opinions=True))
    names = [opinion.name for opinion in made.accounting.second_opinions]
    assert "dp-accounting" in names
    assert "prv-accountant" in names
    for opinion in made.accounting.second_opinions:
        assert opinion.lower <= made.accounting.epsilon_upper
        assert made.accounting.epsilon_lower <= opinion.upper
