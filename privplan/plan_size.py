"""Which parameters a plan trains on private records, and how many.

Noise enters each of them, so their number says how far a budget goes.
"""

from __future__ import annotations

from privplan import tuning
from privplan.parameter_count import NetworkShape, layers_of, parameter_count
from privplan.plan_parts import PlanShape, PlanTraining
from privplan.tuning import Selection


def trained_parameters(data: PlanShape, training: PlanTraining) -> int:
    """Return P, the number of parameters that private steps change.

    Args:
        data: Shape of the images and number of classes.
        training: The network, and what of it is tuned.

    Raises:
        ParameterError: The network lacks a part that is to be tuned.
    """
    return selected(data, training).count


def all_parameters(data: PlanShape, training: PlanTraining) -> int:
    """Return the number of parameters of the network, thin products aside."""
    return parameter_count(shape_of(data, training))


def selected(data: PlanShape, training: PlanTraining) -> Selection:
    """Return what private steps change, by the names of the network's parameters.

    Raises:
        ParameterError: The network lacks a part that is to be tuned.
    """
    return tuning.select(
        tuning.parse(training.tune), layers_of(shape_of(data, training))
    )


def shape_of(data: PlanShape, training: PlanTraining) -> NetworkShape:
    """Return the shape of a plan's network, a guide's channels included."""
    net = training.network
    return NetworkShape(
        channels=data.channels,
        height=data.height,
        width=data.width,
        classes=data.classes,
        base_width=net.base_width,
        width_multipliers=net.width_multipliers,
        blocks=net.blocks,
        attention_resolutions=net.attention_resolutions,
        guide_channels=data.channels if training.parameterisation == "gaussian" else 0,
    )
