"""What a report says of a plan's mechanisms, phase by phase, in words.

Every sentence is a function of the plan alone, so that a report cannot say less of a
plan with queries, or more of a plan without.
"""

from __future__ import annotations

from typing import Literal

from privplan.plan import (
    GaussianPhase,
    Plan,
    PlanPhase,
    PretrainedPhase,
    PrivatePhase,
    PublicPhase,
    QueryPhase,
    SyntheticPhase,
)
from privplan.report_schema import Arithmetic

Sampling = Literal[
    "poisson",
    "poisson; every record once per query",
    "every record once per query",
    "none",
]

_ASKED = {
    "labels": "how many records have each label",
    "count": "how many records there are",
}


def covered(phase: PlanPhase) -> str | None:
    """Say what the claim covers of a phase; None if it reads no private record."""
    match phase:
        case PrivatePhase():
            return f"DP-SGD of phase '{phase.name}'"
        case GaussianPhase():
            return (
                f"query '{phase.name}': noisy class sums, class counts and second "
                "moments"
            )
        case QueryPhase():
            times = "" if phase.steps == 1 else f", asked {phase.steps} times"
            return f"query '{phase.name}': noisy, {_ASKED[phase.asks]}{times}"
        case SyntheticPhase() | PublicPhase() | PretrainedPhase():
            return None


def charged_labels(plan: Plan) -> str | None:
    """Say how often labels occur was paid for; None if no query asks it."""
    asking = [phase for phase in plan.phases_of(QueryPhase) if phase.asks == "labels"]
    if asking:
        return (
            f"Query '{asking[0].name}' asks for label counts with noise, which is "
            "charged; labels of samples follow the noisy counts."
        )
    for phase in plan.phases_of(GaussianPhase):
        return (
            f"Noisy label counts are part of query '{phase.name}', which is charged; "
            "labels of samples are drawn uniformly."
        )
    return None


def sampling(plan: Plan) -> Sampling:
    """Say who is in a sum."""
    queries = _queries(plan)
    if plan.private_phases:
        return "poisson; every record once per query" if queries else "poisson"
    return "every record once per query" if queries else "none"


def clipping(plan: Plan) -> str:
    """Say what bounds the contribution of one record, or of one unit of several."""
    column = plan.data.unit_column
    one = "record, averaged over its noise draws"
    if column is not None:
        one = f"'{column}', averaged over noise draws that its records share"
    said = [
        f"one gradient per {one}, then clipped in L2 "
        f"over all trained parameters ({phase.name}: {_bound(phase)})"
        for phase in plan.private_phases
    ]
    said += [
        f"one vector per record of L2 length at most 1 (query {phase.name})"
        for phase in _queries(plan)
    ]
    return "; ".join(said) or "no private phase"


def arithmetic(plan: Plan) -> Arithmetic:
    """Say in which numbers noise was added, as a level."""
    if not in_whole_numbers(plan):
        return "L1 float64 on a public grid"
    if _queries(plan):
        return (
            "L2 whole numbers, exact discrete Gaussian noise; queries L1 float64 on a "
            "public grid"
        )
    return "L2 whole numbers, exact discrete Gaussian noise"


def in_whole_numbers(plan: Plan) -> bool:
    """Return whether the training is in whole numbers."""
    return any(phase.in_whole_numbers for phase in plan.private_phases)


def _bound(phase: PrivatePhase) -> str:
    if phase.in_whole_numbers:
        return (
            f"C = {phase.max_grad_norm!r}, and cut toward zero to whole steps of a "
            "grid, no longer than C by counting"
        )
    if phase.adaptive is None:
        return f"C = {phase.max_grad_norm!r}"
    return (
        f"C begins at {phase.max_grad_norm!r} and follows a noisy count of unclipped "
        f"gradients, noise {phase.adaptive.count_noise!r} records, inside the step"
    )


def noise(plan: Plan) -> str:
    """Say what noise was added to what."""
    said = []
    for phase in plan.private_phases:
        said.append(
            "discrete Gaussian on the sum in whole steps of a grid, parameter at least "
            "noise_multiplier * C in steps, rounded up"
            if phase.in_whole_numbers
            else "Gaussian on the clipped sum, standard deviation noise_multiplier * C"
        )
        if phase.synthetic_weight > 0:
            said.append(
                "after it a synthetic gradient of length "
                f"{phase.synthetic_weight!r} * C, which reads no record"
            )
    if _queries(plan):
        said.append("Gaussian on a query's sum, standard deviation noise_multiplier")
    return "; ".join(said) or "none is needed"


def _queries(plan: Plan) -> tuple[GaussianPhase | QueryPhase, ...]:
    return plan.phases_of(GaussianPhase) + plan.phases_of(QueryPhase)
