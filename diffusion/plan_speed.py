"""Seconds per draw and per phase of a plan, on this machine; reads no private record.

Steps are timed on random pixels of the declared shape. What a phase does before its
first step is not in its time: drawing synthetic images, say. Nor is the time of a
query, one pass over the records.
"""

import time

import torch

from diffusion.blueprint import network_of, performance_of
from diffusion.denoisers import loss_of
from diffusion.gaussian_prior import GaussianPrior, fit
from diffusion.measure import Speed, measure_speed
from diffusion.parts import (
    answering,
    come_to,
    new_learned,
    start_phase,
    trained_at,
    whole,
)
from diffusion.processor import tuned_for
from diffusion.queries import prior_config
from diffusion.randomness import RandomSource
from diffusion.trainer import public_step
from diffusion.watching import RunOptions
from privplan.errors import ParameterError
from privplan.plan import (
    GaussianPhase,
    Plan,
    PrivatePhase,
    PublicPhase,
    SyntheticPhase,
)
from privplan.stages import Source

_TIMED_STEPS = 3


def seconds_per_draw(plan: Plan, *, options: RunOptions | None = None) -> float:
    """Time private steps of a plan on images that a program draws.

    Args:
        plan: Its network, loss and private phase are timed; about two seconds.
        options: Performance settings, as for training.

    Returns:
        Seconds of wall time for one row, forward and backward, clipped and summed.

    Raises:
        ParameterError: The plan takes no private step.
    """
    return _speed(plan, options or RunOptions()).seconds_per_draw


def phase_seconds(plan: Plan, *, options: RunOptions | None = None) -> dict[str, float]:
    """Estimate how long each phase that trains would take, from a few steps of it.

    Args:
        plan: Takes some seconds; neither records nor the plan's public images are read.
        options: Performance settings, as for training.

    Returns:
        Seconds of wall time by the name of the phase; queries are left out.
    """
    options = options or RunOptions()
    found: dict[str, float] = {}
    for phase in plan.phases:
        if isinstance(phase, PrivatePhase):
            speed = _speed(plan, options)
            draws = phase.noise_multiplicity * phase.expected_batch_size
            each = speed.seconds_per_step + draws * speed.seconds_per_draw
            found[phase.name] = phase.steps * each
        elif isinstance(phase, SyntheticPhase | PublicPhase):
            found[phase.name] = phase.steps * _public_seconds(plan, phase, options)
    return found


def _public_seconds(
    plan: Plan, phase: SyntheticPhase | PublicPhase, options: RunOptions
) -> float:
    """Time ordinary steps on random pixels; the first warms up."""
    learned = new_learned(plan, options)
    start_phase(learned, plan, phase)
    loss = loss_of(plan, trained_at(plan, phase), _stand_in(plan))
    data, times = plan.data, []
    pixels = torch.rand(phase.batch_size, data.channels, data.height, data.width)
    for _ in range(_TIMED_STEPS):
        began = time.perf_counter()
        with tuned_for(plan):
            public_step(
                learned.parts[learned.active or ""],
                2 * pixels - 1,
                torch.zeros(phase.batch_size, dtype=torch.int64),
                loss=loss,
                random=RandomSource(),
                device=torch.device(options.device),
            )
        times.append(time.perf_counter() - began)
    return min(times)


def _speed(plan: Plan, options: RunOptions) -> Speed:
    if not plan.private_phases:
        raise ParameterError(
            "this plan takes no private step, so there is nothing to time",
            hint="leave --compute away, or let a stage learn from private records",
        )
    phase = plan.private_phases[0]
    learned = new_learned(plan, options)
    come_to(learned, plan, phase.name)
    learner = learned.parts[answering(plan, Source.PRIVATE)]
    config = network_of(plan).config
    with tuned_for(plan):
        return measure_speed(
            learner.network,
            config,
            loss=loss_of(plan, whole(plan), _stand_in(plan)),
            performance=performance_of(learner, options),
            noise_multiplicity=phase.noise_multiplicity,
        )


def _stand_in(plan: Plan) -> GaussianPrior | None:
    """A prior of the right shape that nobody was asked for."""
    for phase in plan.phases_of(GaussianPhase):
        config = prior_config(plan, phase)
        return fit(torch.zeros(sum(config.parts), dtype=torch.float64), config)
    return None
