"""The engine on this network, held against plain autograd, one record after the other.

The truth is slow and simple: the mean loss of one record's draws, differentiated by
autograd in float64, its length taken over all parameters. The engine is shown the same
rows, together and one by one, also in float64, so that nothing but a mistake tells the
two apart.

    gradients    each record alone, unclipped         = autograd
    batch        all together, clipped                = sum of min(1, C / norm) g
    bound        hostile rows, network's own type     length <= C
    broken rows  NaN and infinity beside others       = the others alone
    neighbours   a record more, or another one        only its own share changes
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffusion.clipping import STABILITY
from diffusion.loss import RowLoss, Rows
from diffusion.per_example import Clipping, PerExampleEngine, accumulate, split_records
from diffusion.preflight.findings import Check, at_most
from diffusion.rehearsal import widened

EXACT = 1e-6
"""Relative to C or to a norm, in float64: sums of millions of terms keep 9 digits, the
allowance for rounding of outer forms takes a few."""

ROUNDED = 1e-3
"""Relative to C in the network's own type: float32, or the ten bits of TF32."""

_PIECE = 2  # fewer than the records, so that batches are cut as in training

_ENGINE = (
    "choose another engine with --engine (vmap takes most layers, loop all); do not "
    "train with this one"
)
_HOSTILE = (
    ("zero", 0.0),
    ("tiny", 1e-30),
    ("huge", 1e30),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """An engine, a network and rows to try them on.

    Attributes:
        engine: The engine that will train.
        network: A copy that may be changed.
        row_loss: The loss that will train.
        wide_loss: The same for a network and rows in float64.
        rows: Made-up rows, K-major.
        records: How many records they are of.
        draws: K of these rows.
        clipping: The kind of clipping that will train; C is set by the checks.
    """

    engine: PerExampleEngine
    network: nn.Module
    row_loss: RowLoss
    wide_loss: RowLoss
    rows: Rows
    records: int
    draws: int
    clipping: Clipping

    def clipped(
        self, chosen: Sequence[int], bound: float, rows: Rows | None = None
    ) -> Tensor:
        """Return the engine's clipped sum over some records, flat, float64."""
        shown = _pick(rows or self.rows, chosen, self.records)
        pieces = split_records(shown, records=len(chosen), physical_batch_size=_PIECE)
        kind = self.clipping.kind
        found = accumulate(
            self.engine,
            self.network,
            self.row_loss,
            pieces,
            noise_multiplicity=self.draws,
            clipping=Clipping(max_grad_norm=bound, kind=kind),
        )
        trained = [p for p in self.network.parameters() if p.requires_grad]
        return torch.cat(
            [part.detach().flatten().cpu() for part in found[: len(trained)]]
        )

    def plain(self, record: int) -> list[Tensor]:
        """Return one record's gradient by plain autograd; zeros where there is none."""
        shown = _pick(self.rows, [record], self.records)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        with torch.enable_grad():
            loss = self.row_loss(self.network, shown).mean()
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, trained, allow_unused=True
        )
        return [
            torch.zeros_like(p.detach()) if g is None else g.detach()
            for p, g in zip(trained, found, strict=True)
        ]

    def scaled(self, record: int, factor: float, rows: Rows | None = None) -> Rows:
        """Return rows with one record's clean and noisy pictures multiplied."""
        own = torch.arange(self.records * self.draws) % self.records == record
        clean, noisy, *others = (row.clone() for row in rows or self.rows)
        clean[own] *= factor
        noisy[own] *= factor
        return (clean, noisy, *others)

    def in_float64(self) -> "Bench":
        """Return the same bench, network and rows in float64."""
        return Bench(
            engine=self.engine,
            network=copy.deepcopy(self.network).double(),
            row_loss=self.wide_loss,
            wide_loss=self.wide_loss,
            rows=widened(self.rows),
            records=self.records,
            draws=self.draws,
            clipping=self.clipping,
        )


def check(bench: Bench) -> list[Check]:
    """Hold the engine against autograd and against hostile rows."""
    exact = bench.in_float64()
    plain = [exact.plain(record) for record in range(bench.records)]
    norms = [_length(_flat(g)) for g in plain]
    bound = 0.9 * min(norms)  # every record is clipped: whoever is not shows
    if not 0 < bound < math.inf:
        bound = 1.0
    whole = exact.clipped(range(bench.records), bound)
    alone = [exact.clipped([record], bound) for record in range(bench.records)]
    return [
        _gradients(exact, plain, max(*norms, 1.0)),
        _batch(exact, plain, whole, bound),
        _neighbours(exact, whole, alone, bound),
        _broken(exact, alone, bound),
        _bound(bench, bound),
    ]


