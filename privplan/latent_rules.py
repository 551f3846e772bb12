"""What a plan on latents may hold: nothing drawn, nothing mirrored, one space.

Asked when a plan is made, where the answer is a refusal with a way out, and of every
plan that is read, where it is a contradiction.
"""

from __future__ import annotations

from collections.abc import Sequence

from privplan.plan_parts import (
    GaussianPhase,
    PlanLatent,
    PlanPhase,
    PlanShape,
    PlanTraining,
    PublicPhase,
    SyntheticPhase,
)

FACTORS = (2, 4, 8, 16)
_OF_IMAGES = SyntheticPhase | PublicPhase | GaussianPhase


def problem(
    data: PlanShape, phases: Sequence[PlanPhase], training: PlanTraining
) -> tuple[str, str] | None:
    """Return what is wrong with a plan on latents, and what to do; None if nothing is.

    Args:
        data: Shape of the latents.
        phases: All of the plan.
        training: Names the latent space; a plan without one has no such problem.
    """
    latent = training.latent
    if latent is None:
        return None
    if not 0 < latent.scale < float("inf"):
        return "the latent scale is not above zero", "train the autoencoder again"
    if not _fits(data, latent):
        return (
            "its latents are not the images' sides over 2, 4, 8 or 16",
            "declare the shape of the latents: privplan plan --autoencoder does",
        )
    if training.flip or training.shift:
        return "latents are not mirrored or moved", "leave --flip and --shift away"
    for phase in phases:
        if isinstance(phase, _OF_IMAGES):
            return (
                f"records are latents, and phase '{phase.name}' is about images",
                "begin from a checkpoint of privplan pretrain --autoencoder with "
                "--from, and leave other stages private",
            )
    return None


def _fits(data: PlanShape, latent: PlanLatent) -> bool:
    return any(
        (data.height * factor, data.width * factor)
        == (latent.image_height, latent.image_width)
        for factor in FACTORS
    )
