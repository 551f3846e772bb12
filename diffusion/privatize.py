"""Gaussian noise on a clipped sum: the one place where privacy is made.

The sum arrives with L2 sensitivity C: adding or removing one record moves it by at
most C. Here it gets independent Gaussian noise of standard deviation
`noise_multiplier * C` in every coordinate, in float64, and is rounded to a public grid
of powers of two.

Why the grid: the float64 values that `sum + noise` can take depend on the sum's own
last bits, so an adversary who reads the low bits can tell two sums apart whatever the
noise. On a grid that both worlds share that event is gone. (It is a hardening, not a
proof: a proof needs integer sums and discrete noise.)

The divisor is the *expected* batch size, a constant of the plan. The true size is
private; dividing by it would release it.

Source: Abadi et al. 2016, Algorithm 1, arXiv:1607.00133; Mironov 2012,
doi:10.1145/2382196.2382264.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffusion.randomness import SecureStream
from privplan import checks

GRID_BITS = 20


def grid_step(noise_std: float) -> float:
    """Return the spacing of the public grid: a power of two, 2^-20 of the noise.

    Args:
        noise_std: Standard deviation of the noise, in gradient units; public.

    Example:
        >>> grid_step(1.0) == 2.0**-20
        True
    """
    checks.positive(noise_std=noise_std)
    return math.ldexp(1.0, math.floor(math.log2(noise_std)) - GRID_BITS)


def noisy_sum(
    clipped_sum: Sequence[Tensor],
    *,
    stream: SecureStream,
    noise_multiplier: float,
    max_grad_norm: float,
) -> list[Tensor]:
    """Add the planned noise to every tensor of a clipped sum.

    Args:
        clipped_sum: One tensor per parameter; together of L2 sensitivity
            `max_grad_norm`. Zeros where the batch was empty.
        stream: Fresh randomness of this step; never used again.
        noise_multiplier: Noise standard deviation over `max_grad_norm`.
        max_grad_norm: C, in gradient units.

    Returns:
        float64 tensors of the same shapes, on the public grid, on the same devices.

    Raises:
        ParameterError: A number is not positive and finite.

    Example:
        >>> from diffusion.randomness import RandomSource
        >>> noisy = noisy_sum(
        ...     [torch.zeros(2, 3)],
        ...     stream=RandomSource().stream(),
        ...     noise_multiplier=1.0,
        ...     max_grad_norm=0.5,
        ... )
        >>> noisy[0].shape, noisy[0].dtype
        (torch.Size([2, 3]), torch.float64)
    """
    checks.positive(noise_multiplier=noise_multiplier, max_grad_norm=max_grad_norm)
    noise_std = noise_multiplier * max_grad_norm
    step = grid_step(noise_std)
    noisy = []
    for part in clipped_sum:
        noise = torch.from_numpy(np.asarray(stream.normals(part.numel())))
        value = part.detach().double().cpu().flatten() + noise_std * noise
        on_grid = torch.round(value / step) * step
        noisy.append(on_grid.view(part.shape).to(part.device))
    return noisy
