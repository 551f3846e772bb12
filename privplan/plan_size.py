"""How many parameters a plan trains on private records.

Noise enters each of them, so this number says how far a budget goes.
"""

from __future__ import annotations

from privplan.parameter_count import NetworkShape, parameter_count
from privplan.plan_parts import PlanData, PlanTraining


def trained_parameters(data: PlanData, training: PlanTraining) -> int:
    """Return P, the number of parameters that private steps change.

    Args:
        data: Shape of the images and number of classes.
        training: The network.
    """
    net = training.network
    return parameter_count(
        NetworkShape(
            channels=data.channels,
            height=data.height,
            width=data.width,
            classes=data.classes,
            base_width=net.base_width,
            width_multipliers=net.width_multipliers,
            blocks=net.blocks,
            attention_resolutions=net.attention_resolutions,
            patch=net.patch,
            guide_channels=(
                data.channels if training.parameterisation == "gaussian" else 0
            ),
        )
    )
