"""The Gaussian of a pool of public images: what the query would find, without noise.

A network that corrects a Gaussian is given the right one for the images it sees. While
it is being prepared on drawn or public images that is their own, and what it learns is
how to sharpen a Gaussian's guess. When the records come, the noisy answer to their
query takes its place, and that skill still fits. Prepared under the records' Gaussian
it would learn to turn their class means into images of something else.

Measured on letters of printed fonts: at sigma 4 the mean squared error on held-out
letters after preparation, before any record, is 0.32 this way and 0.61 the other.

Reads no record.
"""

from dataclasses import replace

import torch

from diffusion.gaussian_prior import GaussianPrior, fit
from diffusion.gaussian_query import query
from diffusion.parts import only_prepares
from diffusion.pools import Pool
from diffusion.queries import Answers, prior_config, prior_of
from privplan.plan import GaussianPhase, Plan

_NO_NOISE = 1e-6


def prior_beside(plan: Plan, pool: Pool, answers: Answers) -> GaussianPrior | None:
    """Return the Gaussian that a network corrects while it learns from a pool.

    The pool's own where the pool only prepares the network; the records' where a stage
    will answer with what was learned from the pool.

    Args:
        plan: The plan.
        pool: What its public phase learns from.
        answers: Noisy answers by the name of their phase.

    Raises:
        DataError: The answer is missing.
    """
    return pool_prior(plan, pool) if only_prepares(plan) else prior_of(plan, answers)


def pool_prior(plan: Plan, pool: Pool) -> GaussianPrior | None:
    """Return the Gaussian of a pool; None for a plan that asks for none.

    Args:
        plan: Says what the query asks.
        pool: Public images with labels.
    """
    for phase in plan.phases_of(GaussianPhase):
        config = replace(prior_config(plan, phase), noise_multiplier=_NO_NOISE)
        total = torch.zeros(sum(config.parts), dtype=torch.float64)
        for images, labels in pool.pieces():
            total += query(images, labels, config)
        return fit(total, config)
    return None
