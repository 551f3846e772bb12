"""Networks, loss and optimiser of a plan: what is pinned, and the rest by recipe."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Literal

from privplan import (
    checks,
    latent_rules,
    plan,
    plan_size,
    pretrained,
    text_rules,
    tuning,
)
from privplan.errors import ParameterError
from privplan.network_text import NetworkWishes
from privplan.plan_phases import Wishes
from privplan.presets import Parameterisation, Preset, Pretraining, Wrapping
from privplan.pretrained import Pretrained
from privplan.recipes import Recipe, recipe
from privplan.stages import Sharing, Source, StageAllocation

NETWORK_SEED = 20240602


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWishes:
    """What a user pinned of the training; None means "choose for me".

    Attributes:
        sharing: What the networks of the stages have in common.
        pretraining: What the network learns from before any record.
        parameterisation: What the network is wrapped in.
        mixture: Shares of the draws at low, middle and high sigma; None for none.
        flip: Show records also mirrored; averaged before the one clip.
        shift: Most pixels that records are also moved by.
        optimiser: Of every phase.
        network: What is pinned of the network; None for nothing.
        tune: What private steps change, in the grammar of `privplan.tuning`.
        latent: The latent space that records are brought to; None for none.
    """

    sharing: Sharing = Sharing.SEQUENTIAL
    pretraining: Pretraining | None = None
    parameterisation: Parameterisation | None = None
    mixture: plan.PlanMixture | None = None
    flip: bool = False
    shift: int = 0
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    network: NetworkWishes | None = None
    tune: str = tuning.ALL
    latent: plan.PlanLatent | None = None

    def __post_init__(self) -> None:
        checks.non_negative(shift=self.shift)


def training_of(
    wishes: TrainingWishes,
    preset: Preset,
    allocation: StageAllocation,
    settings: Recipe,
    data: plan.PlanShape,
    *,
    begin: Pretrained | None = None,
) -> plan.PlanTraining:
    """Return network, loss and optimiser: what is pinned, and the rest by recipe.

    Args:
        wishes: What is pinned.
        preset: What goes with a named allocation.
        allocation: Which stage learns from what.
        settings: What is filled in.
        data: Shape of the images.
        begin: Pretrained weights to begin from; the network is theirs.

    Raises:
        ParameterError: A cut of the mixture is not between sigma_min and sigma_max, the
            network lacks what is tuned, or the pretrained weights are of another.
    """
    mixture = wishes.mixture or _mixture_of(preset)
    _check_cuts(mixture, settings)
    asked: Wrapping | None = wishes.parameterisation or preset.parameterisation
    if begin is not None and asked is None:
        asked = begin.training.parameterisation
    if asked is None:
        asked = "gaussian" if allocation.intervals(Source.GAUSSIAN) else "edm"
    found = plan.PlanTraining(
        network=(
            network_of(wishes.network, settings, data)
            if begin is None
            else begin.training.network
        ),
        parameterisation=asked,
        sharing=wishes.sharing,
        p_mean=settings.p_mean,
        p_std=settings.p_std,
        sigma_data=0.5,
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
        label_dropout=0.1,
        ema_decay=settings.ema_decay,
        mixture=mixture,
        flip=wishes.flip,
        shift=wishes.shift,
        optimiser=wishes.optimiser,
        tune=tuning.parse(wishes.tune).text,
        latent=wishes.latent,
        text=None if begin is None else begin.training.text,
    )
    if begin is not None:
        _check_wrapped(begin, asked)
        pretrained.check_fits(begin, data, found)
    plan_size.selected(data, found)
    return found


def recipe_for(data: plan.PlanShape, records: int, begin: Pretrained | None) -> Recipe:
    """Return the recipe for images of one size, with the sigma of a borrowed network.

    A network that counts noise in timesteps knows no sigma beyond its first and last.

    Args:
        data: Shape of the images.
        records: n, as declared.
        begin: Pretrained weights to begin from.
    """
    found = recipe(records=records, height=data.height, width=data.width)
    if begin is None or not _is_borrowed(begin):
        return found
    low, high = begin.training.sigma_min, begin.training.sigma_max
    return replace(found, sigma_min=low, sigma_max=high)


def _check_wrapped(begin: Pretrained, asked: Wrapping) -> None:
    if _is_borrowed(begin) and asked != begin.training.parameterisation:
        raise ParameterError(
            f"the checkpoint's network counts noise in timesteps, and '{asked}' is "
            "asked for",
            hint="leave --parameterisation, Gaussian stages and named --stages away",
        )


def _is_borrowed(begin: Pretrained) -> bool:
    return begin.training.parameterisation == "timesteps"


def network_of(
    wishes: NetworkWishes | None, settings: Recipe, data: plan.PlanShape
) -> plan.PlanNetwork:
    """Return the network: what is pinned, and the rest by recipe.

    Raises:
        ParameterError: No level has a side at which attention is asked for, or the
            patches do not tile the images.
    """
    wishes = wishes or NetworkWishes()
    pinned = wishes.over(settings, height=data.height, width=data.width)
    return plan.PlanNetwork(**asdict(pinned), seed=NETWORK_SEED)


def check_sharing(
    sharing: Sharing,
    allocation: StageAllocation,
    before: Sequence[plan.PlanPhase],
    *,
    clipping: str,
) -> None:
    """Refuse a sharing mode that has nothing to share.

    Raises:
        ParameterError: No phase or stage is there for it, or C would move under it.
    """
    if sharing is Sharing.MIXTURE and clipping == "adaptive":
        raise ParameterError(
            "a mixture has a fixed C, by which its synthetic gradient is measured",
            hint="use --clipping fixed, or --share sequential",
        )
    drawn = any(isinstance(phase, plan.SyntheticPhase) for phase in before)
    if sharing is Sharing.MIXTURE and not drawn:
        raise ParameterError(
            "a mixture needs synthetic images, and no stage learns from any",
            hint="add --pretrain synthetic, or use --share sequential",
        )
    begun = any(isinstance(phase, plan.PretrainedPhase) for phase in before)
    if sharing is Sharing.EXPERTS and begun:
        raise ParameterError(
            "--share experts has a network for each source, and --from is one network",
            hint="use --share sequential or gated, or leave --from away",
        )
    public = (Source.SYNTHETIC, Source.PUBLIC)
    apart = any(allocation.intervals(source) for source in public)
    if sharing in {Sharing.GATED, Sharing.EXPERTS} and not apart:
        raise ParameterError(
            f"--share {sharing} keeps public stages apart, and there is none",
            hint="let a stage learn from synthetic or public images, as in --stages "
            "syngen-cleaning",
        )


def check_used(
    wishes: Wishes, phases: Sequence[plan.PlanPhase], training: TrainingWishes
) -> None:
    """Refuse what was pinned of a phase that the plan does not have.

    Raises:
        ParameterError: An option would have been read and ignored.
    """
    kinds = {phase.kind for phase in phases}
    _check_prepared(training, kinds)
    stale = {
        "--prior-noise": wishes.prior_noise is not None and "gaussian" not in kinds,
        "--synthetic-steps": wishes.synthetic_steps is not None
        and not kinds & {"synthetic", "public"},
        "--public": wishes.public is not None and "public" not in kinds,
        "--synthetic-weight": wishes.synthetic_weight != 1.0
        and training.sharing is not Sharing.MIXTURE,
        "--network": training.network is not None and "pretrained" in kinds,
        "--tune": training.tune != tuning.ALL and "private" not in kinds,
        "--arithmetic discrete": wishes.arithmetic == "discrete"
        and "private" not in kinds,
        "--pretrain none": training.pretraining == "none"
        and bool(kinds & {"synthetic", "public"}),
    }
    for option, ignored in stale.items():
        if ignored:
            raise ParameterError(
                f"{option} has nothing to act on in this plan",
                hint="leave it away, or choose --stages, --pretrain or --share so that "
                "it has",
            )


def check_latent(
    data: plan.PlanShape, phases: Sequence[plan.PlanPhase], training: plan.PlanTraining
) -> None:
    """Refuse a plan on latents that treats them as images.

    Raises:
        ParameterError: It mirrors them or learns from images beside them, or their
            shape is not that of the latents.
    """
    found = latent_rules.problem(data, phases, training)
    if found is not None:
        what, cure = found
        raise ParameterError(f"this plan does not fit its latents: {what}", hint=cure)


def check_text(
    data: plan.PlanData, phases: Sequence[plan.PlanPhase], training: plan.PlanTraining
) -> None:
    """Refuse captions without a network that reads them, and the other way round.

    Raises:
        ParameterError: One is there without the other, or something counts on classes.
    """
    found = text_rules.problem(data, phases, training)
    if found is not None:
        what, cure = found
        raise ParameterError(f"this plan does not fit its captions: {what}", hint=cure)


def _check_prepared(training: TrainingWishes, kinds: Set[str]) -> None:
    """Refuse to tune a part of a network that knows nothing: the rest never would."""
    if training.tune == tuning.ALL or "private" not in kinds:
        return
    if not kinds & {"pretrained", "synthetic", "public"}:
        raise ParameterError(
            f"--tune {training.tune[:40]} leaves the rest of the network as it is, and "
            "it has learned nothing",
            hint="begin from a checkpoint with --from"
            + (", or add --pretrain synthetic" if training.latent is None else ""),
        )


def _mixture_of(preset: Preset) -> plan.PlanMixture | None:
    if preset.cuts is None:
        return None
    return plan.PlanMixture(cuts=preset.cuts, shares=preset.shares)


def _check_cuts(mixture: plan.PlanMixture | None, settings: Recipe) -> None:
    if mixture is None:
        return
    low, high = settings.sigma_min, settings.sigma_max
    if not low < mixture.cuts[0] < mixture.cuts[1] < high:
        raise ParameterError(
            f"the mixture's cuts {mixture.cuts[0]:g} and {mixture.cuts[1]:g} do not "
            f"rise between sigma {low:g} and {high:g}",
            hint="move them there, as in --mixture 1,6,1@0.1,2",
        )
