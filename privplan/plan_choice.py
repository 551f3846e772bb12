"""A plan as the planner's search sees it: for its choice, alternatives and advice.

The search (`choice`) knows budgets, records, parameters and draws; a plan knows phases
and documents. This room translates, in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence

from privplan import plan, plan_size
from privplan.candidates import ChoiceRequest, Compute, Start, judged
from privplan.choice import Choice
from privplan.efficiency import mu_left
from privplan.rough_noise import Training


def choice_of(made: plan.Plan, *, seconds_per_draw: float | None) -> Choice | None:
    """Return what a plan chose, with its numbers as they stand.

    Args:
        made: The plan.
        seconds_per_draw: On the machine that will run it; None if not measured.

    Returns:
        None where the plan takes no private step.
    """
    if not made.private_phases:
        return None
    phase = made.private_phases[0]
    fixed = [other for other in made.phases if other is not phase]
    draws = phase.noise_multiplicity * phase.expected_batch_size * phase.steps
    request = ChoiceRequest(
        budget=made.budget.as_budget(),
        records=made.data.records,
        trained_parameters=plan_size.trained_parameters(made.data, made.training),
        compute=Compute(draws=draws, seconds_per_draw=seconds_per_draw),
        fixed=plan.whole_event(fixed),
        start=start_of(fixed),
    )
    mu = mu_left(request.budget, request.fixed)
    step = phase.mechanism
    chosen = judged(
        request,
        mu,
        Training(sample_rate=step.sample_rate, steps=phase.steps),
        phase.noise_multiplicity,
        step.noise_multiplier,
    )
    return Choice(request=request, mu=mu, chosen=chosen, looked_at=(chosen,))


def start_of(before: Sequence[plan.PlanPhase]) -> Start:
    """Return from which weights private steps begin, given the phases before them."""
    prepared = (
        plan.SyntheticPhase
        | plan.PublicPhase
        | plan.PretrainedPhase
        | plan.GaussianPhase
    )
    found = any(isinstance(phase, prepared) for phase in before)
    return Start.PREPARED if found else Start.SCRATCH
