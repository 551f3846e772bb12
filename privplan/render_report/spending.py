"""Spending: what each stage and phase costs, and the figures.

The only numbers are those of the plan and the counts inside the report; every epsilon
is recomputed from the plan's events, rounded up, and what is left is rounded down.
"""

from __future__ import annotations

from privplan import events, plan_size, plan_words, profile
from privplan.canonical import decimal_text, text_down, text_up
from privplan.plan import Plan
from privplan.render_report import figures
from privplan.render_report.parts import Badge, Block, Section, Table, Text, Tone
from privplan.report_schema import Predicate
from privplan.summary import PhaseCost, phase_costs, stage_costs

_DELTAS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


def section(said: Predicate) -> Section:
    """Return the section about spending.

    Args:
        said: The report.

    Raises:
        PrivplanError: The plan inside it cannot be accounted for.
    """
    plan = said.plan
    size = plan_size.trained_parameters(plan.data, plan.training)
    costs = phase_costs(plan, trained_parameters=size)
    blocks: list[Block] = [_phases(said, costs), figures.spending(plan, costs)]
    not_added = plan_words.why_not_add_up(plan, costs)
    blocks += [] if not_added is None else [Text(text=not_added)]
    blocks += [_stages(plan), Text(text=_recipe(plan))]
    if any(cost.reads_private_records for cost in costs):
        found = plan_words.found_at_most(plan)
        blocks += [
            figures.privacy_profile(plan),
            _profile(plan),
            figures.trade_off(plan, found, plan_words.FALSE_ALARMS),
        ]
    return Section(anchor="spending", title="What is spent, on what", blocks=(*blocks,))


def _phases(said: Predicate, costs: tuple[PhaseCost, ...]) -> Table:
    begun = {part.phase: part.counted for part in said.realised.phases}
    rows = []
    for cost in costs:
        rate, noise = _mechanism(cost.event)
        reads = cost.reads_private_records
        rows.append(
            (
                cost.name,
                cost.what,
                Badge(tone=Tone.CARE, text="records read")
                if reads
                else Badge(tone=Tone.QUIET, text="none read"),
                f"{cost.steps:,}",
                f"{begun.get(cost.name, 0):,}",
                rate,
                noise,
                text_up(cost.alone, 4) if reads else "0",
                text_up(cost.so_far, 4) if cost.so_far > 0 else "0",
                text_down(cost.given_back, 4) if reads else "0",
            )
        )
    return Table(
        caption="Phases in the order in which they run. Epsilon is rounded up; what "
        "dropping a phase would give back is rounded down.",
        columns=(
            "phase",
            "does",
            "private",
            "planned steps",
            "begun",
            "sample rate",
            "noise multiplier",
            "ε alone",
            "ε so far",
            "ε given back",
        ),
        rows=tuple(rows),
        right=frozenset(range(3, 10)),
    )


def _mechanism(event: events.Event) -> tuple[str, str]:
    match event:
        case (
            events.PoissonSampledGaussianEvent()
            | events.PoissonSampledDiscreteGaussianEvent()
        ):
            return f"{event.sample_rate:g}", f"{event.noise_multiplier:g}"
        case events.GaussianEvent():
            return "1", f"{event.noise_multiplier:g}"
        case _:
            return "–", "–"


def _stages(plan: Plan) -> Table:
    return Table(
        caption="Stages: which noise levels of the diffusion learn from what. Sigma is "
        "in data units, where pixels lie in [-1, 1].",
        columns=("stage", "sigma", "learns from", "phase"),
        rows=tuple(
            (
                cost.name.value,
                f"{cost.sigma_min:g} to {cost.sigma_max:g}",
                cost.source.value,
                cost.phase,
            )
            for cost in stage_costs(plan)
        ),
    )


def _recipe(plan: Plan) -> str:
    said = [f"Parameterisation {plan.training.parameterisation}"]
    said.append(f"sharing {plan.training.sharing.value}")
    said.append(f"optimiser {plan.training.optimiser}")
    for phase in plan.private_phases:
        said.append(f"expected batch {phase.expected_batch_size:,.1f} records")
        said.append(f"{phase.noise_multiplicity} noise draws per record")
        said.append(f"clipping norm {phase.max_grad_norm:g} ({phase.clipping})")
    return "; ".join(said) + "."


def _profile(plan: Plan) -> Table:
    deltas = sorted({*_DELTAS, plan.budget.target_delta}, reverse=True)
    bounds = profile.epsilons(plan.event, deltas, adjacency=plan.budget.adjacency)
    claimed = plan.budget.target_delta
    return Table(
        caption="The same profile as numbers: upper bounds on epsilon.",
        columns=("delta", "epsilon at most", ""),
        rows=tuple(
            (
                decimal_text(delta),
                text_up(upper, 4),
                Badge(tone=Tone.GOOD, text="the claim") if delta == claimed else "",
            )
            for delta, upper in zip(deltas, bounds.upper.tolist(), strict=True)
        ),
        right=frozenset({0, 1}),
    )
