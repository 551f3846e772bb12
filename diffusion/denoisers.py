"""The denoiser of a plan, and the loss that trains it.

    parameterisation   network wrapped in             law of sigma
    edm                diffusion.precond.Edm          log-normal
    v, vp, ve          diffusion.precond.V, Vp, Ve    their own; see noise_levels
    gaussian           gaussian_prior.PriorDenoiser   log-normal
    timesteps          diffusion.timesteps.Timesteps  uniform in the timestep

Stages differ in who answers: at the sigmas of a Gaussian stage the noisy query itself,
in closed form; elsewhere one of the plan's networks. Which one depends on sigma alone,
and sigma is public.

Units: sigma in data units.
Source: Karras et al. 2022, arXiv:2206.00364, table 1.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffusion.augmentation import Augmentation
from diffusion.gaussian_prior import GaussianPrior, PriorDenoiser, prior_row_loss
from diffusion.loss import RowLoss, row_loss
from diffusion.noise_levels import (
    Interval,
    LogNormal,
    LogUniform,
    SigmaLaw,
    VpUniform,
    VUniform,
)
from diffusion.noise_mixture import three_parts
from diffusion.parts import answering
from diffusion.precond import (
    Denoise,
    Denoiser,
    Edm,
    Parameterisation,
    V,
    Ve,
    Vp,
)
from diffusion.timesteps import Timesteps, TimestepUniform
from diffusion.trainer import LossSettings
from privplan.borrowed import PlanBorrowed, sigmas
from privplan.errors import DataError, ParameterError
from privplan.plan import Plan, PlanTraining
from privplan.stages import Source


def loss_of(
    plan: Plan, intervals: tuple[Interval, ...], prior: GaussianPrior | None = None
) -> LossSettings:
    """Return the loss of a plan, with sigma restricted to some intervals.

    Args:
        plan: The plan.
        intervals: Pairs (lower, upper), in increasing order.
        prior: The answer to the Gaussian query, where the network corrects it.

    Raises:
        DataError: The plan's network corrects a prior, and there is none.
    """
    return loss_for(plan.training, plan.data.classes, intervals, prior)


def loss_for(
    training: PlanTraining,
    classes: int,
    intervals: tuple[Interval, ...],
    prior: GaussianPrior | None = None,
) -> LossSettings:
    """Return the loss that is described; as `loss_of`, also where there is no plan.

    Raises:
        DataError: The network corrects a prior, and there is none.
    """
    judge: RowLoss
    if training.parameterisation == "gaussian":
        judge = prior_row_loss(_needed(prior))
    else:
        judge = row_loss(_wrapping(training))
    return LossSettings(
        row_loss=judge,
        law=_law(training).restricted(intervals),
        label_dropout=training.label_dropout,
        null_label=classes,
        augmentation=Augmentation(flip=training.flip, shift=training.shift),
    )


def denoiser_of(
    plan: Plan, networks: Mapping[str, nn.Module], prior: GaussianPrior | None = None
) -> Denoise:
    """Return the denoiser of a whole plan.

    Args:
        plan: The plan.
        networks: Its trained networks by the name of their part.
        prior: The answer to its Gaussian query, if it asks one.

    Raises:
        DataError: The plan needs a prior, and there is none.
    """
    pieces: list[tuple[float, Denoise]] = []
    for stage in plan.stages:
        if stage.source is Source.GAUSSIAN:
            pieces.append((stage.sigma_min, _needed(prior).denoise))
        else:
            network = networks[answering(plan, stage.source)]
            pieces.append((stage.sigma_min, _wrapped(plan, network, prior)))
    return by_sigma(pieces)


def by_sigma(pieces: Sequence[tuple[float, Denoise]]) -> Denoise:
    """Join denoisers: each answers from its sigma up to that of the next one.

    A row gets its answer from one denoiser alone, and from the same one whatever rows
    are beside it.

    Args:
        pieces: Pairs (sigma, denoiser) in any order; the one with the lowest sigma
            also answers below it.

    Raises:
        ParameterError: There is none.

    Example:
        >>> def one(x, sigma, labels):
        ...     return torch.ones_like(x)
        >>> def two(x, sigma, labels):
        ...     return 2 * torch.ones_like(x)
        >>> joined = by_sigma([(1.0, two), (0.1, one)])
        >>> x, labels = torch.zeros(3, 1, 1, 1), torch.tensor([0, 0, 0])
        >>> joined(x, torch.tensor([0.01, 0.5, 1.0]), labels).flatten()
        tensor([1., 1., 2.])
    """
    if not pieces:
        raise ParameterError(
            "there is no denoiser to join", hint="give one for every stage"
        )
    ordered = sorted(pieces, key=lambda piece: piece[0])
    starts = torch.tensor([start for start, _ in ordered[1:]], dtype=torch.float32)

    def joined(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        which = torch.bucketize(sigma, starts.to(sigma.device), right=True)
        present: list[int] = sorted(set(which.tolist()))
        if len(present) == 1:
            return ordered[present[0]][1](x, sigma, labels)
        out: Tensor = torch.zeros_like(x)
        for index in present:
            chosen = (which == index)[:, None, None, None]
            answer = ordered[index][1](x, sigma, labels)
            out = torch.where(chosen, answer, out)
        return out

    return joined


def _wrapped(plan: Plan, network: nn.Module, prior: GaussianPrior | None) -> Denoise:
    if plan.training.parameterisation == "gaussian":
        return PriorDenoiser(network=network, prior=_needed(prior))
    return Denoiser(network=network, precond=_wrapping(plan.training))


def _wrapping(training: PlanTraining) -> Parameterisation:
    if isinstance(training.network, PlanBorrowed):
        schedule = training.network.schedule
        return Timesteps(levels=sigmas(schedule), prediction=schedule.prediction)
    match training.parameterisation:
        case "v":
            return V()
        case "vp":
            return Vp()
        case "ve":
            return Ve()
        case _:
            return Edm(sigma_data=training.sigma_data)


def _law(training: PlanTraining) -> SigmaLaw:
    """Return the law of sigma, with the shares of a mixture if there is one."""
    base, mixture = _plain_law(training), training.mixture
    if mixture is None:
        return base
    return three_parts(
        training.sigma_min,
        training.sigma_max,
        cuts=mixture.cuts,
        shares=mixture.shares,
        base=base,
    )


def _plain_law(training: PlanTraining) -> SigmaLaw:
    reach = ((training.sigma_min, training.sigma_max),)
    if isinstance(training.network, PlanBorrowed):
        levels = sigmas(training.network.schedule)
        return TimestepUniform(intervals=reach, levels=levels)
    match training.parameterisation:
        case "v":
            return VUniform(intervals=reach)
        case "vp":
            return VpUniform(intervals=reach)
        case "ve":
            return LogUniform(intervals=reach)
        case _:
            return LogNormal(
                intervals=reach, p_mean=training.p_mean, p_std=training.p_std
            )


def _needed(prior: GaussianPrior | None) -> GaussianPrior:
    if prior is None:
        raise DataError(
            "the answer to the plan's Gaussian query is missing",
            hint="restore the checkpoint it was kept in; it cannot be asked again",
        )
    return prior
