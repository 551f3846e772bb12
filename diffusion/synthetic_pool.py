"""The images of a synthetic phase: a pool drawn by programs, with pseudo-labels.

The pool is drawn once from the plan's public seed. Its labels are clusters, found
without looking at any record, so that the network learns what a label is for before it
meets a real one.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from diffusion.synthetic import generate, pseudo_labels
from privplan.plan import Plan, SyntheticPhase

POOL_SIZE = 8192


class SyntheticPool:
    """Labelled synthetic images, the same for the same plan."""

    def __init__(self, plan: Plan, phase: SyntheticPhase) -> None:
        data = plan.data
        self._pictures = generate(
            phase.generator,
            max(min(POOL_SIZE, phase.steps * phase.batch_size), data.classes),
            channels=data.channels,
            height=data.height,
            width=data.width,
            seed=phase.seed,
        )
        self._labels = pseudo_labels(self._pictures, data.classes, phase.seed)
        self._phase = phase

    def batch(
        self, step: int
    ) -> tuple[Float[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]:
        """Return the images of one step; the same for the same step."""
        generator = torch.Generator().manual_seed(self._phase.seed + step)
        chosen = torch.randint(
            len(self._pictures), (self._phase.batch_size,), generator=generator
        )
        return self._pictures[chosen], self._labels[chosen]
