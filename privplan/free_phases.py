"""The phases that read no record: before the private steps, and after them.

    synthetic    images that a program draws
    public       images declared public
    repair       drawn images again, after private steps on shared weights

They cost nothing. Those before the private steps teach what need not be learned from
records. A repair trains the synthetic stages once more, because private steps on shared
weights have moved what they had learned; it starts from weights that are released and
looks at nothing private, so it is post-processing.
"""

from __future__ import annotations

from privplan import events, plan
from privplan.errors import ParameterError
from privplan.plan_phases import Wishes
from privplan.presets import Pretraining
from privplan.recipes import Recipe
from privplan.stages import Sharing, Source, StageAllocation

SYNTHETIC_SEED = 20240601


def before(
    allocation: StageAllocation,
    settings: Recipe,
    wishes: Wishes,
    pretraining: Pretraining | None,
) -> tuple[plan.SyntheticPhase | plan.PublicPhase, ...]:
    """Return the phases that read no record.

    Raises:
        ParameterError: A stage learns from public images, but none were named.
    """
    found: list[plan.SyntheticPhase | plan.PublicPhase] = []
    steps = wishes.synthetic_steps or settings.synthetic_steps
    if allocation.intervals(Source.SYNTHETIC) or pretraining == "synthetic":
        found.append(_synthetic(settings, "synthetic", steps, SYNTHETIC_SEED))
    if allocation.intervals(Source.PUBLIC) or pretraining == "public":
        if wishes.public is None:
            raise ParameterError(
                "a stage learns from public images, but none are named",
                hint="name them with --public FOLDER, or use synthetic instead",
            )
        found.append(
            plan.PublicPhase(
                kind="public",
                name="public",
                steps=steps,
                event=events.NoOpEvent(),
                data_name=wishes.public.name,
                data_digest=wishes.public.digest,
                declared_by=wishes.public.declared_by,
                batch_size=settings.synthetic_batch_size,
                learning_rate=settings.synthetic_learning_rate,
            )
        )
    return tuple(found)


def repair_phase(
    settings: Recipe, steps: int, allocation: StageAllocation, sharing: Sharing
) -> plan.SyntheticPhase:
    """Return the steps that train the synthetic stages again, after the private ones.

    They read no record and start from weights that are released, so they cost nothing.

    Args:
        settings: What is filled in where nothing is pinned.
        steps: How many.
        allocation: The stages.
        sharing: What their networks have in common.

    Raises:
        ParameterError: No private step moves what a synthetic stage learned.
    """
    moved = allocation.intervals(Source.SYNTHETIC) and allocation.intervals(
        Source.PRIVATE
    )
    if not moved or sharing is not Sharing.SEQUENTIAL:
        raise ParameterError(
            "--repair-steps has nothing to repair: no private step moves the weights "
            "of a synthetic stage",
            hint="leave it away, or make a stage synthetic and another private under "
            "--share sequential",
        )
    return _synthetic(settings, plan.REPAIR, steps, SYNTHETIC_SEED + 1)


def _synthetic(
    settings: Recipe, name: str, steps: int, seed: int
) -> plan.SyntheticPhase:
    return plan.SyntheticPhase(
        kind="synthetic",
        name=name,
        steps=steps,
        event=events.NoOpEvent(),
        generator=settings.generator,
        seed=seed,
        batch_size=settings.synthetic_batch_size,
        learning_rate=settings.synthetic_learning_rate,
    )
