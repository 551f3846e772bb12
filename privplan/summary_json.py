"""A summed-up plan as JSON: what `privplan plan --json` prints."""

from __future__ import annotations

from dataclasses import asdict

from privplan import events, plan_size, plan_words
from privplan.advice import advice
from privplan.alternatives import alternatives, over_epsilon
from privplan.choice import Choice
from privplan.plan import Plan
from privplan.summary import PhaseCost, StageCost, phase_costs, stage_costs


def as_json(plan: Plan, choice: Choice | None) -> dict[str, object]:
    """Return the summary of a plan as JSON values, with numbers as numbers.

    Args:
        plan: The plan.
        choice: What it chose, for alternatives and advice; None without private steps.
    """
    trained_parameters = plan_size.trained_parameters(plan.data, plan.training)
    private = plan.private_phases[0] if plan.private_phases else None
    step = None if private is None else private.mechanism
    return {
        "digest": plan.digest,
        "epsilon": {
            "target": plan.budget.target_epsilon,
            "lower": plan.accounting.epsilon_lower,
            "upper": plan.accounting.epsilon_upper,
        },
        "delta": plan.budget.target_delta,
        "adjacency": plan.budget.adjacency.value,
        "composition": plan.accounting.composition,
        "n": plan.data.records,
        "noise_multiplier": None if step is None else step.noise_multiplier,
        "sample_rate": None if step is None else step.sample_rate,
        "steps": 0 if private is None else private.steps,
        "expected_batch_size": None if private is None else private.expected_batch_size,
        "parameterisation": plan.training.parameterisation,
        "sharing": plan.training.sharing.value,
        "training": plan.training.model_dump(mode="json"),
        "trained_parameters": trained_parameters,
        "stages": [_stage(cost) for cost in stage_costs(plan)],
        "phases": [
            _phase(cost)
            for cost in phase_costs(plan, trained_parameters=trained_parameters)
        ],
        "accountants": _accountants(plan),
        "renyi_epsilon": plan_words.renyi_epsilon(plan),
        "risk": {
            "false_positive_rate": plan_words.FALSE_ALARMS,
            "true_positive_rate": plan_words.found_at_most(plan),
        },
        "outlook": None if choice is None else _outlook(choice),
    }


def _outlook(choice: Choice) -> dict[str, object]:
    chosen, others = choice.chosen, alternatives(choice)
    return {
        "efficiency": chosen.efficiency,
        "feasibility": chosen.feasibility,
        "draws": chosen.draws,
        "seconds": chosen.seconds,
        "alternatives": [
            {"name": other.name, "target_epsilon": other.target_epsilon}
            | ({} if other.candidate is None else asdict(other.candidate))
            for other in (*others, *over_epsilon(choice))
        ],
        "advice": [
            {"topic": found.topic, "text": found.text}
            for found in advice(choice, others)
        ],
    }


def _stage(cost: StageCost) -> dict[str, object]:
    return {
        "name": cost.name.value,
        "source": cost.source.value,
        "sigma_min": cost.sigma_min,
        "sigma_max": cost.sigma_max,
        "reads_private_records": cost.reads_private_records,
        "phase": cost.phase,
        "steps": cost.steps,
        "epsilon": cost.epsilon,
    }


def _phase(cost: PhaseCost) -> dict[str, object]:
    return {
        "name": cost.name,
        "what": cost.what,
        "event": events.to_json(cost.event),
        "steps": cost.steps,
        "reads_private_records": cost.reads_private_records,
        "epsilon_alone": cost.alone,
        "epsilon_so_far": cost.so_far,
        "epsilon_given_back": cost.given_back,
        "noise_to_signal": cost.noise_to_signal,
    }


def _accountants(plan: Plan) -> list[dict[str, object]]:
    own: dict[str, object] = {
        "name": "privplan",
        "version": plan.privplan_version,
        "method": plan.accounting.method,
        "lower": plan.accounting.epsilon_lower,
        "upper": plan.accounting.epsilon_upper,
    }
    others: list[dict[str, object]] = [
        {
            "name": other.name,
            "version": other.version,
            "method": other.method,
            "lower": other.lower,
            "upper": other.upper,
        }
        for other in plan.accounting.second_opinions
    ]
    return [own, *others]
