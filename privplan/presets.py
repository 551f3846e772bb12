"""Named allocations: what published systems do, and what measurement favours.

    dpdm             every stage private, from scratch
    syngen-coarse    coarse learns from synthetic images, the rest is private
    syngen-cleaning  cleaning learns from synthetic images, the rest is private
    syngen-finetune  every stage private, after training on synthetic images
    finetune-mixture every stage private, after training on public or synthetic images;
                     most draws at middle sigma: a mixture of three intervals
    best             one Gaussian query for the coarse stage, which also preconditions
                     the network; synthetic images first; the rest private

`best` is what our own measurements on small images favour (docs/stages.md); no name
here changes what a private step costs.

Source: Dockhorn et al. 2023, arXiv:2210.09929 (dpdm); DP-SynGen, arXiv:2412.09842,
whose thresholds and step split are not known to us, so these are ours; Ghalebikesabi
et al. 2023, arXiv:2302.13861, for the mixture, whose cuts and shares here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from privplan.stage_text import ALL_PRIVATE, DEFAULT

Pretraining = Literal["synthetic", "public", "none"]
Parameterisation = Literal["edm", "v", "vp", "ve", "gaussian"]
Wrapping = Literal["edm", "v", "vp", "ve", "gaussian", "timesteps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An allocation and what goes with it.

    Attributes:
        stages: Text of `--stages`.
        pretraining: What the network learns from before any record; None means what
            the stages ask for.
        parameterisation: What the network is wrapped in; None means "gaussian" where
            a stage is Gaussian, else "edm".
        cuts: The two sigmas between the intervals of a mixture; None for none.
        shares: Shares of the draws below, between and above the cuts.
    """

    stages: str
    pretraining: Pretraining | None = None
    parameterisation: Parameterisation | None = None
    cuts: tuple[float, float] | None = None
    shares: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def stages_for(self, gaussian_above: float) -> str:
        """Return the text of `--stages`, for images of one size.

        Args:
            gaussian_above: Where a Gaussian answers alone in `best`, in data units.
        """
        return self.stages.replace("{gaussian_above}", f"{gaussian_above:g}")


PRESETS = {
    "dpdm": Preset(stages=ALL_PRIVATE, pretraining="none", parameterisation="edm"),
    "syngen-coarse": Preset(stages="coarse=synthetic,context=private,cleaning=private"),
    "syngen-cleaning": Preset(
        stages="coarse=private,context=private,cleaning=synthetic"
    ),
    "syngen-finetune": Preset(stages=ALL_PRIVATE, pretraining="synthetic"),
    "finetune-mixture": Preset(
        stages=ALL_PRIVATE,
        pretraining="synthetic",
        parameterisation="edm",
        cuts=(0.1, 5.0),
        shares=(0.1, 0.7, 0.2),
    ),
    "best": Preset(
        stages="coarse=gaussian@{gaussian_above},context=private,cleaning=private",
        pretraining="synthetic",
        parameterisation="gaussian",
    ),
}


def resolve(text: str | None) -> Preset:
    """Turn the text of `--stages` into an allocation.

    Args:
        text: None: every stage private. Empty: DP-SynGen's allocation. The name of a
            preset, or the grammar of `privplan.stages`.

    Example:
        >>> resolve("syngen-finetune").pretraining
        'synthetic'
        >>> resolve("").stages
        'coarse=synthetic,context=private,cleaning=synthetic'
    """
    if text is None:
        return Preset(stages=ALL_PRIVATE)
    return PRESETS.get(text.strip(), Preset(stages=text.strip() or DEFAULT))


def stages_of(
    stages: str | None,
    parameterisation: Parameterisation | None = None,
    *,
    begun: bool = False,
    in_latents: bool = False,
    records_per_unit: int = 1,
) -> str:
    """Return the stages that are asked for, or what is planned where none are.

    `best`, wherever it can be: it decides on a parameterisation itself, prepares its
    own network on drawn images, and its query is for units of one record. Else every
    stage is private; a network that was trained elsewhere brings its parameterisation.

    Args:
        stages: What was asked for.
        parameterisation: Pinned by the user; None for whatever goes with the stages.
        begun: Whether the network is one that was trained elsewhere.
        in_latents: Whether records are latents, beside which nothing can be drawn.
        records_per_unit: Most records of one unit of privacy.

    Example:
        >>> stages_of(None), stages_of(None, "v"), stages_of(None, in_latents=True)
        ('best', 'dpdm', 'dpdm')
        >>> stages_of(None, begun=True)
        'coarse=private,context=private,cleaning=private'
    """
    if stages is not None:
        return stages
    if begun:
        return ALL_PRIVATE
    fits = parameterisation is None and not in_latents and records_per_unit == 1
    return "best" if fits else "dpdm"
