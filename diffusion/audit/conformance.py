"""The conformance audit: noise, share and sampling of a plan's own steps, at length.

The mechanism is the plan's: its rate, noise, C, divisor and clipping. The records are
canaries in gradient space, so that each number of a noised sum is share plus noise of a
known law. Tests of two hundred thousand numbers see one per cent.
"""

import torch

from diffusion import laws
from diffusion.audit.common import Progress, silent
from diffusion.blueprint import engine_name, mechanism_of
from diffusion.canaries import Steps, carry_out
from diffusion.per_example import engine
from diffusion.randomness import RandomSource
from diffusion.watching import RunOptions
from privplan import checks
from privplan.measured import Measured
from privplan.plan import Plan, PrivatePhase

COORDINATES = 200_000
CANARIES = 2_000
FALSE_ALARM = 1e-6
_AT_ONCE = 10


def audit(
    plan: Plan,
    options: RunOptions,
    *,
    coordinates: int = COORDINATES,
    progress: Progress = silent,
) -> list[Measured]:
    """Hold the private steps of a plan to their laws.

    Args:
        plan: The plan; nothing is measured of one without private steps.
        options: Engine.
        coordinates: Numbers to test the noise on, in each phase.
        progress: Told how far it is.

    Raises:
        ParameterError: `coordinates` is below one.
    """
    checks.count(coordinates=coordinates)
    found: list[Measured] = []
    for phase in plan.private_phases:
        found += _phase(phase, options, coordinates, progress)
    return found


def _phase(
    phase: PrivatePhase, options: RunOptions, coordinates: int, progress: Progress
) -> list[Measured]:
    mechanism = mechanism_of(phase)
    rule = mechanism.adaptive
    noise = mechanism.noise_multiplier
    if rule is not None:
        noise = rule.gradient_noise_multiplier(noise)
    steps = max(-(-coordinates // CANARIES), 2)
    parts = []
    for done in range(0, steps, _AT_ONCE):
        progress(f"steps of {phase.name}", done, steps)
        parts.append(
            carry_out(
                mechanism,
                engine(engine_name(options, phase)),
                steps=min(_AT_ONCE, steps - done),
                members=torch.arange(CANARIES),
                width=CANARIES,
                random=RandomSource(),
            )
        )
    progress(f"steps of {phase.name}", steps, steps)
    return laws.of_steps(
        Steps(
            sums=torch.cat([part.sums for part in parts]),
            sampled=torch.cat([part.sampled for part in parts]),
        ),
        noise_multiplier=noise,
        sample_rate=mechanism.sample_rate,
        false_alarm=FALSE_ALARM,
    )
