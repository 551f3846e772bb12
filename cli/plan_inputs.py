"""What `privplan plan` is told, turned into what the planner takes.

Heavy imports stay inside the functions, so that a plan from declared numbers alone
never loads torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from cli import durations
from privplan import checks
from privplan.budget import NOTHING_SPENT, PrivacyUnit, Spent
from privplan.candidates import Compute, compute_of_time
from privplan.canonical import text_down
from privplan.errors import ParameterError, PolicyError
from privplan.plan import Plan, PlanMixture
from privplan.planner import (
    DIGITS,
    DeclaredData,
    PlanRequest,
    PublicData,
    make_plan,
)
from privplan.trust import Trust


def required(eps: float | None) -> float:
    """Return the target epsilon, which has no default.

    Raises:
        ParameterError: Nobody gave one.
    """
    if eps is None:
        raise ParameterError(
            "--eps is missing, and without a budget there is no plan",
            hint="give it, as in --eps 1, or write it into privplan.toml",
        )
    return eps


def unit_of(column: str | None, max_records: int) -> PrivacyUnit | None:
    """Turn `--unit-column` and `--max-records-per-unit` into a unit of privacy.

    Raises:
        ParameterError: A bound without a column, or below one; or a column whose name
            means something else.

    Example:
        >>> unit_of("patient", 4)
        PrivacyUnit(name='patient', max_records=4)
    """
    if column is None:
        if max_records != 1:
            raise ParameterError(
                "--max-records-per-unit was given without --unit-column",
                hint="name the column that says whose a record is, as patient",
            )
        return None
    checks.name(unit_column=column)
    if column == "record":
        raise ParameterError(
            "--unit-column is 'record', which in a report means one record",
            hint="give the column another name, such as patient",
        )
    return PrivacyUnit(name=column, max_records=max_records)


def declared_data(
    data: str | None,
    records: int | None,
    image_size: int | None,
    classes: int | None,
    unit: PrivacyUnit | None = None,
) -> DeclaredData:
    """Turn `--data` or `--n` into declared facts; reads file headers or an index.

    With a unit, the number that becomes public is that of units, not of records.

    Raises:
        ParameterError: Both were given.
        DataError: The source cannot be described.
    """
    if data is not None and records is not None:
        raise ParameterError(
            "--n and --data were both given",
            hint="give --data to declare what its headers say, or --n for a number",
        )
    if records is not None:
        side = 28 if image_size is None else image_size
        return DeclaredData(
            records=records,
            channels=1,
            height=side,
            width=side,
            classes=10 if classes is None else classes,
            unit=unit,
        )
    if data is None or data == "digits":
        if image_size is not None or classes is not None:
            raise ParameterError(
                "--image-size and --classes do not apply to the embedded digits",
                hint="leave them away, or name your images with --data",
            )
        if unit is not None:
            raise ParameterError(
                "the embedded digits have no columns, so --unit-column cannot apply",
                hint="leave it away, or name your images with --data",
            )
        return DIGITS
    from diffusion.data import describe  # noqa: PLC0415

    shape = describe(data, image_size=image_size, classes=classes, unit=unit)
    return DeclaredData(**asdict(shape), unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a register has left for a data set before a plan is run.

    Attributes:
        data_set: Its name there.
        epsilon: Left, rounded down.
        delta: Left, rounded down.
        asked_epsilon: What the plan would take.
    """

    data_set: str
    epsilon: float
    delta: float
    asked_epsilon: float

    @property
    def sentence(self) -> str:
        """Say what is left now and afterwards."""
        now = text_down(self.epsilon, 4)
        after = text_down(max(self.epsilon - self.asked_epsilon, 0.0), 4)
        return (
            f"Data set '{self.data_set}' has epsilon {now} left; "
            f"running this plan would leave {after}. Nothing is reserved yet."
        )


