"""How many private steps to reserve at once, found out without the records.

Writing a reservation to disk is worth it when steps are long and is felt when they are
short. Which of the two it is, is timed before the first step: the disk by scratch
writes beside the ledger, the step on grey pictures of the planned shape, in the number
the plan expects. Timing real steps would let the sizes of private batches choose the
blocks, and the blocks are written down.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from diffusion.loss import Rows, draw_rows
from diffusion.per_example import accumulate
from diffusion.trainer import Learner, LossSettings, Mechanism, Performance
from privplan.ledger_blocks import COST_SHARE, block_size, commit_seconds, most_burnt
from privplan.plan import PlanData

_TIMINGS = 2


def block(
    folder: Path,
    steps: int,
    learner: Learner,
    shape: PlanData,
    *,
    mechanism: Mechanism,
    loss: LossSettings,
    performance: Performance,
) -> int:
    """Choose how many private steps to reserve at once.

    Args:
        folder: Where the ledger is.
        steps: Steps of the phase.
        learner: Its network is timed and not changed.
        shape: Declared shape of the pictures.
        mechanism: Expected batch and noise draws.
        loss: How rows are drawn and judged.
        performance: Engine, physical batch and device.

    Raises:
        LedgerError: The folder cannot be written.
    """
    if most_burnt(steps) == 1:
        return 1
    disk = commit_seconds(folder)
    times: list[float] = []
    # The first pass warms up; a step so long that blocks cannot help ends it there.
    while len(times) < _TIMINGS and not (times and COST_SHARE * times[-1] > disk):
        times.append(
            _rehearse(
                learner, shape, mechanism=mechanism, loss=loss, performance=performance
            )
        )
    return block_size(steps=steps, step_seconds=min(times), commit_seconds=disk)


def _rehearse(
    learner: Learner,
    shape: PlanData,
    *,
    mechanism: Mechanism,
    loss: LossSettings,
    performance: Performance,
) -> float:
    """Time the gradient of one physical batch, in seconds per expected share."""
    expected = math.ceil(mechanism.expected_batch_size / performance.ranks.count)
    rows, _ = next(_grey(1, shape, mechanism, loss, performance))
    fit = performance.physical_batch.records(
        performance.engine,
        learner.network,
        loss.row_loss,
        rows,
        noise_multiplicity=mechanism.noise_multiplicity,
    )
    records = max(1, min(fit, expected))
    _wait(performance.device)
    began = time.perf_counter()
    accumulate(
        performance.engine,
        learner.network,
        loss.row_loss,
        _grey(records, shape, mechanism, loss, performance),
        noise_multiplicity=mechanism.noise_multiplicity,
        clipping=mechanism.clipping,
    )
    _wait(performance.device)
    passes = math.ceil(expected / records)
    took: float = time.perf_counter() - began
    return took * passes


def _grey(
    records: int,
    shape: PlanData,
    mechanism: Mechanism,
    loss: LossSettings,
    performance: Performance,
) -> Iterator[tuple[Rows, int]]:
    rows = draw_rows(
        torch.zeros(records, shape.channels, shape.height, shape.width),
        torch.zeros(records, dtype=torch.int64),
        noise_multiplicity=mechanism.noise_multiplicity,
        law=loss.law,
        label_dropout=loss.label_dropout,
        null_label=loss.null_label,
        generator=torch.Generator().manual_seed(0),
    )
    yield tuple(row.to(performance.device) for row in rows), records


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
