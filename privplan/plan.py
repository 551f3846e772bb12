"""The plan: every public number of a run, fixed before any record is read.

A plan is to a privacy budget what a saved plan is to infrastructure: it shows what
will be spent, and then it is applied exactly. The trainer takes every number that
matters from here and derives none of them from the data. So the plan holds

    budget      what may be spent, against which neighbour
    data        what is declared about the data: n, shape, number of classes
    stages      which interval of sigma learns from which source
    phases      what runs, in order, and the privacy event of one step of it
    training    the network, the loss and the optimiser
    accounting  what it costs, by our accountant and by others

and a digest over all of it. The ledger, the checkpoints and the report carry that
digest. Performance settings (devices, physical batch size, number format) are not
here, because they can never change the claim.

n is public *by declaration*: under add-or-remove-one the number of records is itself
private, so whoever writes it into a plan publishes it, and the report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from privplan import canonical, events, files, plan_checks
from privplan.errors import DocumentError, IntegrityError
from privplan.fields import Digest, Document, Name, naming, read_document
from privplan.plan_accounts import PlanAccounting, PlanOpinion
from privplan.plan_network import PlanMixture, PlanNetwork
from privplan.plan_parts import (
    REPAIR,
    GaussianPhase,
    PlanAdaptive,
    PlanBudget,
    PlanData,
    PlanLatent,
    PlanPhase,
    PlanShape,
    PlanStage,
    PlanTraining,
    PretrainedPhase,
    PrivatePhase,
    PublicPhase,
    QueryName,
    QueryPhase,
    SyntheticPhase,
)
from privplan.stages import Source, join_intervals

if TYPE_CHECKING:
    from privplan.plan_plot import Figure
    from privplan.tables import Table

__all__ = [
    "FORMAT",
    "REPAIR",
    "GaussianPhase",
    "Plan",
    "PlanAccounting",
    "PlanAdaptive",
    "PlanBudget",
    "PlanData",
    "PlanLatent",
    "PlanMixture",
    "PlanNetwork",
    "PlanOpinion",
    "PlanPhase",
    "PlanShape",
    "PlanStage",
    "PlanTraining",
    "PretrainedPhase",
    "PrivatePhase",
    "PublicPhase",
    "QueryName",
    "QueryPhase",
    "SyntheticPhase",
    "from_text",
    "read",
    "seal",
    "to_text",
    "whole_event",
    "write",
]

FORMAT: Final = "privplan-plan/1"
_KIND = "privplan-plan/"

PhaseT = TypeVar(
    "PhaseT",
    SyntheticPhase,
    PublicPhase,
    PretrainedPhase,
    GaussianPhase,
    QueryPhase,
    PrivatePhase,
)


def whole_event(phases: Sequence[PlanPhase]) -> events.ComposedEvent:
    """Return everything some phases do to the records, as one event tree."""
    return events.ComposedEvent(
        events=tuple(
            events.SelfComposedEvent(event=phase.event, count=phase.steps)
            for phase in phases
        )
    )


class Plan(Document):
    """A whole plan. See the module docstring."""

    format: Literal["privplan-plan/1"]
    privplan_version: Name
    budget: PlanBudget
    data: PlanData
    stages: tuple[PlanStage, ...]
    phases: tuple[PlanPhase, ...]
    training: PlanTraining
    accounting: PlanAccounting
    digest: Digest

    @property
    def event(self) -> events.ComposedEvent:
        """Everything the plan does to the records, as one event tree."""
        return whole_event(self.phases)

    @property
    def private_phases(self) -> tuple[PrivatePhase, ...]:
        """The phases that train on private records."""
        return self.phases_of(PrivatePhase)

    def phases_of(self, kind: type[PhaseT]) -> tuple[PhaseT, ...]:
        """Return the phases of one kind, in order."""
        return tuple(phase for phase in self.phases if isinstance(phase, kind))

    def intervals(self, source: Source) -> tuple[tuple[float, float], ...]:
        """Return the sigma intervals that learn from one source, touching ones joined.

        Shape: pairs (lower, upper), from the highest sigma down.
        """
        return join_intervals(
            (stage.sigma_min, stage.sigma_max)
            for stage in self.stages
            if stage.source is source
        )

    def table(self) -> Table:
        """Return the plan as a table: text when printed, HTML in a notebook."""
        from privplan import plan_table  # noqa: PLC0415 - a view; stands above

        return plan_table.table(self)

    def plot(self) -> Figure:
        """Return the plan as a picture: cost by phase, epsilon by step, profile."""
        from privplan import plan_plot  # noqa: PLC0415 - a view; stands above

        return plan_plot.figure(self)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def computed_digest(self) -> str:
        """Return the SHA-256 of everything but the digest itself."""
        return canonical.digest(self.model_dump(mode="json", exclude={"digest"}))


def seal(draft: Plan) -> Plan:
    """Return the plan with the digest that belongs to its content."""
    return draft.model_copy(update={"digest": draft.computed_digest()})


def to_text(plan: Plan) -> str:
    """Write a plan as indented JSON."""
    return plan.model_dump_json(indent=2) + "\n"


def from_text(text: bytes) -> Plan:
    """Read a plan strictly and check its digest.

    Raises:
        DocumentError: Not a plan; the message names the field.
        IntegrityError: The plan was changed after it was written.
        PolicyError: One unit contributes more records than are charged.
    """
    _check_digest(canonical.read_json(text, what="plan"))
    plan = read_document(Plan, text, what="plan")
    plan.budget.as_budget()
    plan_checks.check_unit(plan.budget, plan.data, plan.phases)
    plan_checks.check(plan.data, plan.stages, plan.phases, plan.training)
    return plan


def _check_digest(raw: dict[str, Any]) -> None:
    """Compare the digest with the content as it stands, before anything reads it."""
    stated = raw.pop("digest", None)
    if not (isinstance(stated, str) and str(raw.get("format")).startswith(_KIND)):
        return
    found = canonical.digest(raw)
    if found != stated:
        raise IntegrityError(
            f"this plan was changed after it was written: its content has the digest "
            f"{found[:12]}…, it says {stated[:12]}…",
            hint="make the plan again with privplan plan; a plan is applied exactly",
        )


def read(path: Path) -> Plan:
    """Read a plan from a file.

    Raises:
        DocumentError: The file cannot be read, or is not a plan.
        IntegrityError: The plan was changed after it was written.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the plan {path} cannot be read: {error.strerror}",
            hint="make one with privplan plan --eps 1, or give its path",
        ) from error
    with naming(path):
        return from_text(text)


def write(plan: Plan, path: Path) -> None:
    """Write a plan, whole or not at all.

    Raises:
        DocumentError: The folder is missing or not writable.
    """
    files.write_text(path, to_text(plan), what="plan")
