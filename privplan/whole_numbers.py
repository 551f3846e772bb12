"""Training in whole numbers: which plans can be carried out so, and what to do if not.

Asked for with `--arithmetic discrete`. Everything here is a rule of public constants,
asked when a plan is made and again before it is carried out.

Covered: one private phase, whatever its stages, its sharing and the queries beside it;
the queries keep float64. Not covered: C that follows the gradients, because the count
inside the step has no whole-number form here; large networks, because every record
takes a backward pass of its own; and noise beyond what the grid holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from privplan import plan_size
from privplan.errors import ParameterError
from privplan.plan_parts import PlanData, PlanPhase, PlanTraining, PrivatePhase

MAX_PARAMETERS = 100_000
MOST_NOISE = 32.0


def check(data: PlanData, training: PlanTraining, phases: Sequence[PlanPhase]) -> None:
    """Refuse a plan that cannot be trained in whole numbers as it says.

    Args:
        data: Shape of the images.
        training: The network.
        phases: Those that train in floats are not looked at.

    Raises:
        ParameterError: Clipping is adaptive, the network too large or the noise too
            much.
    """
    for phase in phases:
        if isinstance(phase, PrivatePhase) and phase.in_whole_numbers:
            check_clipping(phase.clipping)
            _check_noise(phase.mechanism.noise_multiplier)
            _check_size(plan_size.trained_parameters(data, training))


def check_clipping(clipping: str) -> None:
    """Refuse a C that follows the gradients.

    Raises:
        ParameterError: It does.
    """
    if clipping == "adaptive":
        raise ParameterError(
            "--arithmetic discrete needs a fixed C, and with adaptive clipping C moves",
            hint="use --clipping fixed or normalised, or --arithmetic float64",
        )


def _check_noise(noise_multiplier: float) -> None:
    if not noise_multiplier <= MOST_NOISE:
        raise ParameterError(
            f"this plan needs a noise multiplier of {noise_multiplier:g}, and whole "
            f"numbers hold at most {MOST_NOISE:g}",
            hint="lower --steps or --sample-rate, raise --eps, or use --arithmetic "
            "float64",
        )


def _check_size(parameters: int) -> None:
    if not parameters <= MAX_PARAMETERS:
        raise ParameterError(
            f"the network trains {parameters:,} parameters, and --arithmetic discrete "
            f"is offered up to {MAX_PARAMETERS:,}",
            hint="plan for smaller images with --image-size, which take a smaller "
            "network, or use --arithmetic float64",
        )
