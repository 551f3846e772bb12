"""Mistakes in the accounting: rounding, missing parts, wrong sensitivities."""

import math
from dataclasses import replace

import pytest

from privplan import accounting, calibration, opinions, renyi, report
from privplan import plan as plans
from privplan.budget import Adjacency
from privplan.errors import (
    BudgetExceededError,
    IntegrityError,
    ParameterError,
    PolicyError,
)
from privplan.ledger_content import LedgerContent
from privplan.planner import PlanRequest, Wishes, make_plan
from privplan.report_schema import Surroundings
from tests.faults.catching import fault
from tests.privplan import test_accounting_mutants as mutants
from tests.privplan.test_verify import open_ledger

AROUND = Surroundings(source_digest="c" * 64, versions={}, platform="somewhere")


def resealed(plan, **changes):
    """The plan as a liar would write it: changed, and sealed anew."""
    return plans.seal(plan.model_copy(update=changes))


def content_of(plan, folder) -> LedgerContent:
    from privplan import ledger

    folder.mkdir()
    open_ledger(folder, plan).close()
    return ledger.read(folder / "ledger.sqlite")


@fault("A1")
def test_rounding_down_is_caught(caught, monkeypatch):
    """What is shown must be what holds, to the last digit."""
    with monkeypatch.context() as patch:
        caught.check(mutants.recount, lambda: mutants.round_down(patch), "recount")
    caught.check(
        mutants.recount, lambda: mutants.show_rounded_down(monkeypatch), "recount"
    )


@fault("A2")
def test_a_delta_not_below_one_over_n_is_refused(caught):
    """Publishing one record in n at random has delta 1/n and no privacy."""
    for delta in (1 / 1437, 0.01, math.nan):
        caught.refusal(
            ParameterError,
            lambda delta=delta: make_plan(
                PlanRequest(target_epsilon=1.0, target_delta=delta, stages="")
            ),
        )


@fault("A3")
def test_accountants_that_disagree_make_no_claim(
    caught, small_plan, tmp_path, monkeypatch
):
    content = content_of(small_plan, tmp_path / "run")
    off = opinions.Opinion(
        name="other", version="0", method="pld", lower=9.0, upper=9.1
    )
    monkeypatch.setattr(opinions, "second_opinions", lambda *_, **__: (off,))
    monkeypatch.setattr(opinions, "besides", lambda _, others: others)
    caught.verdict(report.build(small_plan, content, AROUND), "disagree")


@fault("A4")
def test_too_few_renyi_orders_never_claim_less(caught):
    """Fewer orders only loosen the bound; an order below one is no bound at all."""
    event = mutants.UNLIKE
    truth = accounting.epsilon(event, delta=1e-4).lower
    whole = renyi.epsilon_upper(event, delta=1e-4)
    for orders in ((2.0,), (64.0,), (1.5, 3.0), renyi.ORDERS[::7]):
        assert renyi.epsilon_upper(event, delta=1e-4, orders=orders) >= whole >= truth
    for order in (1.0, 0.5, math.nan, math.inf):
        caught.refusal(
            ParameterError,
            lambda order=order: renyi.epsilon_upper(event, delta=1e-4, orders=[order]),
        )
    caught.without_effect("the bound grows")


@fault("A5")
@pytest.mark.slow
def test_a_phase_left_out_is_caught(caught, monkeypatch):
    caught.check(
        mutants.second_opinions,
        lambda: mutants.forget_a_phase(monkeypatch),
        "second opinions",
    )


@fault("A6")
def test_a_phase_with_less_noise_than_was_charged_is_refused(caught, small_plan):
    """A schedule of noise is charged as it is, never by its first or mean value."""
    from diffusion import enforce

    (phase,) = small_plan.private_phases
    weaker = replace(phase.event, noise_multiplier=0.8 * phase.event.noise_multiplier)
    kept = [
        p.model_copy(update={"event": weaker}) if p is phase else p
        for p in small_plan.phases
    ]
    lie = resealed(small_plan, phases=tuple(kept))
    caught.refusal(BudgetExceededError, lambda: enforce.check_plan(lie))


@fault("A7")
def test_a_calibration_above_its_target_is_refused(caught, monkeypatch):
    """Elsewhere the search returned a noise that misses the target by its tolerance."""
    from diffusion import enforce

    right = calibration.noise_multiplier
    monkeypatch.setattr(
        calibration, "noise_multiplier", lambda *a, **k: 0.97 * right(*a, **k)
    )

    def carry_out():
        made = make_plan(
            PlanRequest(
                target_epsilon=1.0, stages="", wishes=Wishes(steps=20, sample_rate=0.1)
            )
        )
        enforce.check_plan(made)

    caught.refusal(BudgetExceededError, carry_out)


@fault("A8")
def test_a_sensitivity_of_c_where_it_is_2c_is_caught(caught, monkeypatch):
    """Replacing a record moves a sum by 2C, adding one by C."""
    caught.check(
        mutants.closed_form,
        lambda: mutants.single_sensitivity(monkeypatch),
        "closed form",
    )


@fault("A9")
def test_a_unit_of_several_records_is_refused(caught, small_plan):
    """The events are those of one record; a user with five would be charged a fifth."""
    from diffusion import enforce

    user = small_plan.budget.model_copy(
        update={"unit": "user", "max_records_per_unit": 5}
    )
    lie = resealed(small_plan, budget=user)
    caught.refusal(PolicyError, lambda: plans.from_text(plans.to_text(lie).encode()))
    caught.refusal(PolicyError, lambda: enforce.check_plan(lie), "records")


def test_a_lie_about_the_cost_is_found_without_the_budget(small_plan):
    """A plan that claims less than it costs does not start either."""
    from diffusion import enforce

    said = small_plan.accounting.model_copy(update={"epsilon_upper": 0.5})
    with pytest.raises(IntegrityError):
        enforce.check_plan(resealed(small_plan, accounting=said))
    assert small_plan.budget.adjacency is Adjacency.ADD_OR_REMOVE_ONE
