"""What is true about privacy; no torch, no terminal, no network.

A newcomer's map, from the ground up. A file imports only from lower floors.

    errors, checks       what can go wrong, and what a number may be
    canonical, files     one value, one byte string, one digest; files whole or not
    budget, events       the promise; what touched the data, as values
    contour              epsilon of events: the fast, certified method
    opinions             the same by dp-accounting, prv-accountant and RDP
    accounting           epsilon and delta of an event tree, as a bracket
    batches, phase_text  how batches are chosen; phases as people type them
    calibration          the least noise, most steps, highest rate inside a budget
    solve_for, shares    other unknowns; what each phase adds
    profile, tradeoff    the whole curve; what any attack can do at most
    risk, gdp, grids     what an epsilon means; one number for a curve; tables
    questions            all of it in one line each
    renyi, filters       runs chosen after seeing earlier results: what may still run
    selection            the best of several runs: what choosing costs
    budget_lines         queries beside training, each with its price and its release
    fields               the types that documents are made of
    stages, recipes      which sigma learns from what; default settings
    efficiency           how much of a budget a plan reaches, and whether it is enough
    candidates, choice   steps, batch and noise draws for a budget and a machine
    alternatives, advice what else could be planned; what would help
    plan, planner        every public number of a run; a budget turned into one
    ledger               what was begun, written before it happened
    keys, signing        who says it
    report, verify       the claim; the claim recomputed
    render_report        a report as pages that people read

Start with `budget` and `events`, then `plan`, `ledger` and `verify`.

What people ask most is offered here, and loaded when it is first used:

    >>> from privplan import Budget, calibrate, epsilon
    >>> round(epsilon(["sgd:0.02,1.1,1000", "gaussian:20"], delta=1e-5).upper, 4)
    3.2572
    >>> budget = Budget(target_epsilon=2.0, target_delta=1e-5)
    >>> calibrate(["sgd:0.05,?,500", "gaussian:20"], budget=budget).value
    2.41332
    >>> from privplan import PlanRequest, make_plan
    >>> plan = make_plan(PlanRequest(target_epsilon=1.0, stages="best"))
    >>> [phase.name for phase in plan.phases]
    ['gaussian', 'synthetic', 'private']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privplan.budget import Adjacency
    from privplan.budget import PrivacyBudget as Budget
    from privplan.plan import Plan
    from privplan.planner import (
        DeclaredData,
        PlanRequest,
        TrainingWishes,
        Wishes,
        make_plan,
    )
    from privplan.questions import calibrate, delta, epsilon

__all__ = [
    "Adjacency",
    "Budget",
    "DeclaredData",
    "Plan",
    "PlanRequest",
    "TrainingWishes",
    "Wishes",
    "calibrate",
    "delta",
    "epsilon",
    "make_plan",
]

# Where each name lives, and what it is called there.
_ROOMS = {
    "Adjacency": ("budget", "Adjacency"),
    "Budget": ("budget", "PrivacyBudget"),
    "DeclaredData": ("planner", "DeclaredData"),
    "Plan": ("plan", "Plan"),
    "PlanRequest": ("planner", "PlanRequest"),
    "TrainingWishes": ("planner", "TrainingWishes"),
    "Wishes": ("planner", "Wishes"),
    "calibrate": ("questions", "calibrate"),
    "delta": ("questions", "delta"),
    "epsilon": ("questions", "epsilon"),
    "make_plan": ("planner", "make_plan"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a name of any kind
    if name not in _ROOMS:
        raise AttributeError(f"module 'privplan' has no attribute {name!r}")
    room, there = _ROOMS[name]
    found = getattr(import_module(f"privplan.{room}"), there)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
