"""Per-example gradients of the loss over K noise draws, clipped and summed.

A private step may see one record only through one vector of length at most C. So the
loss of a record is first averaged over its K draws, then differentiated, then clipped
once, then summed over the records:

    rows (K*B)  ->  B mean losses  ->  B gradients  ->  B norms  ->  sum of clipped

Clipping each draw alone would let one record contribute K * C against noise made for C.
Norms, losses and factors are private and die inside the engine; the sum comes out, and
becomes public only after `privatize` added noise.

    engine      how                                      takes
    folded      one forward, one backward, one rule      the layers with a rule
                per kind of layer; the fast one
    vmap        `torch.func` over the records            what vmap can trace
    loop        one record after the other               everything
    opacus      Opacus' hooks, draws averaged            what Opacus knows
    auto        folded, or vmap where a rule is missing

Units: gradients of the loss with respect to parameters.
Source: Abadi et al. 2016, Algorithm 1, arXiv:1607.00133; Dockhorn et al. 2023,
arXiv:2210.09929, equation 7 (one clip per record over K noise draws).
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from diffusion.clipping import Clipping
from diffusion.engines.automatic import AutomaticEngine
from diffusion.engines.folded import FoldedEngine
from diffusion.engines.loop import LoopEngine
from diffusion.engines.opacus_hooks import OpacusEngine
from diffusion.engines.record_gradients import empty_sum
from diffusion.engines.refusals import trainable
from diffusion.engines.rows import RowLoss, Rows, split_records
from diffusion.engines.vmap import VmapEngine
from privplan.errors import ParameterError

__all__ = [
    "ENGINES",
    "Clipping",
    "PerExampleEngine",
    "RowLoss",
    "Rows",
    "accumulate",
    "engine",
    "split_records",
]


@runtime_checkable
class PerExampleEngine(Protocol):
    """What every engine does; `tests/contracts/test_engines.py` holds them to it.

    Attributes:
        name: The word that chooses it.
    """

    @property
    def name(self) -> str:
        """The word that chooses it."""
        ...

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
        """Sum the clipped gradients of the records' mean losses.

        A record whose gradient norm is not finite counts as zero and raises nothing.
        The model comes back as it was: no hooks, no `.grad`, no changed buffers.

        Args:
            model: Its parameters with `requires_grad` are differentiated.
            row_loss: Returns one loss per row, each depending on that row alone.
            rows: Tensors with leading dimension K * B, K-major: row k * B + b is draw k
                of record b.
            records: B; 0 gives zeros.
            noise_multiplicity: K, at least 1.
            clipping: One clip per record over all parameters together.

        Returns:
            One float64 tensor per trainable parameter, in the order of
            `model.parameters()`; after them what `Clipping.balance` counts, if
            anything. A sum, never a mean, with L2 sensitivity C under
            add-or-remove-one, up to the float32 rounding of the sum over records.

        Raises:
            ParameterError: The rows do not fit the counts; a layer mixes records; a
                parameter is not covered or gets no gradient. All of it before a
                gradient leaves the engine, and none of it says anything of a record.
        """
        ...


ENGINES: dict[str, type[PerExampleEngine]] = {
    "auto": AutomaticEngine,
    "folded": FoldedEngine,
    "loop": LoopEngine,
    "opacus": OpacusEngine,
    "vmap": VmapEngine,
}


def engine(name: str = "auto", model: nn.Module | None = None) -> PerExampleEngine:
    """Return an engine by its name.

    Args:
        name: One of the words of `ENGINES`; every one computes the same sum.
        model: If given, checked at once, so that a refusal comes before any data.

    Raises:
        ParameterError: The name is unknown, or the model has a layer that mixes
            records or keeps statistics.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> def row_loss(model, rows):
        ...     return model(rows[0]).squeeze(1)
        >>> rows = (torch.tensor([[3.0, 4.0], [0.0, 0.5]]),)
        >>> engine("folded", layer).clipped_sum(
        ...     layer, row_loss, rows, records=2, noise_multiplicity=1,
        ...     clipping=Clipping(max_grad_norm=1.0),
        ... )
        [tensor([[0.6000, 1.3000]], dtype=torch.float64)]
    """
    if name not in ENGINES:
        raise ParameterError(
            f"engine is {name!r}, but it must be one of {', '.join(ENGINES)}",
            hint="give 'auto' unless you compare engines",
        )
    if model is not None:
        trainable(model)
    return ENGINES[name]()


def accumulate(
    chosen: PerExampleEngine,
    model: nn.Module,
    row_loss: RowLoss,
    pieces: Iterable[tuple[Rows, int]],
    *,
    noise_multiplicity: int,
    clipping: Clipping,
) -> list[Tensor]:
    """Add up the clipped sums of one logical batch, one physical batch at a time.

    Args:
        chosen: The engine.
        model: As in `PerExampleEngine.clipped_sum`.
        row_loss: As there.
        pieces: Rows and number of records of each physical batch, as `split_records`
            yields them; no record may be in two pieces, and none at all gives zeros.
        noise_multiplicity: K.
        clipping: As there.

    Returns:
        As `PerExampleEngine.clipped_sum`; the way the records were split does not
        change it, up to float32 rounding.

    Raises:
        ParameterError: As in `PerExampleEngine.clipped_sum`.
    """
    total = empty_sum((parameter for _, parameter in trainable(model)), clipping)
    for rows, records in pieces:
        part = chosen.clipped_sum(
            model,
            row_loss,
            rows,
            records=records,
            noise_multiplicity=noise_multiplicity,
            clipping=clipping,
        )
        for accumulator, gradient in zip(total, part, strict=True):
            accumulator.add_(gradient)
    return total
