"""The folded engine: per-record gradients at the cost of an ordinary step.

One forward and one backward over all K * B rows. The K draws of a record are folded
into the positions that each layer sums over anyway, so every rule returns the gradient
of a record's *mean* loss: K never multiplies memory, and there is one clip per record.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffusion.clipping import Clipping
from diffusion.engines.interception import Interception
from diffusion.engines.recompute import Recompute
from diffusion.engines.record_gradients import RecordGradient, clip_and_sum, empty_sum
from diffusion.engines.refusals import (
    PROBE_RECORDS,
    Named,
    Probed,
    check_rows_stand_alone,
    missing_gradient,
    probe_rows,
    reached,
    trainable,
    unchanged_state,
    uncovered_use,
)
from diffusion.engines.rows import RowLoss, Rows, check_rows, record_losses
from diffusion.engines.tape import Tape
from privplan.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Uncovered:
    """The parameters that a model uses where no rule sees them."""

    names: tuple[str, ...]

    def error(self) -> ParameterError:
        """Return the refusal that names them."""
        return uncovered_use(self.names)


class FoldedEngine:
    """One forward, one backward, one rule per layer."""

    name = "folded"

    def __init__(self) -> None:
        self._probed = Probed()

    def clipped_sum(
        self,
        model: nn.Module,
        row_loss: RowLoss,
        rows: Rows,
        *,
        records: int,
        noise_multiplicity: int,
        clipping: Clipping,
    ) -> list[Tensor]:
        """See `diffusion.per_example.PerExampleEngine.clipped_sum`."""
        found = self.attempt(
            model,
            row_loss,
            rows,
            records=records,
            noise_multiplicity=noise_multiplicity,
            clipping=clipping,
        )
        if isinstance(found, Uncovered):
            raise found.error()
        return found

    def attempt(
        self,
        model: nn.Module,
        row_loss: RowLoss,
        rows: Rows,
        *,
        records: int,
        noise_multiplicity: int,
        clipping: Clipping,
    ) -> list[Tensor] | Uncovered:
        """Do the same, but answer rather than raise where a rule is missing."""
        named = trainable(model)
        check_rows(rows, records=records, noise_multiplicity=noise_multiplicity)
        if records == 0:
            return empty_sum((p for _, p in named), clipping)
        missed = self._probe(model, row_loss, rows, named)
        if missed:
            return Uncovered(missed)
        tape = Tape(
            [parameter for _, parameter in named],
            records=records,
            draws=noise_multiplicity,
        )
        losses = _forward(model, row_loss, rows, tape)
        missed = reached(losses, named)
        if missed:
            return Uncovered(missed)
        loss = record_losses(
            losses, records=records, noise_multiplicity=noise_multiplicity
        ).sum()
        try:
            torch.autograd.grad(loss, tape.anchor, allow_unused=True)
            with torch.no_grad():  # what the layers kept still knows the graph
                return clip_and_sum(
                    _gradients(tape, named), [p.shape for _, p in named], clipping
                )
        finally:
            tape.forget()

    def _probe(
        self, model: nn.Module, row_loss: RowLoss, rows: Rows, named: Named
    ) -> tuple[str, ...]:
        """Look once, on public rows: do they stand alone, is no rule missing?

        Two sizes are tried, so that a tensor whose leading size equals the number of
        rows by accident is not taken for rows.
        """
        if self._probed.knows(model, row_loss):
            return ()
        with torch.random.fork_rng():
            for records in (PROBE_RECORDS - 2, PROBE_RECORDS):
                tape = Tape([p for _, p in named], records=records, draws=1)
                losses = _forward(model, row_loss, probe_rows(rows, records), tape)
                missed = reached(losses, named)
                if missed:
                    return missed
        with unchanged_state(model):
            check_rows_stand_alone(model, row_loss, rows)
        self._probed.remember(model, row_loss)
        return ()


def _forward(model: nn.Module, row_loss: RowLoss, rows: Rows, tape: Tape) -> Tensor:
    recompute = Recompute()
    with (
        torch.enable_grad(),
        unchanged_state(model),
        recompute,
        Interception(tape, recompute),
    ):
        return row_loss(model, rows)


def _gradients(tape: Tape, named: Named) -> list[RecordGradient]:
    found = [(name, tape.read(parameter)) for name, parameter in named]
    missing = [name for name, gradient in found if gradient is None]
    if missing:
        raise missing_gradient(missing)
    return [gradient for _, gradient in found if gradient is not None]
