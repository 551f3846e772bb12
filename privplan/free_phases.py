"""The phases that read no record: drawn by programs, public, or trained elsewhere.

    synthetic    images that a program draws
    public       images declared public
    pretrained   weights that were trained elsewhere, from such images
    repair       drawn images again, after private steps on shared weights

Those before the private steps teach what need not be learned from records. A repair
trains the synthetic stages once more, because private steps on shared weights have
moved what they had learned; it starts from weights that are released and looks at
nothing private, so it is post-processing.

Each costs nothing, and its event says so. What each of them learned from is named: a
generator with its seed, images by their digest and by who declared them public, or a
checkpoint that carries both.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import events, plan
from privplan.errors import ParameterError
from privplan.pretrained import Pretrained
from privplan.recipes import Recipe
from privplan.stages import Sharing, Source, StageAllocation

SYNTHETIC_SEED = 20240601


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicData:
    """Images declared public, as a plan names them.

    Attributes:
        name: What they are called.
        digest: SHA-256 of their content.
        declared_by: Who says they are public.
    """

    name: str
    digest: str
    declared_by: str


def pretrained_phase(document: Pretrained) -> plan.PretrainedPhase:
    """Return the phase that takes over pretrained weights."""
    return plan.PretrainedPhase(
        kind="pretrained",
        name="pretrained",
        steps=1,
        event=events.NoOpEvent(),
        checkpoint_digest=document.digest,
        lineage=document.phases,
    )


def synthetic_phase(
    settings: Recipe,
    generator: str,
    *,
    steps: int,
    name: str = "synthetic",
    seed: int = SYNTHETIC_SEED,
) -> plan.SyntheticPhase:
    """Return a phase that learns from images a program draws."""
    return plan.SyntheticPhase(
        kind="synthetic",
        name=name,
        steps=steps,
        event=events.NoOpEvent(),
        generator=generator,
        seed=seed,
        batch_size=settings.synthetic_batch_size,
        learning_rate=settings.synthetic_learning_rate,
    )


def public_phase(
    settings: Recipe, images: PublicData, *, steps: int, name: str = "public"
) -> plan.PublicPhase:
    """Return a phase that learns from images declared public."""
    return plan.PublicPhase(
        kind="public",
        name=name,
        steps=steps,
        event=events.NoOpEvent(),
        data_name=images.name,
        data_digest=images.digest,
        declared_by=images.declared_by,
        batch_size=settings.synthetic_batch_size,
        learning_rate=settings.synthetic_learning_rate,
    )


def repair_phase(
    settings: Recipe, steps: int, allocation: StageAllocation, sharing: Sharing
) -> plan.SyntheticPhase:
    """Return the steps that train the synthetic stages again, after the private ones.

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
    return synthetic_phase(
        settings,
        settings.generator,
        steps=steps,
        name=plan.REPAIR,
        seed=SYNTHETIC_SEED + 1,
    )
