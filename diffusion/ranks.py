"""What one process has to say to the others of the same run; here it is alone.

Several processes carry out one run as if they were one. The first of them keeps the
ledger, draws everything that is drawn and adds the noise; the others only compute:

    first   spend ──> two keys ──> clip its share ──> sum ──> noise, once ──> update
               │         │                            ↑            │
    others   wait     the same draw    clip theirs ───┘            └──> the same update

The keys choose the batch and what is drawn for every record, so the law of a step does
not know how many processes there are, and each record is clipped by exactly one. The
noise is drawn by the first alone, with the planned scale, after the sum is whole.

This room is the interface, and the run of one process: everybody is told what he said
himself. `diffusion.team` is the same for several.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffusion.randomness import RandomSource, SecureStream, generator_from


class Ranks:
    """A process on its own.

    Attributes:
        rank: Number of this process; the first is 0.
        count: How many processes carry out the run.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        """Whether this process keeps the ledger and draws the noise."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which places of a batch are this process's; each place is one process's.

        Example:
            >>> [[0, 1, 2, 3, 4][Ranks(rank, 2).share] for rank in (0, 1)]
            [[0, 2, 4], [1, 3]]
        """
        return slice(self.rank, None, self.count)

    def told(self, ask: Callable[[], int]) -> int:
        """Return what the first process answers; only there is it asked.

        Raises:
            PeerLostError: It failed, or a process is gone.
        """
        return ask()

    def given(self, make: Callable[[], bytes]) -> bytes:
        """Return the bytes that the first process makes; only there are they made.

        Raises:
            PeerLostError: It failed, or a process is gone.
        """
        return make()

    def most(self, *values: int) -> tuple[int, ...]:
        """Return the largest of each value over all processes.

        Raises:
            PeerLostError: A process is gone.
        """
        return values

    def differing(self, **digests: str) -> tuple[str, ...]:
        """Return the names of those SHA-256 digests that are not the same everywhere.

        Raises:
            PeerLostError: A process is gone.
        """
        return ()

    def total(self, parts: Sequence[Tensor], *, drawn: bytes) -> list[Tensor]:
        """Add up sums over all processes, in float64.

        Args:
            parts: What this process summed over its share.
            drawn: What this step draws, as this process drew it; the sum of processes
                that drew otherwise is of no batch, and is thrown away.

        Returns:
            The whole sum on the first process. Elsewhere `parts`, of no use.

        Raises:
            IntegrityError: A process drew another batch.
            PeerLostError: A process is gone.
        """
        return list(parts)

    def published(
        self, make: Callable[[], list[Tensor]], like: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the tensors that the first process makes, the same to the last bit.

        Args:
            make: Called on the first process only; float64 parts.
            like: Their shapes and devices.

        Raises:
            PeerLostError: The first process failed, or a process is gone.
        """
        return make()

    def stream(self, random: RandomSource) -> SecureStream:
        """Return a stream of random words that is the same on all processes."""
        return SecureStream(self.given(random.key))

    def generator(self, random: RandomSource) -> torch.Generator:
        """Return a torch generator that is the same on all processes."""
        return generator_from(self.given(random.key))


ALONE = Ranks()
"""The only process of a run."""
