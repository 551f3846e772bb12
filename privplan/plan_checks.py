"""What the parts of a plan must agree on; asked of every plan that is read.

A plan whose digest is right can still be written by hand. So before anything believes
it, every phase must have the kind of event its kind of work costs, and every stage
must find the phase it learns from.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from privplan import events, latent_rules, line_grammar, text_rules, tuning
from privplan.borrowed import PlanBorrowed
from privplan.budget_lines import ClippingQuantile
from privplan.errors import DocumentError, ParameterError, PolicyError
from privplan.phase_source import source_of
from privplan.plan_parts import (
    REPAIR,
    GaussianPhase,
    PlanBudget,
    PlanData,
    PlanPhase,
    PlanStage,
    PlanTraining,
    PretrainedPhase,
    PrivatePhase,
    PublicPhase,
    QueryPhase,
    SyntheticPhase,
)
from privplan.plan_size import trained_parameters
from privplan.stages import Sharing, Source

_AT_MOST_ONE: tuple[type[PlanPhase], ...] = (
    PretrainedPhase,
    SyntheticPhase,
    PublicPhase,
    GaussianPhase,
    PrivatePhase,
)
_TRAINS = SyntheticPhase | PublicPhase | PrivatePhase


def check(
    data: PlanData,
    stages: Sequence[PlanStage],
    phases: Sequence[PlanPhase],
    training: PlanTraining,
) -> None:
    """Check that the parts of a plan agree.

    Raises:
        DocumentError: They do not; the message says in what.
    """
    for phase in phases:
        _check_event(phase, data)
    _check_counts(phases)
    _check_sources(stages, phases)
    _check_sharing(phases, training)
    _check_latent(data, phases, training)
    _check_text(data, phases, training)
    _check_pretrained(phases, training)
    _check_tuning(data, phases, training)
    _check_repair(stages, phases, training)


def check_unit(budget: PlanBudget, data: PlanData, phases: Sequence[PlanPhase]) -> None:
    """Require that what is charged for one unit is the influence of a whole unit.

    A step that samples and clips units is right for any number of records in one. A
    query adds up records, so a unit of several would be protected less than the plan
    says; and without a column nobody could tell which records make a unit.

    Raises:
        DocumentError: The budget names another unit than the data.
        PolicyError: One unit may contribute several records where each counts.
    """
    if data.unit_column is not None and data.unit_column != budget.unit:
        raise _inconsistent("the unit of the budget is not the unit column of the data")
    if budget.max_records_per_unit == 1:
        return
    if data.unit_column is None:
        raise PolicyError(
            f"one '{budget.unit}' may contribute {budget.max_records_per_unit} "
            "records, but the plan's events are charged for one",
            hint="name the column that identifies a unit with --unit-column, or keep "
            "one record of each",
        )
    asking = [p for p in phases if isinstance(p, GaussianPhase | QueryPhase)]
    if asking:
        raise PolicyError(
            f"one '{budget.unit}' may contribute {budget.max_records_per_unit} "
            f"records, but query '{asking[0].name}' is charged for one",
            hint="plan without queries and Gaussian stages, or with "
            "--max-records-per-unit 1",
        )


def _check_event(phase: PlanPhase, data: PlanData) -> None:
    match phase:
        case PrivatePhase():
            expected = phase.mechanism.sample_rate * data.records
            if not abs(phase.expected_batch_size - expected) <= 1e-9 * expected:
                raise _inconsistent("expected_batch_size is not sample_rate times n")
            _check_clipping(phase)
        case GaussianPhase():
            if not phase.noise_multiplier > 0:
                raise _inconsistent(f"query '{phase.name}' has no noise")
        case QueryPhase():
            line = line_grammar.parse(phase.asked_as)
            if (line.name, line.event, line.count) != (
                phase.asks,
                phase.event,
                phase.steps,
            ):
                raise _inconsistent(f"query '{phase.name}' is not what it was asked as")
        case SyntheticPhase() | PublicPhase() | PretrainedPhase():
            if not isinstance(phase.event, events.NoOpEvent):
                raise _inconsistent(
                    f"phase '{phase.name}' reads nothing but has a cost"
                )


def _check_clipping(phase: PrivatePhase) -> None:
    """Require a rule exactly where C follows the gradients, and one that fits."""
    if (phase.clipping == "adaptive") != (phase.adaptive is not None):
        raise _inconsistent("a rule for C is for adaptive clipping, and only for it")
    if phase.in_whole_numbers and phase.adaptive is not None:
        raise _inconsistent("a sum in whole numbers has a fixed C")
    if phase.adaptive is not None:
        votes = ClippingQuantile(votes_noise_std=phase.adaptive.count_noise)
        votes.gradient_noise_multiplier(phase.mechanism.noise_multiplier)
        if phase.synthetic_weight > 0:
            raise _inconsistent("a mixture has a fixed C")


def _check_counts(phases: Sequence[PlanPhase]) -> None:
    names = [phase.name for phase in phases]
    if len(set(names)) != len(names):
        raise _inconsistent("two phases have one name")
    prepared = [phase for phase in phases if phase.name != REPAIR]
    for kind in _AT_MOST_ONE:
        if _has(prepared, kind) > 1:
            raise _inconsistent(f"there are two phases of the kind {kind.__name__}")


def _check_sources(stages: Sequence[PlanStage], phases: Sequence[PlanPhase]) -> None:
    sources = {stage.source for stage in stages}
    learned = {source_of(phase) for phase in phases}
    for source in Source:
        if source in sources and source not in learned:
            raise _inconsistent(f"a stage is {source}, but no phase is")
    if _has(phases, PrivatePhase) and Source.PRIVATE not in sources:
        raise _inconsistent("a phase is private, but no stage is")


def _check_repair(
    stages: Sequence[PlanStage], phases: Sequence[PlanPhase], training: PlanTraining
) -> None:
    """Require of a repair what `plan_phases.repair_phase` makes sure of."""
    if all(phase.name != REPAIR for phase in phases):
        return
    last = phases[-1]
    fits = last.name == REPAIR and isinstance(last, SyntheticPhase)
    sources = {stage.source for stage in stages}
    if not (fits and {Source.SYNTHETIC, Source.PRIVATE} <= sources):
        raise _inconsistent("a repair is the last phase, of a synthetic stage")
    if training.sharing is not Sharing.SEQUENTIAL:
        raise _inconsistent("a repair is for stages that share their weights")


def _check_sharing(phases: Sequence[PlanPhase], training: PlanTraining) -> None:
    if training.parameterisation == "gaussian" and not _has(phases, GaussianPhase):
        raise _inconsistent("the network corrects a Gaussian that is never asked for")
    if isinstance(training.network, PlanBorrowed) != (
        training.parameterisation == "timesteps"
    ):
        raise _inconsistent("timesteps are for a borrowed network, and only for one")
    mixture = training.mixture
    if mixture is not None:
        ends = (training.sigma_min, *mixture.cuts, training.sigma_max)
        rises = all(low < high for low, high in itertools.pairwise(ends))
        if not (rises and min(mixture.shares) > 0):
            raise _inconsistent("the mixture's cuts do not rise, or a share is not > 0")
    mixes = training.sharing is Sharing.MIXTURE
    if mixes and not _has(phases, SyntheticPhase):
        raise _inconsistent("a mixture needs a synthetic phase")
    for phase in phases:
        if isinstance(phase, PrivatePhase) and (phase.synthetic_weight > 0) != mixes:
            raise _inconsistent("synthetic_weight is for a mixture, and only for one")


def _check_latent(
    data: PlanData, phases: Sequence[PlanPhase], training: PlanTraining
) -> None:
    found = latent_rules.problem(data, phases, training)
    if found is not None:
        raise _inconsistent(found[0])


def _check_text(
    data: PlanData, phases: Sequence[PlanPhase], training: PlanTraining
) -> None:
    found = text_rules.problem(data, phases, training)
    if found is not None:
        raise _inconsistent(found[0])


def _check_pretrained(phases: Sequence[PlanPhase], training: PlanTraining) -> None:
    """Require that what was trained elsewhere comes before any training here."""
    for index, phase in enumerate(phases):
        if not isinstance(phase, PretrainedPhase):
            continue
        if any(isinstance(earlier, _TRAINS) for earlier in phases[:index]):
            raise _inconsistent("pretrained weights would undo an earlier phase")
        if training.sharing is Sharing.EXPERTS:
            raise _inconsistent("experts do not begin as one pretrained network")


def _check_tuning(
    data: PlanData, phases: Sequence[PlanPhase], training: PlanTraining
) -> None:
    """Require that what is tuned is there, and that some phase tunes it."""
    try:
        trained_parameters(data, training)
    except ParameterError as error:
        raise _inconsistent(error.message) from error
    if training.tune != tuning.ALL and not _has(phases, PrivatePhase):
        raise _inconsistent("a part is tuned, but no phase is private")


def _has(phases: Sequence[PlanPhase], kind: Callable[..., PlanPhase]) -> int:
    return sum(type(phase) is kind for phase in phases)


def _inconsistent(problem: str) -> DocumentError:
    return DocumentError(
        f"this plan contradicts itself: {problem}",
        hint="make the plan again with privplan plan",
    )
