"""Named allocations: what published systems do, and what measurement favours.

    dpdm             every stage private, from scratch
    syngen-coarse    coarse learns from synthetic images, the rest is private
    syngen-cleaning  cleaning learns from synthetic images, the rest is private
    syngen-finetune  every stage private, after training on synthetic images
    best             one Gaussian query for the coarse stage, which also preconditions
                     the network; synthetic images first; the rest private

`best` is what our own measurements on small images favour (docs/stages.md); no name
here changes what a private step costs.

Source: Dockhorn et al. 2023, arXiv:2210.09929 (dpdm); DP-SynGen, arXiv:2412.09842,
whose thresholds and step split are not known to us, so these are ours.
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
    """

    stages: str
    pretraining: Pretraining | None = None
    parameterisation: Parameterisation | None = None


PRESETS = {
    "dpdm": Preset(stages=ALL_PRIVATE, pretraining="none", parameterisation="edm"),
    "syngen-coarse": Preset(stages="coarse=synthetic,context=private,cleaning=private"),
    "syngen-cleaning": Preset(
        stages="coarse=private,context=private,cleaning=synthetic"
    ),
    "syngen-finetune": Preset(stages=ALL_PRIVATE, pretraining="synthetic"),
    "best": Preset(
        stages="coarse=gaussian,context=private,cleaning=private",
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