def room_for(
    made: Plan, path: Path | None, data_set: str | None, trust: Trust | None
) -> Room | None:
    """Ask a register whether a plan could be paid; reserves nothing.

    Raises:
        ParameterError: A register without a data set, or the other way round.
        BudgetExceededError: The data set cannot pay for it.
        PolicyError: The register does not know it, or promised something else.
    """
    if path is None and data_set is None and trust is None:
        return None
    if path is None or data_set is None:
        raise ParameterError(
            "--register and --data-set belong together (and --trust to them), and one "
            "is missing",
            hint="give both, as in --register register.sqlite --data-set digits",
        )
    from privplan import register  # noqa: PLC0415 - most plans need none

    register.check_room(path, data_set, made, trust=trust)
    epsilon, delta = register.left(path, data_set, trust=trust)
    return Room(
        data_set=data_set,
        epsilon=epsilon,
        delta=delta,
        asked_epsilon=made.budget.target_epsilon,
    )


def spent_of(text: str | None) -> Spent:
    """Read `--spent EPSILON,DELTA`.

    Raises:
        ParameterError: It is not two numbers.
    """
    if text is None:
        return NOTHING_SPENT
    try:
        epsilon, delta = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ParameterError(
            f"'{text[:40]}' does not say what was spent",
            hint="write --spent EPSILON,DELTA as in --spent 0.4,1e-6",
        ) from error
    return Spent(epsilon=epsilon, delta=delta)


def mixture_of(text: str | None) -> PlanMixture | None:
    """Read `--mixture LOW,MIDDLE,HIGH@FROM,TO`; shares in any unit.

    Raises:
        ParameterError: It is not three positive shares and two rising cuts.

    Example:
        >>> mixture_of("1,6,1@0.1,2").shares
        (1.0, 6.0, 1.0)
    """
    if text is None:
        return None
    try:
        low, middle, high = (float(part) for part in text.split("@")[0].split(","))
        first, last = (float(part) for part in text.split("@")[1].split(","))
    except (ValueError, IndexError):
        low = middle = high = first = last = 0.0
    if not (min(low, middle, high) > 0 and 0 < first < last < math.inf) or not (
        low + middle + high < math.inf
    ):
        raise ParameterError(
            f"'{text[:40]}' is no mixture of three intervals of sigma",
            hint="write shares of low, middle and high sigma and the cuts between "
            "them, as in --mixture 1,6,1@0.1,2",
        )
    return PlanMixture(cuts=(first, last), shares=(low, middle, high))


def compute_of(
    request: PlanRequest, time: str | None, draws: float | None
) -> Compute | None:
    """Turn `--compute` or `--draws` into draws; a time is measured on this machine.

    Raises:
        ParameterError: Both were given, or one is not a positive amount.
    """
    if time is not None and draws is not None:
        raise ParameterError(
            "--compute and --draws were both given",
            hint="give --compute a time or --draws a number of rows",
        )
    if draws is not None:
        return Compute(draws=draws)
    if time is None:
        return None
    seconds = durations.seconds_of(time)
    from diffusion.plan_speed import seconds_per_draw  # noqa: PLC0415 - imports torch

    each = seconds_per_draw(make_plan(request))
    return compute_of_time(seconds, seconds_per_draw=each)


def check_public(data: str | None, public: str | None) -> None:
    """Refuse to take the private images for public ones, where both have one name.

    Names alone are compared. A comparison of contents would tell whoever chooses the
    public images what is among the private ones.

    Raises:
        PolicyError: Both name the same source.
    """
    private = "digits" if data is None else data
    if public is None or not same_source(private, public):
        return
    raise PolicyError(
        f"--public names the private images themselves, '{public}'",
        hint="give images of other people that are public already",
    )


def same_source(one: str, other: str) -> bool:
    """Return whether two texts of `--data` name one source.

    Example:
        >>> same_source("digits", "digits"), same_source("a/../b", "b")
        (True, True)
    """
    return one == other or Path(one).resolve() == Path(other).resolve()


def declared_public(public: str | None, *, beside: str | None) -> PublicData | None:
    """Turn `--public` into what a plan says of public images; reads them whole.

    Args:
        public: The option.
        beside: `--data`.

    Raises:
        DataError: They cannot be read.
        PolicyError: They are the private images.
    """
    check_public(beside, public)
    if public is None:
        return None
    from diffusion.data import load_public, public_digest  # noqa: PLC0415

    return PublicData(
        name=Path(public).name,
        digest=public_digest(load_public(public)),
        declared_by="whoever made this plan",
    )
