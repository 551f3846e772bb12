"""The rows that every engine reads: K noise draws of each of B records.

Rows lie *K-major*: row k * B + b is draw k of record b. Seen as (K, B, ...) the rows of
one record are then a column, and the rows of one draw lie next to each other in memory.
That order is what lets the folded engine sum over the draws of a record for free.

        record:   0   1   2  |  0   1   2  |  ...
        draw:     0   0   0  |  1   1   1  |  ...

The number of records in a Poisson batch is private, so no message here names it.
"""

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from privplan import checks
from privplan.errors import ParameterError

Rows = tuple[Tensor, ...]
RowLoss = Callable[[nn.Module, Rows], Tensor]


def check_rows(rows: Rows, *, records: int, noise_multiplicity: int) -> None:
    """Require that every tensor has one leading entry for each draw of each record.

    Raises:
        ParameterError: `noise_multiplicity` is below 1, or the rows and the count of
            records disagree.
    """
    checks.count(noise_multiplicity=noise_multiplicity)
    wanted = records * noise_multiplicity
    fits = all(tensor.dim() > 0 and tensor.shape[0] == wanted for tensor in rows)
    if records < 0 or not rows or not fits:
        raise ParameterError(
            "the rows do not hold noise_multiplicity draws of every record",
            hint="give tensors of draws times records rows, all first draws first",
        )


def by_draw(rows: Tensor, records: int) -> Tensor:
    """View (K*B, ...) as (K, B, ...); free for rows in any memory format."""
    return rows.view(-1, records, *rows.shape[1:])


def rows_of(rows: Rows, record: int, *, records: int) -> Rows:
    """Return the K rows of one record, in the order of its draws.

    Example:
        >>> import torch
        >>> rows_of((torch.arange(6),), 1, records=3)
        (tensor([1, 4]),)
    """
    return tuple(tensor[record::records] for tensor in rows)


def split_records(
    rows: Rows, *, records: int, physical_batch_size: int
) -> Iterator[tuple[Rows, int]]:
    """Cut a batch into physical batches, never between the draws of one record.

    Args:
        rows: K-major rows of `records` records.
        records: B, the records in the rows; may be 0.
        physical_batch_size: The most records in one piece. It decides memory and speed
            only: the clipped sum over all pieces does not depend on it.

    Yields:
        Rows of a piece, again K-major, and the number of its records.

    Raises:
        ParameterError: `physical_batch_size` is below 1.

    Example:
        >>> import torch
        >>> for piece, size in split_records(
        ...     (torch.arange(6),), records=3, physical_batch_size=2
        ... ):
        ...     print(piece[0].tolist(), size)
        [0, 1, 3, 4] 2
        [2, 5] 1
    """
    checks.count(physical_batch_size=physical_batch_size)
    for start in range(0, records, physical_batch_size):
        stop = min(start + physical_batch_size, records)
        pieces = (by_draw(tensor, records)[:, start:stop] for tensor in rows)
        yield tuple(piece.flatten(0, 1) for piece in pieces), stop - start


def record_losses(losses: Tensor, *, records: int, noise_multiplicity: int) -> Tensor:
    """Average the row losses over the draws of each record: (K*B,) to (B,).

    Raises:
        ParameterError: The row loss did not return one differentiable number per row.

    Example:
        >>> import torch
        >>> rows = torch.tensor([1.0, 10.0, 3.0, 30.0], requires_grad=True)
        >>> record_losses(rows, records=2, noise_multiplicity=2)
        tensor([ 2., 20.], grad_fn=<MeanBackward1>)
    """
    if losses.shape != (records * noise_multiplicity,):
        raise ParameterError(
            "the row loss did not return exactly one number per row",
            hint="average each row's loss over its own pixels, never over the rows",
        )
    if not losses.requires_grad:
        raise ParameterError(
            "the row loss does not depend on any trainable parameter",
            hint="call the model inside the row loss, with gradients enabled",
        )
    return losses.view(noise_multiplicity, records).mean(0)
