"""A plan as a person reads it: what each stage costs, the step, the accountants.

Epsilon is rounded up and what remains is rounded down, everywhere.
"""

from __future__ import annotations

from rich.table import Table

from cli.paper import console, table
from privplan.canonical import text_down, text_up
from privplan.plan import Plan
from privplan.summary import stage_costs


def plan(shown: Plan) -> None:
    """Print a plan."""
    out = console()
    budget, data = shown.budget, shown.data
    out.print(
        f"Plan {shown.digest[:12]}  epsilon {budget.target_epsilon:g}, "
        f"delta {budget.target_delta:g}, {budget.adjacency.value}, unit {budget.unit}",
    )
    out.print(
        f"Data  n = {data.records:,} (public by declaration), {data.channels} x "
        f"{data.height} x {data.width}, {data.classes} classes",
    )
    out.print(_stages(shown))
    out.print(_steps(shown))
    out.print(_accountants(shown))


def _stages(shown: Plan) -> Table:
    rows, seen = [], set()
    for cost in stage_costs(shown):
        cell = text_up(cost.epsilon, 4) if cost.reads_private_records else "0"
        if cost.reads_private_records and cost.phase in seen:
            cell = "same steps"
        seen.add(cost.phase)
        rows.append(
            [
                cost.name.value,
                f"{cost.sigma_min:g} - {cost.sigma_max:g}",
                cost.source.value,
                "read" if cost.reads_private_records else "none",
                f"{cost.steps:,}",
                cell,
            ]
        )
    rows.append(
        ["whole plan", "", "", "", "", text_up(shown.accounting.epsilon_upper, 4)]
    )
    return table(
        [
            ("stage", "left"),
            ("sigma", "right"),
            ("source", "left"),
            ("records", "left"),
            ("steps", "right"),
            ("epsilon", "right"),
        ],
        rows,
    )


def _steps(shown: Plan) -> Table:
    rows = []
    for phase in shown.private_phases:
        step = phase.mechanism
        rows = [
            ["noise multiplier", f"{step.noise_multiplier:g}"],
            ["sample rate", f"{step.sample_rate:g}"],
            ["private steps", f"{phase.steps:,}"],
            ["expected batch", f"{phase.expected_batch_size:,.1f}"],
            ["noise draws per record", str(phase.noise_multiplicity)],
            ["clipping norm", f"{phase.max_grad_norm:g}"],
        ]
    rows.append(["delta", f"{shown.budget.target_delta:g}"])
    rows.append(["adjacency", shown.budget.adjacency.value])
    return table([("private step", "left"), ("", "right")], rows)


def _accountants(shown: Plan) -> Table:
    found = shown.accounting
    rows = [
        [
            f"privplan, {found.method}",
            text_down(found.epsilon_lower, 6),
            text_up(found.epsilon_upper, 6),
        ],
        *(
            [
                f"{other.name} {other.version}, {other.method}",
                text_down(other.lower, 6),
                text_up(other.upper, 6),
            ]
            for other in found.second_opinions
        ),
    ]
    return table(
        [("accountant", "left"), ("epsilon from", "right"), ("to", "right")], rows
    )
