"""Training an autoencoder on images that cost nothing, and taking one from diffusers.

The latent scale makes the latents of those images vary as images do, with a standard
deviation of a half: a public number, fixed here once and for all.

Edges: writes the autoencoder's folder; reads one that diffusers wrote.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from diffusion import weight_files
from diffusion.autoencoder import ConvAutoencoder
from diffusion.diffusers_folder import CONFIG, WEIGHTS, read_json
from diffusion.latents import network_of, space_of
from diffusion.pools import Pool
from privplan import autoencoder, canonical, events, files
from privplan.autoencoder import FORMAT, WEIGHTS_NAME, Autoencoder, Kind
from privplan.borrowed import ElsewherePhase
from privplan.code_identity import source_digest
from privplan.errors import DataError, ParameterError
from privplan.plan import PublicPhase, SyntheticPhase
from privplan.plan_parts import FreePhase
from privplan.version import __version__

Free = SyntheticPhase | PublicPhase
_UNKNOWN = "0" * 64
_SEED = 20240608
_KL_WEIGHT = 1e-3
_SCALE_BATCHES = 4
_LEAST_STD = 1e-6
_SPREAD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of an autoencoder; every field is public.

    Attributes:
        kind: "kl" or "vq".
        channels: Of images.
        latent_channels: Of latents.
        factor: By how much the sides shrink.
        base_width: Feature channels at full size.
        codes: Entries of the codebook of "vq"; 1 for "kl".
    """

    kind: Kind
    channels: int
    latent_channels: int
    factor: int
    base_width: int = 32
    codes: int = 1


def train(
    shape: Shape,
    learned: Sequence[tuple[Free, Pool]],
    folder: Path,
    *,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda _name, _done, _steps: None,
) -> Autoencoder:
    """Train an autoencoder on free images and write it.

    Args:
        shape: Of the autoencoder.
        learned: The phases with the images of each, in order.
        folder: Where it goes.
        device: "cpu" or "cuda".
        progress: Called with (phase, steps done, steps in all).

    Raises:
        DataError: The latents of the images do not vary.
        DocumentError: The folder cannot be written.
    """
    draft = _draft(shape, tuple(phase for phase, _ in learned))
    network = network_of(draft).to(device)
    assert isinstance(network, ConvAutoencoder)  # noqa: S101 - narrows the type
    generator = torch.Generator().manual_seed(_SEED)
    for phase, pool in learned:
        optimiser = torch.optim.Adam(network.parameters(), lr=phase.learning_rate)
        for step in range(phase.steps):
            images = pool.batch(step)[0].to(device)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(
                network.loss(images, kl_weight=_KL_WEIGHT, generator=generator)
            )
            optimiser.step()
            progress(phase.name, step + 1, phase.steps)
    network = network.cpu().eval()
    return write(
        draft.model_copy(update={"scale": _scale(draft, network, learned[-1][1])}),
        network,
        folder,
    )


def _draft(shape: Shape, phases: tuple[FreePhase, ...]) -> Autoencoder:
    return Autoencoder.model_validate(
        {
            "format": FORMAT,
            "privplan_version": __version__,
            "kind": shape.kind,
            "channels": shape.channels,
            "latent_channels": shape.latent_channels,
            "factor": shape.factor,
            "base_width": shape.base_width,
            "codes": shape.codes,
            "config": "",
            "scale": 1.0,
            "seed": _SEED,
            "phases": phases,
            "code_digest": source_digest(),
            "weights_digest": _UNKNOWN,
            "digest": _UNKNOWN,
        }
    )


def _scale(draft: Autoencoder, network: nn.Module, pool: Pool) -> float:
    """Return what brings the latents of public images to the spread of images."""
    space = space_of(draft, network, Path())
    latents = torch.cat([space.encode(pool.batch(i)[0]) for i in range(_SCALE_BATCHES)])
    spread = float(latents.std())
    if not spread > _LEAST_STD:
        raise DataError(
            "the latents of these images do not vary, so they have no scale",
            hint="train longer, or on images that differ",
        )
    return float(f"{_SPREAD / spread:.6g}")


def write(draft: Autoencoder, network: nn.Module, folder: Path) -> Autoencoder:
    """Write weights and document; the weights first, whole or not at all.

    Raises:
        DocumentError: The folder cannot be written.
    """
    files.make_folder(folder)
    ready = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
    path = folder / WEIGHTS_NAME
    content = save(ready, metadata={"format": draft.format})
    files.write_bytes(path, content, what="autoencoder")
    found = {"weights_digest": canonical.file_digest(path)}
    document = autoencoder.seal(draft.model_copy(update=found))
    autoencoder.write(document, folder)
    return document


def adopt(folder: Path, out: Path, *, declared_by: str, data_name: str) -> Autoencoder:
    """Write an autoencoder from a folder of diffusers that holds an AutoencoderKL.

    Its scale is the one its configuration states, never one that images give.

    Args:
        folder: The folder, or that of a pipeline with `vae` in it.
        out: Where it goes.
        declared_by: Who says that what it learned from is public.
        data_name: What that is called.

    Raises:
        DataError: The folder cannot be read, or the weights do not fit.
        ParameterError: It holds another class.
    """
    inner = folder / "vae" if (folder / "vae").is_dir() else folder
    settings = read_json(inner / CONFIG)
    if settings.get("_class_name") != "AutoencoderKL":
        raise ParameterError(
            f"the folder holds a {str(settings.get('_class_name'))[:60]}, not an "
            "AutoencoderKL",
            hint="give the vae folder of a pipeline",
        )
    draft = _described(settings, inner, declared_by, data_name)
    network = network_of(draft)
    try:
        network.load_state_dict(weight_files.read_tensors(inner / WEIGHTS))
    except RuntimeError as error:
        raise DataError(
            f"the weights in {inner} do not fit the configuration beside them",
            hint="load and save it once with diffusers: save_pretrained(folder)",
        ) from error
    return write(draft, network, out)


def _described(
    settings: dict[str, Any], inner: Path, declared_by: str, data_name: str
) -> Autoencoder:
    """Write down what the configuration of an AutoencoderKL says."""
    phase = ElsewherePhase(
        kind="elsewhere",
        name="elsewhere",
        steps=1,
        event=events.NoOpEvent(),
        data_name=data_name,
        weights_digest=weight_files.digest(inner / WEIGHTS),
        declared_by=declared_by,
    )
    own = {k: v for k, v in settings.items() if not k.startswith("_")}
    shape = Shape(
        kind="AutoencoderKL",
        channels=int(own["in_channels"]),
        latent_channels=int(own["latent_channels"]),
        factor=2 ** (len(own["block_out_channels"]) - 1),
    )
    return _draft(shape, (phase,)).model_copy(
        update={
            "config": json.dumps(own, sort_keys=True, separators=(",", ":")),
            "scale": float(own.get("scaling_factor", 1.0)),
        }
    )
