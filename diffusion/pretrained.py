"""The weights of a pretrained checkpoint, in and out of a folder.

The document beside them (`privplan.pretrained`) says what they learned from, and names
their digest; weights that do not have it are refused.

The format is safetensors: plain numbers, no code inside.

Edges: reads and writes files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from privplan import canonical, files, pretrained
from privplan.errors import DataError
from privplan.pretrained import WEIGHTS_NAME, Pretrained


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedWeights:
    """A checkpoint that training may begin from.

    Attributes:
        document: What is known of it.
        tensors: Averaged weights, by the network's names.
        folder: Where they came from; what else a plan needs may lie there.
    """

    document: Pretrained
    tensors: Mapping[str, Tensor]
    folder: Path | None = None


def load(folder: Path) -> PretrainedWeights:
    """Load a checkpoint and check that weights and document belong together.

    Raises:
        DocumentError: The folder holds none.
        DataError: The weights are damaged.
        IntegrityError: Document or weights were changed after they were written.
    """
    document = pretrained.read(folder)
    pretrained.check_weights(document, folder)
    try:
        with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"the weights in {folder} are damaged",
            hint="train them again with privplan pretrain, or get an unchanged copy",
        ) from error
    return PretrainedWeights(document=document, tensors=tensors, folder=folder)


def write(draft: Pretrained, tensors: Mapping[str, Tensor], folder: Path) -> Pretrained:
    """Write weights and document; the weights first, whole or not at all.

    Args:
        draft: What is known; the digests in it are filled in.
        tensors: Averaged weights.
        folder: Made if it is not there.

    Returns:
        The document, sealed.

    Raises:
        DocumentError: The folder cannot be written.
    """
    files.make_folder(folder)
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    path = folder / WEIGHTS_NAME
    files.write_bytes(
        path, save(ready, metadata={"format": draft.format}), what="weights"
    )
    found = {"weights_digest": canonical.file_digest(path)}
    document = pretrained.seal(draft.model_copy(update=found))
    pretrained.write(document, folder)
    return document
