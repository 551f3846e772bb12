"""Pretraining: ordinary training on images that cost nothing, for plans to begin from.

    images declared public ──┐
    images programs draw ────┴─> phases, one after the other ─> averaged weights

Nothing here can read a private record: the images are public by type. What they learned
from goes into the document, so that every plan and report that begins from these
weights says so.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from diffusion import pretrained
from diffusion.blueprint import network_for
from diffusion.data import PublicImages, public_digest
from diffusion.denoisers import loss_for
from diffusion.ema import Ema
from diffusion.optimisers import new_optimiser
from diffusion.pools import Pool, PublicPool, SyntheticPool
from diffusion.randomness import RandomSource
from diffusion.trainer import Learner, public_step
from privplan.code_identity import source_digest
from privplan.errors import ParameterError, PolicyError
from privplan.plan import PlanShape, PlanTraining, PublicPhase, SyntheticPhase
from privplan.pretrained import FORMAT, Pretrained
from privplan.version import __version__

Free = SyntheticPhase | PublicPhase
Images = Mapping[str, PublicImages]
_UNKNOWN = "0" * 64


def pretrain(
    shape: PlanShape,
    training: PlanTraining,
    phases: tuple[Free, ...],
    images: Images,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda _name, _done, _steps: None,
) -> Pretrained:
    """Train a network on free images and write it as a checkpoint.

    Args:
        shape: Of the images, and the classes, that plans will be for.
        training: Network, loss and optimiser.
        phases: What is learned from, in order.
        images: Public images by the name of their phase.
        folder: Where the checkpoint goes.
        device: "cpu" or "cuda".
        progress: Called with (phase, steps done, steps in all).

    Returns:
        What is known of the checkpoint.

    Raises:
        ParameterError: The network corrects a Gaussian, which only a run has, or a
            phase has no images.
        PolicyError: Images are not those their phase names.
        DataError: Images do not fit.
        DocumentError: The folder cannot be written.
    """
    if training.parameterisation == "gaussian":
        raise ParameterError(
            "a network that corrects a Gaussian cannot be pretrained without one",
            hint="choose another --parameterisation, such as edm",
        )
    network = network_for(shape, training).to(device)
    learner = Learner(
        network=network,
        optimiser=new_optimiser(training.optimiser, network.parameters()),
        ema=Ema(network, training.ema_decay),
        learning_rate=0.0,
    )
    pools = [_pool(shape, training, phase, images) for phase in phases]
    for phase, pool in zip(phases, pools, strict=True):
        _carry_out(learner, phase, pool, shape, training, device, progress)
    return pretrained.write(
        _document(shape, training, phases), learner.ema.averaged(), folder
    )


def _carry_out(
    learner: Learner,
    phase: Free,
    pool: Pool,
    shape: PlanShape,
    training: PlanTraining,
    device: str,
    progress: Callable[[str, int, int], None],
) -> None:
    learner.learning_rate, learner.steps_done = phase.learning_rate, 0
    loss = loss_for(
        training, shape.classes, ((training.sigma_min, training.sigma_max),)
    )
    random = RandomSource()
    while learner.steps_done < phase.steps:
        pictures, labels = pool.batch(learner.steps_done)
        public_step(
            learner,
            pictures,
            labels,
            loss=loss,
            random=random,
            device=torch.device(device),
        )
        progress(phase.name, learner.steps_done, phase.steps)


def _pool(
    shape: PlanShape, training: PlanTraining, phase: Free, images: Images
) -> Pool:
    if isinstance(phase, SyntheticPhase):
        return SyntheticPool(shape, phase)
    if phase.name not in images:
        raise ParameterError(
            f"phase '{phase.name}' has no images to learn from",
            hint="give the public images of every phase",
        )
    found = images[phase.name]
    if public_digest(found) != phase.data_digest:
        raise PolicyError(
            f"the images of phase '{phase.name}' are not those it names",
            hint="name the images by their own digest",
        )
    return PublicPool(shape, phase, found, seed=training.network.seed)


def _document(
    shape: PlanShape, training: PlanTraining, phases: tuple[Free, ...]
) -> Pretrained:
    return Pretrained(
        format=FORMAT,
        privplan_version=__version__,
        shape=shape,
        phases=phases,
        training=training,
        code_digest=source_digest(),
        weights_digest=_UNKNOWN,
        digest=_UNKNOWN,
    )
