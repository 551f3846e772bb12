"""Images out of a finished run: draw, write, show.

Sampling reads released weights and nothing else, so it is post-processing and costs no
privacy, however many images are drawn. Every label is drawn equally often, because how
often it occurs among the records is private; a plan that asks for noisy counts gets
labels in proportion to them.

Edges: reads a run folder, writes `samples/`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from diffusion import checkpoint, latents
from diffusion.adapters import merged
from diffusion.blueprint import network_of
from diffusion.data import PublicImages, load_public
from diffusion.denoisers import denoiser_of
from diffusion.parts import parts_of
from diffusion.pictures import png_of, save_grid
from diffusion.precond import guided
from diffusion.processor import tuned_for
from diffusion.queries import Answers, prior_of, sample_labels
from diffusion.randomness import RandomSource
from diffusion.sampler import SamplerConfig, sample
from privplan import checks, files
from privplan.errors import DataError, ParameterError
from privplan.plan import Plan

SAMPLES_NAME = "samples/samples.npz"
GRID_NAME = "samples/samples.png"
_PIXELS_AT_ONCE = 400_000
_ROWS_SHOWN = 8
_SHOWN = 80  # in a notebook


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """What to draw.

    Attributes:
        count: Images in all.
        guidance: Push away from "no class"; 0 is none.
        sampler: Method and steps.
        seed: Public seed of the images; None draws fresh ones.
        labels: Classes that take turns; None for all, as often as the plan says.
    """

    count: int
    guidance: float = 0.0
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    seed: int | None = None
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        checks.count(count=self.count)
        checks.non_negative(guidance=self.guidance)
        if self.labels is not None:
            checks.count(labels=len(self.labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Drawn images.

    Attributes:
        images: 0..255, shape (n, channels, height, width).
        labels: Their classes, shape (n,).
    """

    images: UInt8[Tensor, "rows channels height width"]
    labels: Int64[Tensor, " rows"]

    def _repr_png_(self) -> bytes:
        return png_of(self.images[:_SHOWN].numpy(), columns=10)

    def __repr__(self) -> str:
        return f"Samples({len(self.labels)} images)"


def draw(
    plan: Plan,
    folder: Path,
    request: SampleRequest,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Draw images from the released weights of a run.

    Args:
        plan: The run's plan.
        folder: The run folder.
        request: What to draw.
        progress: Called with (images done, images in all).

    Raises:
        DataError: The run has no released weights yet, or they are damaged.
        IntegrityError: The weights belong to another plan.
    """
    networks = {name: network_of(plan).eval() for name in parts_of(plan)}
    path = folder / checkpoint.MODEL_NAME
    if not path.exists():
        raise DataError(
            f"the run in {folder} is not finished, so it has released no weights",
            hint=f"go on with it first: privplan train {folder} --resume",
        )
    space = latents.for_run(plan, None, folder)
    answers = checkpoint.load_model(path, networks, plan_digest=plan.digest)
    plain = {name: merged(network) for name, network in networks.items()}
    denoise = guided(
        denoiser_of(plan, plain, prior_of(plan, answers)),
        guidance=request.guidance,
        null_label=plan.data.classes,
    )
    data = plan.data
    labels = _labels(plan, answers, request)
    generator = RandomSource(unsafe_seed=request.seed).generator()
    size = max(_PIXELS_AT_ONCE // (data.height * data.width), 1)
    parts = []
    for start in range(0, request.count, size):
        part = labels[start : start + size]
        with tuned_for(plan):
            drawn = sample(
                denoise,
                labels=part,
                shape=(data.channels, data.height, data.width),
                config=request.sampler,
                generator=generator,
            )
        parts.append(_bytes(drawn if space is None else space.decode(drawn)))
        if progress is not None:
            progress(sum(len(p) for p in parts), request.count)
    return Samples(images=torch.cat(parts), labels=labels)


def _labels(
    plan: Plan, answers: Answers, request: SampleRequest
) -> Int64[Tensor, " rows"]:
    if request.labels is None:
        return sample_labels(plan, answers, request.count)
    for label in request.labels:
        if not 0 <= label < plan.data.classes:
            raise ParameterError(
                f"label {label} is no class of this plan",
                hint=f"give labels from 0 to {plan.data.classes - 1}",
            )
    turns = -(-request.count // len(request.labels))
    return torch.tensor(request.labels * turns)[: request.count]


def write(samples: Samples, folder: Path, *, classes: int) -> tuple[Path, Path]:
    """Write samples as an .npz that `--data` reads, and as a picture.

    Returns:
        The archive (`train_images`, `train_labels`, `classes`) and the picture.

    Raises:
        DocumentError: The folder cannot be written.
    """
    archive, picture = folder / SAMPLES_NAME, folder / GRID_NAME
    images = samples.images.numpy()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        train_images=images.transpose(0, 2, 3, 1),
        train_labels=samples.labels.numpy(),
        classes=np.asarray(classes),
    )
    files.make_folder(archive.parent)
    files.write_bytes(archive, buffer.getvalue(), what="samples")
    shown = min(len(images), classes * _ROWS_SHOWN)
    save_grid(images[:shown], picture, columns=min(classes, 16))
    return archive, picture


def read(folder: Path) -> PublicImages:
    """Read samples that `write` wrote; they are public by post-processing.

    Raises:
        DataError: There are none, or the archive is damaged.
    """
    return load_public(str(folder / SAMPLES_NAME))


def _bytes(images: Tensor) -> Tensor:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
