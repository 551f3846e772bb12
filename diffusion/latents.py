"""Between images and latents: load an autoencoder, encode once, decode samples.

Encoding private images is a map applied to each record alone: it draws nothing, looks
at no other record and changes no sensitivity. It happens once, in memory; nothing here
writes a latent, and no run folder holds one. Whether an autoencoder keeps records apart
is tried on made-up images before the first private one goes in.

Edges: reads the autoencoder's folder, and copies it into a run's.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diffusion.autoencoder import ConvAutoencoder
from diffusion.readers.image_set import ImageSet, PrivateImages, PublicImages
from diffusion.readers.latent_set import (
    PrivateLatents,
    PublicLatents,
    of_private,
    of_public,
)
from privplan import autoencoder, canonical, files
from privplan.autoencoder import WEIGHTS_NAME, Autoencoder
from privplan.errors import (
    DataError,
    IntegrityError,
    ParameterError,
    PolicyError,
    PrivplanError,
    StepFailedError,
)
from privplan.plan import Plan

FOLDER = "autoencoder"
_ROWS_AT_ONCE = 32
_TRIED = 5
_SIDE = 4  # of a tried latent


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSpace:
    """A frozen autoencoder.

    Attributes:
        document: What is known of it.
        encode: From images in [-1, 1] to scaled latents.
        decode: Back.
        folder: Where it came from.
    """

    document: Autoencoder
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    folder: Path


def load(folder: Path, *, device: str = "cpu") -> LatentSpace:
    """Load an autoencoder, frozen, and check that it keeps records apart.

    Args:
        folder: As `privplan autoencoder` wrote it.
        device: Where it computes; latents come back to the processor.

    Raises:
        DocumentError: There is none.
        DataError: The weights are damaged.
        IntegrityError: Document or weights were changed.
        ParameterError: One record moves the latent of another.
    """
    document = autoencoder.read(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file() or canonical.file_digest(path) != document.weights_digest:
        raise IntegrityError(
            f"the weights in {folder} are not those its document speaks of",
            hint="train it again with privplan autoencoder, or get an unchanged copy",
        )
    network = network_of(document)
    try:
        with safe_open(path, framework="pt") as file:
            network.load_state_dict({n: file.get_tensor(n) for n in file.keys()})  # noqa: SIM118
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"the weights in {folder} are damaged", hint="get an unchanged copy"
        ) from error
    network = network.eval().requires_grad_(False).to(device)  # noqa: FBT003 - torch's
    space = space_of(document, network, folder, device=device)
    check_records_stay_apart(space)
    return space


def network_of(document: Autoencoder) -> nn.Module:
    """Build the network of an autoencoder; its weights follow from its public seed.

    Raises:
        PolicyError: It is one of diffusers, which is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(document.seed)
        if document.kind != "AutoencoderKL":
            return ConvAutoencoder(
                kind=document.kind,
                channels=document.channels,
                latent_channels=document.latent_channels,
                factor=document.factor,
                base_width=document.base_width,
                codes=document.codes,
            )
        try:
            from diffusers import AutoencoderKL  # noqa: PLC0415 - an optional extra
        except ImportError as error:
            raise PolicyError(
                "an AutoencoderKL is of diffusers, which is not installed",
                hint="install it with pip install privplan[diffusers]",
            ) from error
        made: nn.Module = AutoencoderKL.from_config(  # type: ignore[no-untyped-call]
            json.loads(document.config)
        )
        return made


def space_of(
    document: Autoencoder, network: nn.Module, folder: Path, *, device: str = "cpu"
) -> LatentSpace:
    """Put an autoencoder and its public scale together."""

    def encode(images: Tensor) -> Tensor:
        found = _encoded(network, images.to(device))
        return found.cpu() * document.scale

    def decode(latents: Tensor) -> Tensor:
        with torch.no_grad():
            found = network.decode((latents / document.scale).to(device))  # type: ignore[operator]
        shown: Tensor = found.sample if hasattr(found, "sample") else found
        return shown.cpu()

    return LatentSpace(
        document=document,
        encode=_by_parts(encode),
        decode=_by_parts(decode),
        folder=folder,
    )