def _gradients(bench: Bench, plain: list[list[Tensor]], largest: float) -> Check:
    """Compare each record alone, unclipped, parameter by parameter."""
    trained = [(n, p) for n, p in bench.network.named_parameters() if p.requires_grad]
    worst, where = 0.0, ""
    for record, truth in enumerate(plain):
        size = max(_length(_flat(truth)), 1e-300)
        bound = 1e6 * largest
        found = bench.clipped([record], bound)
        if bench.clipping.kind == "normalised":
            found = found * ((size + STABILITY) / bound)
        parts = torch.split(found, [p.numel() for _, p in trained])
        for (name, _), part, right in zip(trained, parts, truth, strict=True):
            gap = _length(part - right.flatten().cpu()) / size
            if not gap <= worst:
                worst, where = gap, name
    return at_most(
        "gradients",
        worst,
        EXACT,
        "largest distance of a record's gradient from autograd's, over its length",
        problem=f"the engine's gradient of '{where}' is not that of autograd",
        cure=_ENGINE,
    )


def _batch(
    bench: Bench, plain: list[list[Tensor]], whole: Tensor, bound: float
) -> Check:
    """Compare all records together with the formula."""
    rule = Clipping(max_grad_norm=bound, kind=bench.clipping.kind)
    rows = torch.stack([_flat(gradient) for gradient in plain])
    truth = rule.factors(torch.linalg.vector_norm(rows, dim=1)) @ rows
    return at_most(
        "clipped sum",
        _length(whole - truth) / bound,
        EXACT * bench.records,
        "distance of a batch's clipped sum from the formula, over C",
        problem="the engine's clipped sum is not the sum of the clipped records",
        cure=_ENGINE,
    )


def _neighbours(
    bench: Bench, whole: Tensor, alone: list[Tensor], bound: float
) -> Check:
    """Take records apart, change one, show one twice; the other shares must stay."""
    changed = bench.scaled(0, -7.0)
    other = bench.clipped(range(bench.records), bound, changed)
    gaps = [
        whole - torch.stack(alone).sum(0),
        other - bench.clipped([0], bound, changed) - torch.stack(alone[1:]).sum(0),
        bench.clipped([1, 1], bound) - 2 * alone[1],
    ]
    lengths = torch.linalg.vector_norm(torch.stack(gaps), dim=1) / bound
    return at_most(
        "neighbours",
        float(lengths.max()),
        EXACT * bench.records,
        "how much the shares of others change with one record, over C",
        problem="what one record adds depends on the records beside it",
        cure=_ENGINE,
    )


def _broken(bench: Bench, alone: list[Tensor], bound: float) -> Check:
    """Put records that cannot be computed beside others; they must count as zero."""
    last = bench.records - 1
    rows = bench.scaled(last, math.inf, bench.scaled(0, math.nan))
    together = bench.clipped(range(bench.records), bound, rows)
    others = torch.stack(alone[1:last]).sum(0)
    worst = _length(together - others) / bound
    return at_most(
        "broken rows",
        worst,
        EXACT * bench.records,
        "what a record of NaN or infinity adds to a sum, over C",
        problem="a record whose gradient is not finite does not count as zero",
        cure=_ENGINE,
    )


def _bound(bench: Bench, bound: float) -> Check:
    """Measure how long one record's share can get, in the network's own type."""
    longest, worst = 0.0, "ordinary"
    for name, factor in _HOSTILE:
        rows = bench.scaled(0, factor)
        share = bench.clipped([0], 0.01 * bound, rows)
        length = _length(share) / (0.01 * bound)
        if not length <= longest:
            longest, worst = length, name
    return at_most(
        "bound",
        longest,
        1 + ROUNDED,
        "longest share of one record, over C; hostile rows among them",
        problem=f"one record's share is longer than C (rows that are {worst})",
        cure=_ENGINE,
    )


def _pick(rows: Rows, chosen: Sequence[int], records: int) -> Rows:
    """Return the K-major rows of some records, in their order."""
    index = torch.tensor(list(chosen))
    draws = len(rows[0]) // records
    places = (torch.arange(draws)[:, None] * records + index).flatten()
    return tuple(row[places.to(row.device)] for row in rows)


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.double().flatten().cpu() for g in gradients])


def _length(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector.detach().double()))
