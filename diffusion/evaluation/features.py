"""What images are turned into before distances are taken.

    encoder            a small network trained on the project's own programs
    pixels             pixels pooled to at most 8 x 8
    inception=FILE     2048 numbers of the TorchScript Inception network the user has

Every kind carries a name, and where weights are involved their SHA-256, because two
distances compare only if both are equal.

Inception is used as published figures use it: bytes 0..255, grey repeated to three
channels, the network's own resizing to 299 x 299, `return_features=True`.

Edges: reads the file of `inception=FILE`, which is a program: load one you trust.
Source: Heusel et al. 2017, arXiv:1706.08500; the call of the TorchScript network as in
the code of Karras et al. 2022, arXiv:2206.00364.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional

from diffusion.evaluation import encoder as encoders
from diffusion.processor import threads_for
from diffusion.readers.image_set import DataShape, ImageSet
from privplan import canonical
from privplan.errors import DataError, ParameterError

INCEPTION = "inception"
_POOLED_SIDE = 8
_INCEPTION_FEATURES = 2048
_ROWS_AT_ONCE = {"encoder": 1024, INCEPTION: 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """A way to turn images into features.

    Attributes:
        name: What it is, such as "encoder-1".
        digest: SHA-256 of its weights; None if it has none.
        compute: From bytes 0..255, [rows, channels, height, width], to features.
    """

    name: str
    digest: str | None
    compute: Callable[[Tensor], Tensor]

    @property
    def label(self) -> str:
        """Name with the first digits of the digest, for the name of a number."""
        return self.name if self.digest is None else f"{self.name}-{self.digest[:8]}"

    def of(self, images: ImageSet) -> Float64[np.ndarray, "rows features"]:
        """Return the features of a set of images."""
        found: Float64[np.ndarray, "rows features"] = (
            self.compute(images.images).double().numpy()
        )
        return found


def extractor(text: str, shape: DataShape) -> Extractor:
    """Read the text of `--features`.

    Args:
        text: "encoder", "pixels" or "inception=FILE".
        shape: Of the images.

    Raises:
        ParameterError: No such features.
        DataError: The file cannot be read, or holds no such network.

    Example:
        >>> some = DataShape(records=1, channels=1, height=28, width=28, classes=2)
        >>> extractor("pixels", some).label
        'pooled-pixels'
    """
    kind, _, path = text.partition("=")
    if text == "pixels":
        return Extractor(name="pooled-pixels", digest=None, compute=_pooled)
    if text == "encoder":
        return _encoder(shape)
    if kind == INCEPTION and path:
        return _inception(Path(path))
    raise ParameterError(
        f"'{text[:40]}' names no features",
        hint="give encoder, pixels or inception=FILE",
    )


def _scaled(images: Tensor) -> Tensor:
    return images.to(torch.float32) / 127.5 - 1.0


def _pooled(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = (min(height, _POOLED_SIDE), min(width, _POOLED_SIDE))
    return functional.adaptive_avg_pool2d(_scaled(images), side).flatten(1)


def _encoder(shape: DataShape) -> Extractor:
    network = encoders.encoder(shape.channels, shape.height, shape.width)

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        with threads_for(shape.height, shape.width):
            return torch.cat(
                [
                    network.features(encoders.as_seen(_scaled(part)))
                    for part in torch.split(images, _ROWS_AT_ONCE["encoder"])
                ]
            )

    return Extractor(
        name=encoders.NAME, digest=encoders.digest(network), compute=compute
    )


def _inception(path: Path) -> Extractor:
    try:
        digest = canonical.file_digest(path)
        network = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        ).eval()
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"'{path}' is not a TorchScript network that can be read",
            hint="give the file of the Inception network that published figures use",
        ) from error

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        coloured = images.expand(-1, 3, -1, -1)
        parts = torch.split(coloured, _ROWS_AT_ONCE[INCEPTION])
        return torch.cat([_called(network, part, path) for part in parts])

    return Extractor(name=INCEPTION, digest=digest, compute=compute)


def _called(network: torch.nn.Module, images: Tensor, path: Path) -> Tensor:
    try:
        found = network(images, return_features=True)
    except RuntimeError as error:
        raise DataError(
            f"the network in '{path}' does not take bytes and return_features",
            hint="give the TorchScript Inception network, not a state dict of another",
        ) from error
    if not isinstance(found, Tensor) or found.shape != (
        len(images),
        _INCEPTION_FEATURES,
    ):
        raise DataError(
            f"the network in '{path}' does not return 2048 features per image",
            hint="give the TorchScript Inception network that published figures use",
        )
    return found
