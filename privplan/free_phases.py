"""The phases that read no record: drawn by programs, public, or trained elsewhere.

Each costs nothing, and its event says so. What each of them learned from is named: a
generator with its seed, images by their digest and by who declared them public, or a
checkpoint that carries both.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import events, plan
from privplan.pretrained import Pretrained
from privplan.recipes import Recipe

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
