"""What the words of a plan mean in torch: network, private step, speed.

Everything here is a function of public plan constants and of performance options; no
record comes near.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from diffusion.adapters import adapt
from diffusion.adaptive_clipping import AdaptiveClipping
from diffusion.borrowed import BorrowedNetwork
from diffusion.borrowed import build as build_borrowed
from diffusion.integer_grid import IntegerGrid
from diffusion.network import NetworkConfig, UNet, build
from diffusion.per_example import Clipping, engine
from diffusion.physical_batch import PhysicalBatch
from diffusion.trainer import Learner, Mechanism, Performance
from diffusion.watching import RunOptions
from privplan import plan_size
from privplan.borrowed import PlanBorrowed
from privplan.plan import Plan, PlanShape, PlanTraining, PrivatePhase

_AUTO = "auto"


def network_of(plan: Plan) -> UNet | BorrowedNetwork:
    """Build the network a plan describes, with its public first weights."""
    return network_for(plan.data, plan.training)


def network_for(data: PlanShape, training: PlanTraining) -> UNet | BorrowedNetwork:
    """Build the network that is described, with its public first weights.

    A network that corrects a Gaussian is shown the Gaussian's guess beside the image.
    Thin products that are to be tuned are in place and change nothing yet.
    """
    seed = training.network.seed
    network: UNet | BorrowedNetwork
    if isinstance(training.network, PlanBorrowed):
        sizes = {name: getattr(data, name) for name in PlanShape.model_fields}
        network = build_borrowed(
            training.network, NetworkConfig(**sizes), training.text
        )
    else:
        shape = plan_size.shape_of(data, training)
        network = build(NetworkConfig(**asdict(shape)), seed=seed)
    adapt(network, plan_size.selected(data, training).adapters, seed=seed)
    return network


def mechanism_of(
    phase: PrivatePhase, beside: Callable[[Learner], Sequence[Tensor]] | None = None
) -> Mechanism:
    """Return the private step a plan fixes.

    Args:
        phase: The plan's private phase.
        beside: The public gradient of a mixture.
    """
    event = phase.mechanism
    return Mechanism(
        sample_rate=event.sample_rate,
        noise_multiplier=event.noise_multiplier,
        clipping=Clipping(max_grad_norm=phase.max_grad_norm, kind=phase.clipping),
        noise_multiplicity=phase.noise_multiplicity,
        expected_batch_size=phase.expected_batch_size,
        beside=beside,
        adaptive=_following(phase),
        grid=_grid(phase),
    )


def _grid(phase: PrivatePhase) -> IntegerGrid | None:
    """Return the grid of a phase that trains in whole numbers."""
    if not phase.in_whole_numbers:
        return None
    return IntegerGrid(
        max_grad_norm=phase.max_grad_norm,
        noise_multiplier=phase.mechanism.noise_multiplier,
    )


def _following(phase: PrivatePhase) -> AdaptiveClipping | None:
    """Return how C follows the gradients, where a plan says so."""
    rule = phase.adaptive
    if rule is None:
        return None
    return AdaptiveClipping(
        initial=phase.max_grad_norm,
        count_noise=rule.count_noise,
        quantile=rule.quantile,
        learning_rate=rule.learning_rate,
    )


def performance_of(
    learner: Learner, options: RunOptions, phase: PrivatePhase | None = None
) -> Performance:
    """Choose how a private step is carried out; never changes what it releases."""
    return Performance(
        engine=engine(engine_name(options, phase), learner.network),
        physical_batch=PhysicalBatch(options.physical_batch_size),
        device=torch.device(options.device),
        ranks=options.ranks,
    )


def engine_name(options: RunOptions, phase: PrivatePhase | None = None) -> str:
    """Choose the engine: for one record at a time, as whole numbers need, the loop."""
    alone = phase is not None and phase.in_whole_numbers
    return "loop" if alone and options.engine == _AUTO else options.engine
