"""Units of privacy with several records each, such as the scans of one patient.

What is protected is the unit: it is sampled whole, shown in K draws whatever the number
of its records, and clipped once. So its records together weigh what one record weighs
elsewhere, and a step costs the same.

    unit 0    records 4, 7        draws 4 7 4 7 ...     one mean gradient, one clip
    unit 1    record  0           draws 0 0 0 0 ...     one mean gradient, one clip

A unit may keep `max_records` records. Which ones is decided by the unit alone: those
whose contents have the smallest SHA-256. A rule that looked at other units would let
one of them change what another contributes.

Source: user-level DP-SGD with a bound on contributions, Chua et al. 2024,
arXiv:2406.14322 (sampling users rather than examples).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from diffusion.record_rows import member_turns
from privplan import checks


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Units:
    """Which records belong to which unit.

    Attributes:
        column: Name of the column that identifies a unit; public.
        max_records: The most records a unit has; public.
        starts: int64 [units + 1]; the records of unit u are
            `members[starts[u] : starts[u + 1]]`.
        members: int64 [records]; every record once.
    """

    column: str
    max_records: int
    starts: NDArray[np.int64]
    members: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many units there are."""
        return len(self.starts) - 1

    def __repr__(self) -> str:
        return "Units(hidden)"

    def shown(
        self, chosen: Int64[Tensor, " batch"], *, seeds: Sequence[int], draws: int
    ) -> Int64[Tensor, " rows"]:
        """Choose which record each draw of a unit shows.

        The records of a unit take turns, in an order drawn anew in every step from the
        unit's own seed, so each is shown equally often on average.

        Args:
            chosen: The units of a physical batch.
            seeds: One for each of them, from `record_rows.record_seeds`.
            draws: K, the draws per unit; with K below the number of its records, some
                wait for another step.

        Returns:
            Indices of records, K-major: place k * batch + b is draw k of unit b.

        Example:
            >>> pair = Units(
            ...     column="patient", max_records=2,
            ...     starts=np.array([0, 2, 3]), members=np.array([4, 7, 0]),
            ... )
            >>> rows = pair.shown(torch.tensor([0, 1]), seeds=[5, 6], draws=2)
            >>> sorted(rows[::2].tolist()), rows[1::2].tolist()
            ([4, 7], [0, 0])
        """
        rows = np.empty((draws, len(chosen)), dtype=np.int64)
        for place, (unit, seed) in enumerate(zip(chosen.tolist(), seeds, strict=True)):
            own = self.members[self.starts[unit] : self.starts[unit + 1]]
            rows[:, place] = own[member_turns(seed, draws=draws, members=len(own))]
        return torch.from_numpy(rows.reshape(-1))


def kept_records(
    unit_numbers: NDArray[np.integer],
    digests: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    max_records: int,
) -> NDArray[np.int64]:
    """Choose the records that stay: of each unit those with the smallest digests.

    Args:
        unit_numbers: [records]; equal for records of one unit.
        digests: [records, 32]; SHA-256 of each record's content.
        labels: [records]; decide between records of equal content.
        max_records: The most a unit keeps.

    Returns:
        Positions of the records that stay, increasing.

    Raises:
        ParameterError: `max_records` is below one.

    Example:
        >>> digests = np.zeros((3, 32), dtype=np.uint8)
        >>> digests[:, 0] = [9, 1, 5]
        >>> kept_records(
        ...     np.array([0, 1, 0]), digests, np.array([0, 0, 0]), max_records=1
        ... )
        array([1, 2])
    """
    checks.count(max_records=max_records)
    words = np.ascontiguousarray(digests).view(">u8")
    keys = (labels, *(words[:, column] for column in (3, 2, 1, 0)), unit_numbers)
    order = np.lexsort(keys)
    sorted_units = unit_numbers[order]
    begins = np.flatnonzero(np.diff(sorted_units, prepend=-1))
    sizes = np.diff(begins, append=len(order))
    rank = np.arange(len(order)) - np.repeat(begins, sizes)
    return np.sort(order[rank < max_records])


def grouped(
    unit_numbers: NDArray[np.integer], *, column: str, max_records: int
) -> Units:
    """Put records that stay into their units; every unit has one at least.

    Args:
        unit_numbers: [records]; equal for records of one unit.
        column: Name of the column.
        max_records: The most a unit has.

    Example:
        >>> len(grouped(np.array([3, 0, 3]), column="patient", max_records=2))
        2
    """
    order = np.argsort(unit_numbers, kind="stable").astype(np.int64)
    begins = np.flatnonzero(np.diff(unit_numbers[order], prepend=-1))
    starts = np.append(begins, len(order)).astype(np.int64)
    return Units(column=column, max_records=max_records, starts=starts, members=order)
