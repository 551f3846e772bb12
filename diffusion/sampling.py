"""Images out of a finished run: draw, write, show.

Sampling reads released weights and nothing else, so it is post-processing and costs no
privacy, however many images are drawn. Every label is drawn equally often, because how
often it occurs among the records is private; a plan that asks for noisy counts gets
labels in proportion to them.

Edges: reads a run folder, writes `samples/`.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from diffusion import checkpoint, latents, text_encoder
from diffusion.adapters import merged
from diffusion.blueprint import network_of
from diffusion.data import PublicImages, load_public
from diffusion.denoisers import denoiser_of
from diffusion.parts import parts_of
from diffusion.pictures import png_of, save_grid
from diffusion.precond import guided
from diffusion.processor import tuned_for
from diffusion.queries import Answers, allocated, prior_of, sample_labels
from diffusion.randomness import RandomSource
from diffusion.readers.captions import FIRST
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
        prompts: Where the plan reads captions, texts to draw equally often; public.
    """

    count: int
    guidance: float = 0.0
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    seed: int | None = None
    labels: tuple[int, ...] | None = None
    prompts: tuple[str, ...] = ()

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
        labels: Their classes, or which prompt they are of, shape (n,).
        prompts: What they were drawn for, where the plan reads captions.
    """

    images: UInt8[Tensor, "rows channels height width"]
    labels: Int64[Tensor, " rows"]
    prompts: tuple[str, ...] = ()

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
        ParameterError: The plan reads captions and there is no prompt, or the other way
            round.
    """
    _check_prompts(plan, request)
    networks = {name: network_of(plan).eval() for name in parts_of(plan)}
    path = folder / checkpoint.MODEL_NAME
    if not path.exists():
        raise DataError(
            f"the run in {folder} is not finished, so it has released no weights",
            hint=f"go on with it first: privplan train {folder} --resume",
        )
    space = latents.for_run(plan, None, folder)
    reader = text_encoder.for_run(plan, None, folder)
    answers = checkpoint.load_model(path, networks, plan_digest=plan.digest)
    _read(networks, None if reader is None else reader.table(request.prompts))
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
    first = FIRST if request.prompts else 0
    return Samples(
        images=torch.cat(parts), labels=labels - first, prompts=request.prompts
    )


def _read(networks: Mapping[str, nn.Module], texts: Tensor | None) -> None:
    for network in networks.values():
        text_encoder.read_captions(network, texts)


def _check_prompts(plan: Plan, request: SampleRequest) -> None:
    if plan.training.text is not None and not request.prompts:
        raise ParameterError(
            "this run draws images for a text, and none was given",
            hint="give --prompt, once or several times; --prompt '' draws without one",
        )
    if request.prompts and request.labels is not None:
        raise ParameterError(
            "--labels and --prompt were both given", hint="leave --labels away"
        )
    if plan.training.text is None and request.prompts:
        raise ParameterError(
            "--prompt was given, but this run knows classes and no text",
            hint="leave it away: every class is drawn",
        )


def _labels(
    plan: Plan, answers: Answers, request: SampleRequest
) -> Int64[Tensor, " rows"]:
    """Return what to draw: every prompt equally often, or classes."""
    if request.prompts:
        equal = torch.ones(len(request.prompts), dtype=torch.float64)
        return allocated(equal, request.count) + FIRST
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
        The archive (`train_images`, `train_labels`, `classes`, and prompts as
        `class_names`) and the picture.

    Raises:
        DocumentError: The folder cannot be written.
    """
    archive, picture = folder / SAMPLES_NAME, folder / GRID_NAME
    images, classes = samples.images.numpy(), len(samples.prompts) or classes
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "train_images": images.transpose(0, 2, 3, 1),
        "train_labels": samples.labels.numpy(),
        "classes": np.asarray(classes),
    }
    if samples.prompts:
        arrays["class_names"] = np.asarray(samples.prompts)
    np.savez_compressed(buffer, **arrays)
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
