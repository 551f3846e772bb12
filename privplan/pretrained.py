"""A pretrained checkpoint: weights, and the document that says where they come from.

    folder
    ├── pretrained.json         what it learned from, who declared that public, settings
    └── weights.safetensors     averaged weights

What was learned before any record was read costs no privacy, if what it was learned
from is public. Nothing can prove that; so the document names every data set by its
digest and whoever declared it public, and a plan that begins from the checkpoint
carries the document's digest, its lineage, and with them the assumption.

The digest covers the document, the document names the digest of the weights: a plan
that names one checkpoint can be carried out with no other.

Edges: reads and writes the document.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from privplan import canonical, files
from privplan.borrowed import PlanBorrowed
from privplan.errors import DocumentError, IntegrityError, ParameterError
from privplan.fields import Digest, Document, Name, read_document
from privplan.plan_parts import FreePhase, PlanShape, PlanTraining

FORMAT: Final = "privplan-pretrained/1"
DOCUMENT_NAME = "pretrained.json"
WEIGHTS_NAME = "weights.safetensors"
_SHAPE = ("channels", "height", "width", "classes")
_NETWORK = ("base_width", "width_multipliers", "blocks", "attention_resolutions")


class Pretrained(Document):
    """What is known of pretrained weights. See the module docstring."""

    format: Literal["privplan-pretrained/1"]
    privplan_version: Name
    shape: PlanShape
    phases: tuple[FreePhase, ...] = Field(min_length=1)
    training: PlanTraining
    code_digest: Digest
    weights_digest: Digest
    digest: Digest

    def computed_digest(self) -> str:
        """Return the SHA-256 of everything but the digest itself."""
        return canonical.digest(self.model_dump(mode="json", exclude={"digest"}))


def seal(draft: Pretrained) -> Pretrained:
    """Return the document with the digest that belongs to its content."""
    return draft.model_copy(update={"digest": draft.computed_digest()})


def read(folder: Path) -> Pretrained:
    """Read the document of a checkpoint and check its digest; not its weights.

    Args:
        folder: The checkpoint, or the document itself.

    Raises:
        DocumentError: There is none, or it is not one.
        IntegrityError: It was changed after it was written.
    """
    path = folder / DOCUMENT_NAME if folder.is_dir() else folder
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the checkpoint {folder} cannot be read: {error.strerror}",
            hint="give the folder that privplan pretrain wrote",
        ) from error
    found = read_document(Pretrained, text, what="pretrained checkpoint")
    if found.computed_digest() != found.digest:
        raise IntegrityError(
            f"the checkpoint {folder} was changed after it was written",
            hint="train it again with privplan pretrain, or get an unchanged copy",
        )
    return found


def write(document: Pretrained, folder: Path) -> None:
    """Write the document of a checkpoint, whole or not at all.

    Raises:
        DocumentError: The folder is missing or not writable.
    """
    text = document.model_dump_json(indent=2) + "\n"
    files.write_text(folder / DOCUMENT_NAME, text, what="checkpoint")


def check_weights(document: Pretrained, folder: Path) -> None:
    """Compare the weights in a folder with those a document speaks of.

    Raises:
        DocumentError: There are none.
        IntegrityError: They are others.
    """
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise DocumentError(
            f"the checkpoint {folder} has no {WEIGHTS_NAME}",
            hint="give the folder that privplan pretrain wrote, whole",
        )
    if canonical.file_digest(path) != document.weights_digest:
        raise IntegrityError(
            f"the weights in {folder} are not those its document speaks of",
            hint="train them again with privplan pretrain, or get an unchanged copy",
        )


def check_fits(document: Pretrained, data: PlanShape, training: PlanTraining) -> None:
    """Compare the network of a checkpoint with the one a plan describes.

    Raises:
        ParameterError: They differ; the message says in what.
    """
    for what in _SHAPE:
        _same(what, getattr(document.shape, what), getattr(data, what))
    spaces = [
        one.latent.autoencoder_digest[:12] if one.latent else "none"
        for one in (document.training, training)
    ]
    _same("autoencoder", *spaces)
    found, wanted = document.training.network, training.network
    if isinstance(found, PlanBorrowed) or isinstance(wanted, PlanBorrowed):
        _same("configuration", _digest(found), _digest(wanted))
        return
    for what in _NETWORK:
        _same(what, getattr(found, what), getattr(wanted, what))
    for what in ("parameterisation", "sigma_data"):
        _same(what, getattr(document.training, what), getattr(training, what))


def _digest(network: Document) -> str:
    return canonical.digest(network.model_dump(mode="json"))[:12]


def _same(what: str, found: object, wanted: object) -> None:
    if found == wanted:
        return
    raise ParameterError(
        f"the checkpoint's network does not fit: its {what} is {found}, the plan's is "
        f"{wanted}",
        hint="pretrain for these images with privplan pretrain --image-size, "
        "--channels and --classes, or plan for the checkpoint's network",
    )
