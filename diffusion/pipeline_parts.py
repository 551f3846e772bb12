"""What stands beside a borrowed network in its pipeline: latents, and a text encoder.

Edges: reads the folder of the text encoder.
"""

from dataclasses import dataclass
from pathlib import Path

from diffusion import text_encoder, text_folder
from diffusion.diffusers_folder import Found
from privplan.autoencoder import Autoencoder, latent_of
from privplan.borrowed import PlanText
from privplan.errors import ParameterError
from privplan.plan import PlanLatent, PlanShape


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSource:
    """A text encoder to go with a network.

    Attributes:
        folder: As transformers wrote it; see `text_folder`.
        data_name: What it is said to have learned from.
    """

    folder: Path
    data_name: str


def latent_for(autoencoder: Autoencoder | None, shape: PlanShape) -> PlanLatent | None:
    """Say which latents a network is for.

    Raises:
        ParameterError: Those of the autoencoder have other channels.
    """
    if autoencoder is None:
        return None
    if shape.channels != autoencoder.latent_channels:
        raise ParameterError(
            f"the network takes {shape.channels} channels, and the latents have "
            f"{autoencoder.latent_channels}",
            hint="take network and autoencoder from one pipeline",
        )
    sides = {n: getattr(shape, n) * autoencoder.factor for n in ("height", "width")}
    images = shape.model_copy(update={"channels": autoencoder.channels, **sides})
    return latent_of(autoencoder, images)


def text_of(
    found: Found, text: TextSource, declared_by: str, classes: int | None
) -> PlanText:
    """Describe a text encoder, and try it with the network.

    Raises:
        ParameterError: They do not fit.
    """
    known = text_folder.describe(
        text.folder, declared_by=declared_by, data_name=text.data_name
    )
    if found.kind != "UNet2DConditionModel":
        raise ParameterError(
            f"a {found.kind} reads no text",
            hint="give a UNet2DConditionModel, or leave --text-encoder away",
        )
    if classes not in (None, 1):
        raise ParameterError(
            f"--classes is {classes}, and --text-encoder gives captions in their place",
            hint="leave --classes away",
        )
    width = found.settings.get("cross_attention_dim")
    if width != known.width:
        raise ParameterError(
            f"the network takes {width} numbers per token, and the text encoder gives "
            f"{known.width}",
            hint="take both from one pipeline",
        )
    text_encoder.load(text.folder, known)
    return known
