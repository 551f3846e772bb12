"""How much of the processor a run uses; never changes what it computes.

The tensors of small images are so small that a second thread costs more time in
waiting for the first than it saves: on 8 x 8 digits two threads took four times as long
as one. So small images run on one thread. Freed memory is kept for the next step, where
the C library can be told to.

Edges: changes settings of this process while the block runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffusion.engines.heap import keep_freed_memory
from privplan.plan import Plan

_SMALL_PIXELS = 16 * 16


@contextmanager
def tuned_for(plan: Plan) -> Iterator[None]:
    """Use as many threads as the images of a plan are worth, while the block runs."""
    keep_freed_memory()
    with threads_for(plan.data.height, plan.data.width):
        yield


@contextmanager
def threads_for(height: int, width: int) -> Iterator[None]:
    """Use one thread for small images while the block runs, else what is set.

    Args:
        height: Rows of an image, in pixels.
        width: Columns of an image, in pixels.
    """
    before = torch.get_num_threads()
    try:
        if height * width <= _SMALL_PIXELS:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
