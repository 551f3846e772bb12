"""What a plan on captions may hold: a network that reads them, and nothing by class.

Asked when a plan is made, where the answer is a refusal with a way out, and of every
plan that is read, where it is a contradiction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from privplan.borrowed import PlanBorrowed, PlanText
from privplan.plan_parts import (
    GaussianPhase,
    PlanData,
    PlanPhase,
    PlanTraining,
    PublicPhase,
    QueryPhase,
    SyntheticPhase,
)

_BY_CLASS = GaussianPhase | QueryPhase
_WITHOUT_CAPTIONS = SyntheticPhase | PublicPhase


def problem(
    data: PlanData, phases: Sequence[PlanPhase], training: PlanTraining
) -> tuple[str, str] | None:
    """Return what is wrong with a plan on captions, and what to do; None for nothing.

    Args:
        data: Names the column of captions; without one there is no such problem.
        phases: All of the plan.
        training: Names the text encoder.
    """
    column, text = data.caption_column, training.text
    if column is None and text is None:
        return None
    if text is None:
        return (
            "nothing reads them",
            "begin from a network that was taken with privplan pretrain "
            "--from-diffusers UNET --text-encoder FOLDER",
        )
    if column is None:
        return (
            "its network reads captions, and no column holds any",
            "name it with --caption-column",
        )
    if data.classes != 1:
        return "records have a caption and a class", "leave --classes away"
    if not _fits(training.network, text):
        return (
            f"the network does not take {text.width} numbers per token",
            "take the network and its text encoder from one pipeline",
        )
    return _phase_problem(phases)


def _phase_problem(phases: Sequence[PlanPhase]) -> tuple[str, str] | None:
    for phase in phases:
        if isinstance(phase, _BY_CLASS):
            return f"phase '{phase.name}' asks for classes", "plan without queries"
        if isinstance(phase, _WITHOUT_CAPTIONS):
            return (
                f"the images of phase '{phase.name}' have no captions",
                "leave stages and --pretrain of synthetic or public images away",
            )
    return None


def _fits(network: object, text: PlanText) -> bool:
    """Return whether a network takes what an encoder gives."""
    if not isinstance(network, PlanBorrowed) or network.kind != "UNet2DConditionModel":
        return False
    try:
        settings = json.loads(network.config)
    except ValueError:
        return False
    return isinstance(settings, dict) and settings.get("cross_attention_dim") == (
        text.width
    )
