"""`--autoencoder`: what a plan says of images that are brought to latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from privplan import autoencoder, declared
from privplan.plan import PlanLatent
from privplan.planner import DeclaredData


def in_latents(
    data: DeclaredData, folder: Path | None
) -> tuple[DeclaredData, PlanLatent | None]:
    """Turn facts about images into facts about their latents, if that is asked for.

    Args:
        data: Declared facts about the images.
        folder: Of the autoencoder; None for none.

    Raises:
        PrivplanError: There is no autoencoder, or it does not fit the images.
    """
    if folder is None:
        return data, None
    document = autoencoder.read(folder)
    images = declared.document(data)
    latent = autoencoder.latent_of(document, images)
    shape = document.latent_shape(images)
    sizes = {n: getattr(shape, n) for n in ("channels", "height", "width")}
    return replace(data, **sizes), latent
