"""Every way in which a plan reads records, as one function each: sum plus noise.

    release     sum over                     noised by       bound of a record
    DP-SGD      clipped gradients            privatize       C, here 1
    queries     class sums, counts, labels   privatize       1

A preflight and an audit ask them on made-up pictures, and need not know which is which.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffusion.blueprint import engine_name, mechanism_of
from diffusion.data import PrivateImages
from diffusion.denoisers import loss_of
from diffusion.gaussian_prior import GaussianPrior
from diffusion.neighbours import hostile
from diffusion.parts import private_network, trained_at
from diffusion.per_example import engine
from diffusion.physical_batch import PhysicalBatch
from diffusion.queries import noisy_answer, prior_of
from diffusion.randomness import RandomSource
from diffusion.rehearsal import (
    Setting,
    listening,
    noised_sum,
    pictures,
    shaken,
    wide,
)
from diffusion.trainer import Performance
from diffusion.watching import RunOptions
from privplan.plan import GaussianPhase, Plan, PrivatePhase, QueryPhase

_PRIOR_RECORDS = 64
_RECORDS_PER_PASS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One way in which a plan reads records.

    Attributes:
        name: That of its phase.
        noise_multiplier: Planned noise over what one record may change.
        ask: From pictures and randomness to sum plus noise, flat, float64, in units of
            what one record may change; every picture is in the sum.
        length: How many numbers it returns.
        hostile: Whether pictures of certain greys have losses that are not finite.
    """

    name: str
    noise_multiplier: float
    ask: Callable[[PrivateImages, RandomSource], Tensor]
    length: int
    hostile: bool


def of_plan(plan: Plan, options: RunOptions) -> list[Release]:
    """Return every release of a plan, in order; in float64, on hostile losses."""
    return [
        _training(plan, phase, options)
        if isinstance(phase, PrivatePhase)
        else _query(plan, phase)
        for phase in plan.phases
        if isinstance(phase, PrivatePhase | GaussianPhase | QueryPhase)
    ]


def setting_of(
    plan: Plan, phase: PrivatePhase, options: RunOptions, *, in_float64: bool = False
) -> Setting:
    """Return a phase's private step as a run would carry it out.

    A plan whose network corrects a Gaussian prior gets one of made-up pictures.

    Args:
        plan: The plan.
        phase: Which of its private phases.
        options: Engine and device.
        in_float64: Whether the loss is for a network in float64.
    """
    prior = _made_up_prior(plan, options)
    if in_float64 and prior is not None:
        prior = _doubled(prior)
    loss = loss_of(plan, trained_at(plan, phase), prior)
    if in_float64:
        loss = replace(loss, row_loss=wide(loss.row_loss))
    return Setting(
        mechanism=mechanism_of(phase),
        loss=loss,
        performance=Performance(
            engine=engine(engine_name(options, phase)),
            physical_batch=PhysicalBatch(_RECORDS_PER_PASS),
            device=torch.device(options.device),
        ),
    )


def _training(plan: Plan, phase: PrivatePhase, options: RunOptions) -> Release:
    network = shaken(private_network(plan).to(options.device)).double()
    planned = setting_of(plan, phase, options, in_float64=True)
    few = min(planned.mechanism.noise_multiplicity, 2)
    setting = replace(
        planned,
        mechanism=replace(planned.mechanism, sample_rate=1.0, noise_multiplicity=few),
        loss=replace(planned.loss, row_loss=hostile(planned.loss.row_loss)),
    )
    learner = listening(network)

    def ask(images: PrivateImages, random: RandomSource) -> Tensor:
        return noised_sum(learner, images, setting, random)

    return Release(
        name=phase.name,
        noise_multiplier=setting.noise_multiplier,
        ask=ask,
        length=sum(p.numel() for p in network.parameters() if p.requires_grad),
        hostile=True,
    )


def _query(plan: Plan, phase: GaussianPhase | QueryPhase) -> Release:
    def ask(images: PrivateImages, random: RandomSource) -> Tensor:
        return noisy_answer(
            plan, phase, images, random=random, spend=lambda: None
        ).double()

    some = made_up(plan, 1)
    return Release(
        name=phase.name,
        noise_multiplier=phase.noise_multiplier,
        ask=ask,
        length=len(ask(some, RandomSource())),
        hostile=False,
    )


def made_up(plan: Plan, count: int) -> PrivateImages:
    """Draw random pictures of a plan's shape."""
    return pictures(
        count,
        channels=plan.data.channels,
        height=plan.data.height,
        width=plan.data.width,
        classes=plan.data.classes,
    )


def _made_up_prior(plan: Plan, options: RunOptions) -> GaussianPrior | None:
    """Return the prior that made-up pictures give, where the plan asks for one."""
    images = made_up(plan, _PRIOR_RECORDS)
    answers = {
        phase.name: noisy_answer(
            plan, phase, images, random=RandomSource(), spend=lambda: None
        )[None]
        for phase in plan.phases_of(GaussianPhase)
    }
    prior = prior_of(plan, answers)
    return None if prior is None else prior.to(options.device)


def _doubled(prior: GaussianPrior) -> GaussianPrior:
    return replace(
        prior,
        means=prior.means.double(),
        variances=prior.variances.double(),
        basis=prior.basis.double(),
    )
