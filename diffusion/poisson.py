"""Poisson sampling: the only code that chooses who is in a batch.

Each record is in the batch with probability `sample_rate`, independently of every
other record and of every other step. That, and not shuffling, is what the accountant
counts: the same noise with shuffled batches can cost several times the epsilon. So
there is no other sampler here, and the trainer takes no data loader from outside.

The size of a batch is random and private. It is never logged, never a divisor, and an
empty batch is a step like any other.

Source: Balle, Barthe & Gaboardi 2018, arXiv:1807.01647; Chua et al. 2024,
arXiv:2403.17673 (the gap to shuffling).
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from diffusion.randomness import SecureStream
from privplan import checks


def poisson_batch(
    stream: SecureStream, *, records: int, sample_rate: float
) -> Int64[Tensor, " batch"]:
    """Choose the records of one step.

    Args:
        stream: Fresh randomness of this step.
        records: How many records there are; at least 1.
        sample_rate: Probability of each record; above 0, at most 1.

    Returns:
        Indices in increasing order; possibly none.

    Raises:
        ParameterError: A number is outside its range.

    Example:
        >>> from diffusion.randomness import RandomSource
        >>> poisson_batch(RandomSource().stream(), records=3, sample_rate=1.0)
        tensor([0, 1, 2])
    """
    checks.count(records=records)
    chosen = np.flatnonzero(stream.below(sample_rate, records))
    return torch.from_numpy(chosen.astype(np.int64))
