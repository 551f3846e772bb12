"""Which parameters a plan trains on private records, and how many.

Noise enters each of them, so their number says how far a budget goes.
"""

from __future__ import annotations

from privplan import tuning
from privplan.borrowed import PlanBorrowed, layer_of
from privplan.errors import ParameterError
from privplan.parameter_count import Layer, NetworkShape, layers_of
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
    return sum(sum(layer.parameters.values()) for layer in layers(data, training))


def selected(data: PlanShape, training: PlanTraining) -> Selection:
    """Return what private steps change, by the names of the network's parameters.

    Raises:
        ParameterError: The network lacks a part that is to be tuned.
    """
    return tuning.select(tuning.parse(training.tune), layers(data, training))


def layers(data: PlanShape, training: PlanTraining) -> tuple[Layer, ...]:
    """Return every layer of a plan's network that holds parameters.

    Raises:
        DocumentError: A borrowed network has a line that describes no layer.
    """
    if isinstance(training.network, PlanBorrowed):
        return tuple(layer_of(text) for text in training.network.layers)
    return layers_of(shape_of(data, training))


def shape_of(data: PlanShape, training: PlanTraining) -> NetworkShape:
    """Return the shape of a plan's own network, a guide's channels included.

    Raises:
        ParameterError: The network is borrowed.
    """
    net = training.network
    if isinstance(net, PlanBorrowed):
        raise ParameterError(
            f"a {net.kind} is described by its own configuration",
            hint="build it through diffusion.blueprint",
        )
    return NetworkShape(
        channels=data.channels,
        height=data.height,
        width=data.width,
        classes=data.classes,
        base_width=net.base_width,
        width_multipliers=net.width_multipliers,
        blocks=net.blocks,
        attention_resolutions=net.attention_resolutions,
        patch=net.patch,
        guide_channels=data.channels if training.parameterisation == "gaussian" else 0,
    )
