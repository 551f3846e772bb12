"""Seconds per draw of a plan, on this machine; reads no private record."""

import torch

from diffusion.blueprint import network_of, performance_of
from diffusion.denoisers import loss_of
from diffusion.gaussian_prior import GaussianPrior, fit
from diffusion.measure import measure_speed
from diffusion.parts import answering, come_to, new_learned, whole
from diffusion.processor import tuned_for
from diffusion.queries import prior_config
from diffusion.watching import RunOptions
from privplan.errors import ParameterError
from privplan.plan import GaussianPhase, Plan
from privplan.stages import Source


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
    options = options or RunOptions()
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
        found = measure_speed(
            learner.network,
            config,
            loss=loss_of(plan, whole(plan), _stand_in(plan)),
            performance=performance_of(learner, options),
            noise_multiplicity=phase.noise_multiplicity,
        )
    return found.seconds_per_draw


def _stand_in(plan: Plan) -> GaussianPrior | None:
    """A prior of the right shape that nobody was asked for."""
    for phase in plan.phases_of(GaussianPhase):
        config = prior_config(plan, phase)
        return fit(torch.zeros(sum(config.parts), dtype=torch.float64), config)
    return None
