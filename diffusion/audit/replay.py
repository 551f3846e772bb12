"""The replay audit: every release of a plan, on every adversarial neighbour."""

from diffusion.audit.common import Progress, silent
from diffusion.neighbours import pairs
from diffusion.releases import of_plan
from diffusion.replay import replay
from diffusion.watching import RunOptions
from privplan.measured import Measured
from privplan.plan import Plan


def audit(
    plan: Plan, options: RunOptions, *, progress: Progress = silent
) -> list[Measured]:
    """Replay neighbours through every release of a plan.

    Args:
        plan: The plan.
        options: Engine and device.
        progress: Told how far it is.
    """
    releases = of_plan(plan, options)
    found: list[Measured] = []
    for index, release in enumerate(releases):
        progress(f"replay of {release.name}", index, len(releases))
        found += replay(release, pairs(plan.data))
    progress("replay", len(releases), len(releases))
    return found
