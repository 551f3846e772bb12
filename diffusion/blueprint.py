"""What the words of a plan mean in torch: network, loss, optimiser, step.

Everything here is a function of public plan constants and of performance options; no
record comes near.
"""

import torch

from diffusion.ema import Ema
from diffusion.loss import row_loss
from diffusion.network import NetworkConfig, UNet, build
from diffusion.noise_levels import LogNormal
from diffusion.per_example import Clipping, engine
from diffusion.precond import Denoiser, Edm
from diffusion.trainer import Learner, LossSettings, Mechanism, Performance
from diffusion.watching import RunOptions
from privplan.plan import Plan, PlanPhase, PrivatePhase

_PIXELS_PER_PASS = 200_000


def network_of(plan: Plan) -> UNet:
    """Build the network a plan describes, with its public first weights."""
    net, data = plan.training.network, plan.data
    config = NetworkConfig(
        channels=data.channels,
        height=data.height,
        width=data.width,
        classes=data.classes,
        base_width=net.base_width,
        width_multipliers=net.width_multipliers,
        blocks=net.blocks,
        attention_resolutions=net.attention_resolutions,
    )
    return build(config, seed=net.seed)


def new_learner(plan: Plan, options: RunOptions) -> Learner:
    """Build the learner of a plan, ready for its first phase."""
    network = network_of(plan).to(options.device)
    learner = Learner(
        network=network,
        optimiser=torch.optim.Adam(network.parameters()),
        ema=Ema(network, plan.training.ema_decay),
        learning_rate=0.0,
    )
    start_phase(learner, plan.phases[0])
    return learner


def start_phase(learner: Learner, phase: PlanPhase) -> None:
    """Give a learner a fresh optimiser for a phase; weights and averages stay."""
    learner.optimiser = torch.optim.Adam(learner.network.parameters())
    learner.learning_rate = phase.learning_rate
    learner.steps_done = 0


def mechanism_of(phase: PrivatePhase) -> Mechanism:
    """Return the private step a plan fixes."""
    event = phase.mechanism
    return Mechanism(
        sample_rate=event.sample_rate,
        noise_multiplier=event.noise_multiplier,
        clipping=Clipping(max_grad_norm=phase.max_grad_norm, kind=phase.clipping),
        noise_multiplicity=phase.noise_multiplicity,
        expected_batch_size=phase.expected_batch_size,
    )


def performance_of(
    plan: Plan, phase: PrivatePhase, learner: Learner, options: RunOptions
) -> Performance:
    """Choose how a private step is carried out; never changes what it releases."""
    rows = max(_PIXELS_PER_PASS // (plan.data.height * plan.data.width), 1)
    records = options.physical_batch_size or max(rows // phase.noise_multiplicity, 1)
    return Performance(
        engine=engine(options.engine, learner.network),
        physical_batch_size=records,
        device=torch.device(options.device),
    )


def denoiser_of(plan: Plan, network: UNet) -> Denoiser:
    """Return the denoiser of a plan around a trained network."""
    return Denoiser(network=network, precond=Edm(sigma_data=plan.training.sigma_data))


def loss_of(plan: Plan, intervals: tuple[tuple[float, float], ...]) -> LossSettings:
    """Return the loss of a plan, with sigma restricted to some intervals."""
    training = plan.training
    law = LogNormal(
        intervals=((training.sigma_min, training.sigma_max),),
        p_mean=training.p_mean,
        p_std=training.p_std,
    )
    return LossSettings(
        row_loss=row_loss(Edm(sigma_data=training.sigma_data)),
        law=law.restricted(tuple(sorted(intervals))),
        label_dropout=training.label_dropout,
        null_label=plan.data.classes,
    )
