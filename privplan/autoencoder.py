"""An autoencoder and the latent space it gives: the document, without torch.

    folder
    ├── autoencoder.json        what it learned from, who declared that public, scale
    └── autoencoder.safetensors

The private phase never changes it: it is a public map from images to latents, applied
to each record alone, so it costs nothing and moves no sensitivity. Its latent scale
comes from public images and is part of the document; a scale from the first private
batch would be a release nobody paid for.

A plan for latents names the document by digest, and the claim rests on its lineage.

Edges: reads and writes the document.
Source: Rombach et al. 2022, arXiv:2112.10752; Liu et al. 2024, arXiv:2305.15759.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from privplan import canonical, files
from privplan.errors import DocumentError, IntegrityError, ParameterError
from privplan.fields import Count, Digest, Document, Name, Number, read_document
from privplan.plan_parts import FreePhase, PlanLatent, PlanShape

FORMAT: Final = "privplan-autoencoder/1"
DOCUMENT_NAME = "autoencoder.json"
WEIGHTS_NAME = "autoencoder.safetensors"
Kind = Literal["kl", "vq", "AutoencoderKL"]


class Autoencoder(Document):
    """What is known of an autoencoder. See the module docstring."""

    format: Literal["privplan-autoencoder/1"]
    privplan_version: Name
    kind: Kind
    channels: Literal[1, 3]
    latent_channels: Count
    factor: Literal[2, 4, 8, 16]
    base_width: int = Field(ge=8, le=1024, multiple_of=8)
    codes: Count
    config: str
    scale: Number
    seed: Count
    phases: tuple[FreePhase, ...] = Field(min_length=1)
    code_digest: Digest
    weights_digest: Digest
    digest: Digest

    def computed_digest(self) -> str:
        """Return the SHA-256 of everything but the digest itself."""
        return canonical.digest(self.model_dump(mode="json", exclude={"digest"}))

    def latent_shape(self, images: PlanShape) -> PlanShape:
        """Return the shape of the latents of images.

        Raises:
            ParameterError: The images have other channels, or sides that the factor
                does not divide.
        """
        if images.channels != self.channels:
            raise ParameterError(
                f"the autoencoder is for {self.channels} colour channels, the images "
                f"have {images.channels}",
                hint="train one on public images of the same kind",
            )
        if images.height % self.factor or images.width % self.factor:
            raise ParameterError(
                f"the autoencoder divides sides by {self.factor}, and the images are "
                f"{images.height} x {images.width}",
                hint=f"give --image-size a multiple of {self.factor}",
            )
        return PlanShape(
            channels=self.latent_channels,
            height=images.height // self.factor,
            width=images.width // self.factor,
            classes=images.classes,
        )


def latent_of(document: Autoencoder, images: PlanShape) -> PlanLatent:
    """Return what a plan says of the latent space its records are brought to.

    Args:
        document: Of the autoencoder.
        images: Shape of the images, before.
    """
    document.latent_shape(images)
    return PlanLatent(
        autoencoder_digest=document.digest,
        kind=document.kind,
        scale=document.scale,
        image_channels=images.channels,
        image_height=images.height,
        image_width=images.width,
        lineage=document.phases,
    )


def seal(draft: Autoencoder) -> Autoencoder:
    """Return the document with the digest that belongs to its content."""
    return draft.model_copy(update={"digest": draft.computed_digest()})


def read(folder: Path) -> Autoencoder:
    """Read the document of an autoencoder and check its digest; not its weights.

    Raises:
        DocumentError: There is none, or it is not one.
        IntegrityError: It was changed after it was written.
    """
    if folder.is_dir() and not (folder / DOCUMENT_NAME).exists():
        raise DocumentError(
            f"'{folder}' holds no autoencoder of privplan",
            hint="give the folder that privplan autoencoder wrote; one of diffusers "
            "becomes that with privplan autoencoder --from-diffusers",
        )
    try:
        text = (folder / DOCUMENT_NAME).read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the autoencoder {folder} cannot be read: {error.strerror}",
            hint="give the folder that privplan autoencoder wrote",
        ) from error
    found = read_document(Autoencoder, text, what="autoencoder")
    if found.computed_digest() != found.digest:
        raise IntegrityError(
            f"the autoencoder {folder} was changed after it was written",
            hint="train it again with privplan autoencoder, or get an unchanged copy",
        )
    return found


def write(document: Autoencoder, folder: Path) -> None:
    """Write the document of an autoencoder, whole or not at all.

    Raises:
        DocumentError: The folder is missing or not writable.
    """
    text = document.model_dump_json(indent=2) + "\n"
    files.write_text(folder / DOCUMENT_NAME, text, what="autoencoder")
