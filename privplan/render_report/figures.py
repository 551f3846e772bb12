"""The three figures of a report: spending, the privacy profile, the trade-off.

Each is computed from the plan inside the report. A curve is a certified upper bound at
every point drawn, and the description says in words what the line shows.
"""

from __future__ import annotations

import math

from privplan import canonical, profile, summary, tradeoff
from privplan.plan import Plan
from privplan.render_report.parts import Figure
from privplan.render_report.svg import Axis, Bar, Line, Mark, Picture, draw
from privplan.summary import PhaseCost

_PIECES = 10  # of each phase, along the curve of spending
_POINTS = 33
_RATES = (0.01, 0.1, 0.3, 0.6, 0.9)  # where the curve is tight; it holds everywhere
_TOLERANCE = 1e-3  # of a rate: less than a pixel
_LEAST_DELTA = 1e-10


def spending(plan: Plan, costs: tuple[PhaseCost, ...]) -> Figure:
    """Draw epsilon over the phases: each alone, and all so far.

    Args:
        plan: The plan.
        costs: Of its phases.
    """
    target = plan.budget.target_epsilon
    top = 1.18 * max([target, *(cost.alone for cost in costs)])
    points = _spent_along(plan)
    last = points[-1][1]
    picture = Picture(
        name="spending",
        title="Epsilon spent, phase by phase",
        description=(
            f"A line rises from 0 to {canonical.text_up(last, 4)} over "
            f"{len(costs)} phases and stays under the target of {target:g}. Bars show "
            "what each phase would cost alone."
        ),
        x=Axis(
            label="phases in the order in which they run (steps)",
            low=0.0,
            high=float(len(costs)),
            ticks=(),
        ),
        y=Axis(label="epsilon", low=0.0, high=top, ticks=_ticks(top)),
        bars=tuple(_bar(place, cost) for place, cost in enumerate(costs)),
        lines=_target_and_spent(target, points, top),
    )
    return Figure(
        drawing=draw(picture),
        caption="Epsilon spent (line) and what each phase would cost alone (bars). "
        "Alone does not add up to the whole: noise of one phase also hides the others.",
    )


def _bar(place: int, cost: PhaseCost) -> Bar:
    return Bar(
        left=place + 0.2,
        right=place + 0.8,
        height=cost.alone,
        label=f"{_short(cost.name)} ({cost.steps:,})",
    )


def _target_and_spent(
    target: float, points: tuple[tuple[float, float], ...], top: float
) -> tuple[Line, Line]:
    end = points[-1][0]
    return (
        Line(
            points=((0.0, target), (end, target)),
            look="limit",
            label=f"target {target:g}",
            at=(0.02, target + 0.025 * top),
        ),
        Line(
            points=points,
            look="main",
            label="spent so far",
            at=(0.99 * end, _below(points, top)),
            side="end",
        ),
    )


def _spent_along(plan: Plan) -> tuple[tuple[float, float], ...]:
    points = [(0.0, 0.0)]
    done: dict[str, int] = {}
    for place, phase in enumerate(plan.phases):
        parts = sorted(
            {math.ceil(phase.steps * part / _PIECES) for part in range(1, _PIECES + 1)}
        )
        for steps in parts:
            counted = done | {phase.name: steps}
            points.append((place + steps / phase.steps, summary.spent(plan, counted)))
        done[phase.name] = phase.steps
    return tuple(points)


def _below(points: tuple[tuple[float, float], ...], top: float) -> float:
    """Return a height that is under the end of the line, where its name can stand."""
    end = points[-1][0]
    beside = min(y for x, y in points if x >= end - 0.16 * end)
    return max(beside - 0.09 * top, 0.02 * top)


