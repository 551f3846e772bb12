"""What a plan says it costs; `plan.Plan` puts it beside its other parts."""

from __future__ import annotations

from typing import Literal

from privplan.fields import Document, Name, Number


class PlanOpinion(Document):
    """What another accountant says of the same events."""

    name: Name
    version: Name
    method: Name
    lower: Number
    upper: Number


class PlanAccounting(Document):
    """What the whole plan costs: lower <= true epsilon <= upper."""

    epsilon_lower: Number
    epsilon_upper: Number
    method: Name
    composition: Literal["committed"]
    second_opinions: tuple[PlanOpinion, ...]
