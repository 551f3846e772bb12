"""Which source of the stages a phase stands for."""

from __future__ import annotations

from privplan.plan_parts import PlanPhase, PretrainedPhase, QueryPhase
from privplan.stages import Source


def source_of(phase: PlanPhase) -> Source | None:
    """Return which stages learn from a phase: those of this source; None if none do."""
    match phase:
        case PretrainedPhase():
            return Source.PUBLIC
        case QueryPhase():
            return None
        case _:
            return Source(phase.kind)
