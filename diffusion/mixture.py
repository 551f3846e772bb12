"""The mixture: a synthetic gradient beside the private one, after its noise.

    private batch --clip, sum--> + noise --> / expected batch size --> + --> optimiser
    synthetic batch --> gradient --> scaled to length  weight * C -----^

The synthetic gradient depends on weights that are already released, on public images
and on public randomness. Added where it is, it is post-processing and costs nothing.
Put into the clipped sum, used to fill up the Poisson batch, or counted in its divisor,
it would make one record's coming or going move more than C. So it has its own batch,
of a size the plan fixes, and meets the private gradient when that has its noise.

The private mean has length C at most, hence the scale.

Units: gradients as in `diffusion.trainer`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffusion.loss import draw_rows
from diffusion.pools import Pool
from diffusion.randomness import RandomSource
from diffusion.ranks import ALONE, Ranks
from diffusion.step_parts import Learner, LossSettings, public_gradient
from privplan import checks


def synthetic_gradient(
    pool: Pool,
    loss: LossSettings,
    *,
    length: float,
    random: RandomSource,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Callable[[Learner], list[Tensor]]:
    """Return what a mixture adds to each privatised gradient.

    Args:
        pool: Synthetic images with pseudo-labels.
        loss: Restricted to the synthetic sigmas.
        length: L2 length of the gradient over all parameters, in gradient units.
        random: Randomness of the loss.
        device: Where the network lives.
        ranks: The processes that share the synthetic batch out.

    Returns:
        A function of the learner; one tensor per trainable parameter. Zeros where the
        gradient has no direction.

    Raises:
        ParameterError: `length` is not a positive finite number.
    """
    checks.positive(length=length)

    def beside(learner: Learner) -> list[Tensor]:
        pictures, labels = pool.batch(learner.steps_done)
        rows = draw_rows(
            pictures,
            labels,
            noise_multiplicity=1,
            law=loss.law,
            label_dropout=loss.label_dropout,
            null_label=loss.null_label,
            generator=ranks.generator(random),
        )
        gradient = public_gradient(
            learner.network, loss.row_loss, rows, device=device, ranks=ranks
        )
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradient))
        if not (0 < norm < math.inf):
            return [torch.zeros_like(g) for g in gradient]
        return [g * (length / norm) for g in gradient]

    return beside