def privacy_profile(plan: Plan) -> Figure:
    """Draw delta over epsilon: every (epsilon, delta) the run has at once."""
    claimed, delta = plan.accounting.epsilon_upper, plan.budget.target_delta
    top = 2 * max(plan.budget.target_epsilon, claimed)
    grid = [top * place / (_POINTS - 1) for place in range(_POINTS)]
    bounds = profile.deltas(plan.event, grid, adjacency=plan.budget.adjacency)
    points = tuple(
        (x, y)
        for x, y in zip(grid, bounds.upper.tolist(), strict=True)
        if y >= _LEAST_DELTA
    )
    least = min([delta / 10, *(y for _, y in points)])
    low = 10.0 ** max(math.floor(math.log10(least)), -10)
    picture = Picture(
        name="profile",
        title="Privacy profile: delta at every epsilon",
        description=(
            f"A falling line on a logarithmic scale. The claim, delta "
            f"{canonical.decimal_text(delta)} at epsilon "
            f"{canonical.text_up(claimed, 4)}, is marked on it."
        ),
        x=Axis(label="epsilon", low=0.0, high=top, ticks=_ticks(top)),
        y=Axis(label="delta (log)", low=low, high=1.0, ticks=_powers(low), log=True),
        lines=(Line(points=points or ((0.0, low),), look="main"),),
        marks=(
            Mark(
                x=claimed,
                y=delta,
                label=f"the claim: {canonical.text_up(claimed, 4)}, "
                f"{canonical.decimal_text(delta)}",
            ),
        ),
    )
    return Figure(
        drawing=draw(picture),
        caption="The run has every (epsilon, delta) on this line at once; the claim is "
        "one point of it. Below the line nothing is claimed.",
    )


def trade_off(plan: Plan, found_at_most: float, false_alarms: float) -> Figure:
    """Draw what an attacker can find at most, over the false alarms accepted.

    Args:
        plan: The plan.
        found_at_most: The bound at `false_alarms`, a rate.
        false_alarms: The rate that is marked.
    """
    curve = tradeoff.curve(
        plan.event, _RATES, adjacency=plan.budget.adjacency, tolerance=_TOLERANCE
    )
    grid = sorted({*_RATES, false_alarms, *(place / 40 for place in range(41))})
    found = tuple(zip(grid, curve.true_positive_rates(grid).tolist(), strict=True))
    members = canonical.text_up(100 * found_at_most, 2)
    percent = tuple((place / 5, f"{20 * place} %") for place in range(6))
    picture = Picture(
        name="tradeoff",
        title="What an attacker can find at most",
        description=(
            "A line above the diagonal of pure guessing. At false alarms of "
            f"{false_alarms:.0%} at most {members} of 100 members are found."
        ),
        x=Axis(
            label="false alarms: non-members taken for members",
            low=0.0,
            high=1.0,
            ticks=percent,
        ),
        y=Axis(label="members found", low=0.0, high=1.0, ticks=percent),
        lines=_guessing_and_found(found),
        marks=(
            Mark(
                x=false_alarms,
                y=found_at_most,
                label=f"{members} of 100 at {false_alarms:.0%} false alarms",
                away=(44.0, 0.0),
            ),
        ),
    )
    return Figure(
        drawing=draw(picture),
        caption="Whoever accepts a share of false alarms finds at most this share of "
        "the members, whatever else they know. On the diagonal they only guess.",
    )


def _guessing_and_found(found: tuple[tuple[float, float], ...]) -> tuple[Line, Line]:
    middle = dict(found)[0.5]
    return (
        Line(
            points=((0.0, 0.0), (1.0, 1.0)),
            look="guide",
            label="guessing",
            at=(0.8, 0.7),
        ),
        Line(
            points=found,
            look="main",
            label="no attack does better",
            at=(0.46, middle + 0.03),
            side="end",
        ),
    )


def _ticks(top: float) -> tuple[tuple[float, str], ...]:
    """Return round values from 0 up to the top, four to nine of them."""
    size = 10.0 ** math.floor(math.log10(top))
    step = (
        next(s for s in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if top / (s * size) <= 8) * size
    )
    return tuple(
        (place * step, f"{place * step:.6g}") for place in range(int(top / step) + 1)
    )


def _powers(low: float) -> tuple[tuple[float, str], ...]:
    lowest = round(math.log10(low))
    every = 1 if lowest >= -6 else 2
    return tuple(
        (10.0**power, "1" if power == 0 else f"1e{power}")
        for power in range(0, lowest - 1, -every)
    )


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
