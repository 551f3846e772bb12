"""A plan as a picture: what each phase costs, epsilon as it grows, the whole curve.

Everything is computed from public constants of the plan. The picture is SVG text and
needs no plotting library; notebooks show it, `save` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import files, plan_size, svg
from privplan.canonical import text_up
from privplan.summary import phase_costs, spent

if TYPE_CHECKING:
    from pathlib import Path

    from privplan.plan import Plan

_POINTS = 24
_SOURCES = ("private", "synthetic", "gaussian", "public")  # each keeps its colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture that a notebook shows by itself.

    Attributes:
        svg: The whole picture.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Figure of {len(self.svg):,} bytes of SVG; save(path) writes it"

    def save(self, path: Path) -> None:
        """Write the picture.

        Raises:
            DocumentError: The folder is missing or not writable.
        """
        files.write_text(path, self.svg + "\n", what="figure")


def figure(plan: Plan) -> Figure:
    """Draw a plan.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> drawn = figure(make_plan(PlanRequest(target_epsilon=1.0, stages="best")))
        >>> drawn.svg.count("<polyline"), "gaussian" in drawn.svg
        (3, True)
    """
    target = text_up(plan.accounting.epsilon_upper, 4)
    charts = [_spending(plan), _growth(plan)]
    if plan.accounting.epsilon_upper > 0:
        charts.append(_profile(plan))
    alt = f"Plan {plan.digest[:12]}: epsilon {target} in {len(plan.phases)} phases"
    return Figure(svg=svg.side_by_side(charts, alt=alt))


def stages(plans: Mapping[str, Plan]) -> Figure:
    """Draw from what each noise level learns, one row per plan.

    Args:
        plans: By the name that stands beside the row; at least one.

    Example:
        >>> from privplan.planner import PlanRequest, make_plan
        >>> drawn = stages({"one": make_plan(PlanRequest(target_epsilon=1.0))})
        >>> "private" in drawn.svg, "synthetic" in drawn.svg
        (True, False)
    """
    rows = [
        svg.Row(
            label=name,
            spans=tuple(
                svg.Span(low=s.sigma_min, high=s.sigma_max, kind=s.source.value)
                for s in plan.stages
            ),
        )
        for name, plan in plans.items()
    ]
    chart = svg.span_chart(
        "what each noise level learns from",
        x="sigma, in data units",
        rows=rows,
        kinds=_SOURCES,
    )
    alt = f"The stages of {', '.join(plans)}"
    return Figure(svg=svg.alone(chart, alt=alt, high=svg.spans_height(len(rows))))


def _spending(plan: Plan) -> str:
    trained = plan_size.trained_parameters(plan.data, plan.training)
    rows = [
        (c.name, c.alone, text_up(c.alone, 4) if c.reads_private_records else "0")
        for c in phase_costs(plan, trained_parameters=trained)
    ]
    return svg.bar_chart("epsilon of each phase alone", rows=rows)


def _growth(plan: Plan) -> str:
    """Draw epsilon against steps, phase after phase."""
    points: list[tuple[float, float]] = [(0.0, 0.0)]
    counted: dict[str, int] = {}
    before = 0
    for phase in plan.phases:
        every = max(math.ceil(phase.steps / _POINTS), 1)
        for done in [*range(every, phase.steps, every), phase.steps]:
            counted[phase.name] = done
            points.append((float(before + done), spent(plan, counted)))
        before += phase.steps
    target = plan.budget.target_epsilon
    return svg.line_chart(
        "epsilon as the run goes on",
        x="steps of all phases",
        y="epsilon",
        lines=[
            svg.Line(label="", points=tuple(points)),
            svg.Line(
                label="target",
                points=((0.0, target), (float(before), target)),
                dashed=True,
            ),
        ],
    )


def _profile(plan: Plan) -> str:
    """Draw delta against epsilon: the same run, promised at other epsilons."""
    from privplan import profile  # noqa: PLC0415 - imports numpy

    most = 2.0 * plan.accounting.epsilon_upper
    epsilons = [most * k / _POINTS for k in range(_POINTS + 1)]
    found = profile.deltas(
        plan.event, epsilons, adjacency=plan.budget.as_budget().adjacency
    )
    points = tuple(
        (epsilon, float(delta))
        for epsilon, delta in zip(epsilons, found.upper, strict=True)
        if delta > 1e-30
    )
    return svg.line_chart(
        "the whole privacy profile",
        x="epsilon",
        y="delta, at most",
        lines=[svg.Line(label="", points=points)],
        log_y=True,
    )
