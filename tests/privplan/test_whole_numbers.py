"""Plans that train in whole numbers: what they cost, who counts it, who is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from privplan import (
    accounting,
    discrete_cost,
    events,
    explain,
    opinions,
    renyi,
    report_mechanism,
    whole_numbers,
)
from privplan import plan as plans
from privplan.budget import Adjacency
from privplan.errors import DocumentError, ParameterError, PolicyError
from privplan.plan_phases import query_phases
from privplan.planner import DeclaredData, PlanRequest, Wishes, make_plan

DELTA = 1e-5
STEP = events.PoissonSampledDiscreteGaussianEvent(
    sample_rate=0.02, noise_multiplier=1.1
)
RUN = events.SelfComposedEvent(event=STEP, count=1000)
QUERY = events.GaussianEvent(noise_multiplier=30.0)
OLD = Path(__file__).parents[1] / "golden" / "old-plan.json"


def planned(*, queries=(), data=None, **wishes):
    wanted = Wishes(
        steps=20,
        sample_rate=0.1,
        arithmetic="discrete",
        queries=query_phases(list(queries)),
        **wishes,
    )
    request = PlanRequest(target_epsilon=2.0, wishes=wanted)
    return make_plan(request if data is None else replace(request, data=data))


@pytest.fixture(scope="module")
def plan():
    return planned(queries=["labels:60"])


def test_a_plan_from_before_has_the_digest_it_had():
    """A field added since would change what its reports and ledgers were bound to."""
    old = plans.read(OLD)
    assert json.loads(plans.to_text(old)) == json.loads(OLD.read_text())
    assert old.computed_digest() == json.loads(OLD.read_text())["digest"]


def test_the_whole_plan_is_calibrated_by_the_bound_for_discrete_noise(plan):
    """A noise found for the continuous Gaussian would claim what nobody proved."""
    budget = plan.budget
    upper = discrete_cost.epsilon_upper(plan.event, delta=budget.target_delta)
    assert plan.accounting.epsilon_upper == upper
    assert plan.accounting.method == discrete_cost.METHOD
    # 1e-4: calibration rounds the noise up in its sixth digit.
    assert upper == pytest.approx(2.0, rel=1e-4)
    assert upper <= 2.0


def test_a_query_beside_it_is_added_at_every_whole_order(plan):
    """Adding epsilons would be valid and dear; leaving it out would be a lie."""
    private, query = plan.private_phases[0], plan.phases_of(plans.QueryPhase)[0]
    for order in discrete_cost.WHOLE_ORDERS:
        parts = private.steps * renyi.divergence(private.event, order)
        parts += renyi.divergence(query.event, order)
        # 1e-12: the sum is rounded once more than its parts.
        whole = renyi.divergence(plan.event, order)
        assert whole == pytest.approx(parts, rel=1e-12)


def test_the_discrete_bound_is_above_the_exact_cost_of_the_line():
    twin = events.SelfComposedEvent(event=STEP.continuous, count=1000)
    exact = accounting.epsilon(twin, delta=DELTA)
    found = accounting.epsilon(RUN, delta=DELTA)
    assert found.lower == 0.0
    assert exact.upper < found.upper < 1.15 * exact.upper


@pytest.mark.parametrize("tree", [RUN, events.ComposedEvent(events=(RUN, QUERY))])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
def test_delta_of_epsilon_inverts_epsilon_of_delta(tree, delta):
    """Two formulas for one bound; a slip in either moves them apart."""
    epsilon = accounting.epsilon(tree, delta=delta).upper
    # 1e-9: both are swollen by their rounding.
    assert accounting.delta(tree, epsilon=epsilon).upper == pytest.approx(
        delta, rel=1e-6
    )


@pytest.mark.parametrize("order", [1.5, 2.25, 7.5])
def test_between_whole_orders_the_next_one_is_charged(order):
    """There the lattice is not proven to cost what the line does."""
    above = float(int(order) + 1)
    assert renyi.divergence(STEP, order) == renyi.divergence(STEP, above)


def test_at_rate_one_the_discrete_step_stays_discrete():
    """As a plain Gaussian it would be counted by the closed form."""
    always = replace(STEP, sample_rate=1.0)
    (phase,) = events.phases(always)
    assert phase.event == always
    assert accounting.epsilon(always, delta=DELTA).method == discrete_cost.METHOD


def test_replace_one_is_refused():
    with pytest.raises(PolicyError, match="replace-one"):
        accounting.epsilon(RUN, delta=DELTA, adjacency=Adjacency.REPLACE_ONE)


def test_another_library_recomputes_the_same_bound():
    """Its whole-order sums are its own code; a number of ours that is less shows."""
    mixed = events.ComposedEvent(events=(RUN, QUERY))
    (other,) = opinions.second_opinions(mixed, delta=DELTA)
    ours = accounting.epsilon(mixed, delta=DELTA)
    assert other.method == opinions.SAME_BOUND
    # 1e-6: rounding of a thousand steps in log space.
    assert other.upper == pytest.approx(ours.upper, rel=1e-6)
    assert opinions.agree(0.0, ours.upper, [other])
    assert not opinions.agree(0.0, 0.999 * ours.upper, [other])


def test_nobody_may_write_down_less_than_the_bound(plan):
    """It has no lower end to compare with, so the upper end is compared."""
    found = accounting.epsilon(plan.event, delta=plan.budget.target_delta)
    assert 0.999 * found.upper < found.least_claim < found.upper


def test_the_report_names_the_level_of_training_and_queries(plan):
    assert report_mechanism.arithmetic(plan) == (
        "L2 whole numbers, exact discrete Gaussian noise; queries L1 float64 on a "
        "public grid"
    )
    assert "discrete Gaussian" in report_mechanism.noise(plan)
    assert "by counting" in report_mechanism.clipping(plan)
    assert report_mechanism.arithmetic(plans.read(OLD)).startswith("L1")


def test_a_stranger_recomputes_epsilon_without_our_code(plan, tmp_path):
    statement = {
        "predicate": {
            "plan": json.loads(plans.to_text(plan)),
            "claim": {
                "delta": repr(plan.budget.target_delta),
                "epsilon": {"upper": repr(plan.accounting.epsilon_upper)},
            },
        }
    }
    (tmp_path / "statement.json").write_text(json.dumps(statement))
    done = subprocess.run(
        [sys.executable, "-c", explain.SCRIPT, str(tmp_path / "statement.json")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = float(done.stdout.split()[1].rstrip(","))
    # 1e-4: it tries more orders, so it may be a hair below.
    assert found == pytest.approx(plan.accounting.epsilon_upper, rel=1e-4)


def test_a_network_too_large_is_refused_with_a_way_out():
    large = DeclaredData(records=60_000, channels=1, height=28, width=28, classes=10)
    with pytest.raises(ParameterError, match="up to 100,000") as refusal:
        planned(data=large)
    assert "--arithmetic float64" in refusal.value.hint


def test_adaptive_clipping_is_refused():
    with pytest.raises(ParameterError, match="adaptive"):
        planned(clipping="adaptive")


def test_more_noise_than_the_grid_holds_is_refused():
    wishes = Wishes(steps=5000, sample_rate=0.5, arithmetic="discrete")
    with pytest.raises(ParameterError, match="at most 32"):
        make_plan(PlanRequest(target_epsilon=0.5, wishes=wishes))


def test_a_plan_that_trains_on_nothing_private_has_no_arithmetic():
    drawn = "coarse=synthetic,context=synthetic,cleaning=synthetic"
    with pytest.raises(ParameterError, match="--arithmetic discrete has nothing"):
        make_plan(
            PlanRequest(
                target_epsilon=1.0, stages=drawn, wishes=Wishes(arithmetic="discrete")
            )
        )


def test_a_plan_by_hand_with_a_moving_c_contradicts_itself():
    wishes = Wishes(steps=20, sample_rate=0.1, clipping="adaptive")
    floats = make_plan(PlanRequest(target_epsilon=2.0, wishes=wishes))
    document = json.loads(plans.to_text(floats))
    document["phases"][0]["event"]["type"] = "poisson-sampled-discrete-gaussian"
    draft = plans.Plan.model_validate_json(json.dumps(document))
    with pytest.raises(DocumentError, match="fixed C"):
        plans.from_text(plans.to_text(plans.seal(draft)).encode())


def test_the_size_is_asked_again_before_anything_runs(plan):
    """A plan by hand could name any network."""
    wide = plan.training.model_copy(
        update={"network": plan.training.network.model_copy(update={"base_width": 256})}
    )
    with pytest.raises(ParameterError, match="up to 100,000"):
        whole_numbers.check(plan.data, wide, plan.phases)
