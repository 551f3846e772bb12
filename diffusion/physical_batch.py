"""How many records go through the network at once, found by trying on public rows.

The memory of a pass is a constant plus so much for each record: activations of its K
rows, and its gradient. Two passes over public rows of the same shapes show both, and
the rest is a division. Private rows are never tried: what does not fit would raise, and
an exception that one batch can trigger is a release nobody accounted for.

The choice decides memory and speed only; the clipped sum does not depend on it.

On a CPU the bytes of tensors are counted, scratch space inside kernels not; the bound
is a quarter of a gibibyte: a pass of four times that was no faster, and where batches
differ from step to step the process grew to ten times its pass. On a GPU torch's
allocator counts, and half of what is free may be used.
"""

import torch
from torch import nn

from diffusion.engines.live_bytes import LiveBytes
from diffusion.engines.refusals import probe_rows
from diffusion.per_example import Clipping, PerExampleEngine, RowLoss, Rows
from privplan import checks

CPU_BYTES = 2**28
_FEW, _MORE = 1, 3
_MOST_RECORDS = 4096


class PhysicalBatch:
    """The records per pass: given, or found on the first step and then kept.

    Args:
        records: Records per pass; None tries.
        limit_bytes: The most a pass may hold at its peak, beyond the network and the
            optimiser; None takes the bound of the device.

    Raises:
        ParameterError: A number is below one.
    """

    def __init__(
        self, records: int | None = None, *, limit_bytes: int | None = None
    ) -> None:
        if records is not None:
            checks.count(physical_batch_size=records)
        if limit_bytes is not None:
            checks.count(limit_bytes=limit_bytes)
        self._records, self._limit = records, limit_bytes

    def records(
        self,
        chosen: PerExampleEngine,
        model: nn.Module,
        row_loss: RowLoss,
        like: Rows,
        *,
        noise_multiplicity: int,
    ) -> int:
        """Return the records per pass, at least one.

        Args:
            chosen: The engine.
            model: As the engine gets it.
            row_loss: As the engine gets it.
            like: Public rows of the right shapes, types and device; only those count.
            noise_multiplicity: K.

        Raises:
            ParameterError: The engine refuses the model.
        """
        if self._records is None:
            device = like[0].device
            few, more = (
                _peak_bytes(
                    chosen,
                    model,
                    row_loss,
                    like,
                    records=records,
                    noise_multiplicity=noise_multiplicity,
                )
                for records in (_FEW, _MORE)
            )
            limit = self._limit or _bound(device)
            self._records = _fitting(few, more, limit)
        return self._records


def _fitting(few: int, more: int, limit: int) -> int:
    """Solve constant + slope * records <= limit for whole records, from two points."""
    slope = max((more - few) // (_MORE - _FEW), 1)
    constant = max(few - slope * _FEW, 0)
    return min(max((limit - constant) // slope, 1), _MOST_RECORDS)


def _bound(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) // 2


def _peak_bytes(
    chosen: PerExampleEngine,
    model: nn.Module,
    row_loss: RowLoss,
    like: Rows,
    *,
    records: int,
    noise_multiplicity: int,
) -> int:
    """Return what one pass over public rows holds at its peak."""

    def one_pass() -> None:
        chosen.clipped_sum(
            model,
            row_loss,
            rows,
            records=records,
            noise_multiplicity=noise_multiplicity,
            clipping=Clipping(max_grad_norm=1.0),
        )

    with torch.random.fork_rng():
        rows = probe_rows(like, records * noise_multiplicity)
        one_pass()  # the first pass of an engine also tries the model: not counted
        if rows[0].device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(rows[0].device)
            before: int = torch.cuda.memory_allocated(rows[0].device)
            one_pass()
            peak: int = torch.cuda.max_memory_allocated(rows[0].device)
            return peak - before
        counted = LiveBytes()
        with counted:
            one_pass()
        return counted.peak
