"""What is declared about the data; all of it becomes public.

The planner never opens the data. What it knows of them is what somebody wrote here,
and under add-or-remove-one even the number of records is a publication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from privplan import checks, plan_parts
from privplan.budget import PrivacyUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredData:
    """What is declared about the data; all of it becomes public.

    Attributes:
        records: n; of units, where a unit is named.
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
        classes: Number of labels.
        embedded: "digits" when the data are the embedded set.
        unit: The column that identifies a unit of privacy, and the most records of one;
            None where every record is a unit.
        captions: The column of captions, which take the place of classes; None where
            records have classes.
    """

    records: int
    channels: int
    height: int
    width: int
    classes: int
    embedded: Literal["digits"] | None = None
    unit: PrivacyUnit | None = None
    captions: str | None = None

    def __post_init__(self) -> None:
        checks.count(
            records=self.records,
            channels=self.channels,
            height=self.height,
            width=self.width,
            classes=self.classes,
        )


DIGITS = DeclaredData(
    records=1437, channels=1, height=8, width=8, classes=10, embedded="digits"
)


def document(data: DeclaredData) -> plan_parts.PlanData:
    """Write declared facts as part of a plan."""
    return plan_parts.PlanData(
        records=data.records,
        records_status="public-by-declaration",
        channels=data.channels,
        height=data.height,
        width=data.width,
        classes=data.classes,
        embedded=data.embedded,
        unit_column=None if data.unit is None else data.unit.name,
        caption_column=data.captions,
    )