def _encoded(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found = network.encode(images.contiguous())  # type: ignore[operator]
    latent: Tensor = (
        found.latent_dist.mode() if hasattr(found, "latent_dist") else found
    )
    return latent


def _by_parts(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Apply a change to a few rows at a time."""

    def whole(rows: Tensor) -> Tensor:
        return torch.cat([change(part) for part in torch.split(rows, _ROWS_AT_ONCE)])

    return whole


def check_records_stay_apart(space: LatentSpace) -> None:
    """Refuse an encoder in which one record moves the latent of another.

    Raises:
        ParameterError: It does, or it changes from call to call.
    """
    generator = torch.Generator().manual_seed(0)
    side = _SIDE * space.document.factor
    shape = (_TRIED, space.document.channels, side, side)
    images = 2 * torch.rand(shape, generator=generator) - 1
    others = torch.cat([images[:1], -images[1:] * 0.3])
    first, again, alone = (
        space.encode(shown)[0] for shown in (images, others, images[:1])
    )
    # 1e-4: kernels may round differently beside other rows, by far less than this.
    for other in (again, alone):
        if not torch.allclose(first, other, rtol=1e-4, atol=1e-4):
            raise ParameterError(
                "the autoencoder's latent of one record depends on other records",
                hint="use one without batch normalisation, trained here or elsewhere",
            )


def encode_private(images: PrivateImages, space: LatentSpace) -> PrivateLatents:
    """Encode private images, each alone, in memory."""
    return of_private(_of_set(images, space), images)


def brought(images: PrivateImages, space: LatentSpace | None) -> PrivateImages:
    """Bring records to where a plan trains: to latents, if it has such a space.

    Raises:
        ParameterError: They are latents already, and nobody knows of which space.
        StepFailedError: They could not be encoded; why is withheld.
    """
    if isinstance(images, PrivateLatents):
        raise ParameterError(
            "these are latents, and a run encodes the images it is given itself",
            hint="give the images, and the autoencoder in RunOptions(autoencoder=...)",
        )
    if space is None:
        return images
    try:
        return encode_private(images, space)
    except PrivplanError:
        raise
    except Exception as error:
        raise StepFailedError(
            f"encoding the images failed with {type(error).__name__}; what it says may "
            "depend on the records and is withheld",
            hint="if memory is short, give smaller images with --image-size",
        ) from None


def encode_public(images: PublicImages, space: LatentSpace) -> PublicLatents:
    """Encode public images."""
    return of_public(_of_set(images, space), images)


def _of_set(images: ImageSet, space: LatentSpace) -> Tensor:
    everyone = torch.arange(len(images.labels))
    return torch.cat(
        [
            space.encode(images.batch(part)[0])
            for part in torch.split(everyone, _ROWS_AT_ONCE)
        ]
    )


def for_run(plan: Plan, space: LatentSpace | None, folder: Path) -> LatentSpace | None:
    """Return the autoencoder of a run; writes nothing.

    Args:
        plan: The plan.
        space: What was given; None takes the copy in the folder, if there is one.
        folder: The run folder.

    Raises:
        ParameterError: The plan needs one and there is none, or the other way round.
        PolicyError: It is another than the plan names.
    """
    latent, kept = plan.training.latent, folder / FOLDER
    if latent is None:
        if space is not None:
            raise ParameterError(
                "an autoencoder was given, but this plan trains on images",
                hint="leave --autoencoder away, or plan with it",
            )
        return None
    if space is None and (kept / autoencoder.DOCUMENT_NAME).is_file():
        space = load(kept)
    if space is None:
        raise ParameterError(
            "this plan trains on latents, so the autoencoder must be named",
            hint="add --autoencoder with the folder that the plan was made with",
        )
    if space.document.digest != latent.autoencoder_digest:
        raise PolicyError(
            "this is not the autoencoder that the plan was made with",
            hint="give that one, or plan with this one: privplan plan --autoencoder",
        )
    return space


def keep(space: LatentSpace | None, folder: Path) -> None:
    """Keep a copy of a run's autoencoder in its folder, the document last."""
    kept = folder / FOLDER
    if space is None or (kept / autoencoder.DOCUMENT_NAME).is_file():
        return
    files.make_folder(kept)
    for name in (WEIGHTS_NAME, autoencoder.DOCUMENT_NAME):
        shutil.copyfile(space.folder / name, kept / name)
