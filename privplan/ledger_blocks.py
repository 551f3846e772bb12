"""Steps reserved in blocks, so that writing them down costs next to nothing.

A reservation is forced to disk before the data is touched, and a disk takes its time.
So steps are reserved k at a time and handed out one by one:

    k = the least that makes a write cost 0.5 % of the steps it pays for, as timed at
        the start; a disk is slower beside a run at work, and 1 % is what it may cost
    k <= 1 % of the steps of the phase

Every step of a block counts from the moment the block is written. A crash burns what
was not handed out, so at most 1 % of a phase, and never less than it executed.

Nothing is ever given back. A run that is asked to stop hands out the rest of its block
first, which takes about two hundred times as long as one write to disk: a second or
two. To note the rest as returned would save that second and would make the count rest
on the one fact a ledger cannot see: that no copy of the process (a fork, a snapshot of
the machine) still holds the block.

k must tell nothing of the records. It is made of the plan, a time measured on made-up
pictures, and the speed of the disk, before any record is touched.

Edges: writes a scratch ledger, and removes it.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from pathlib import Path

from privplan import checks
from privplan.errors import LedgerError, PolicyError
from privplan.events import NoOpEvent
from privplan.ledger import Allowance, Ledger
from privplan.ledger_entries import NO_HASH

COST_SHARE = 0.005
"""The disk may take this share of the time of a step, as timed at the start."""

BURN_SHARE = 0.01
"""A crash may burn this share of the steps of a phase, or one step."""

_PROBES = 5


def most_burnt(steps: int) -> int:
    """Return the most steps of a phase that one crash can burn.

    Example:
        >>> most_burnt(50), most_burnt(100), most_burnt(4_000)
        (1, 1, 40)
    """
    checks.count(steps=steps)
    return max(1, int(steps * BURN_SHARE))


def block_size(*, steps: int, step_seconds: float, commit_seconds: float) -> int:
    """Choose how many steps to reserve at once.

    Args:
        steps: Steps of the phase.
        step_seconds: Time of one step, not measured on the records.
        commit_seconds: Time until one entry is on disk.

    Raises:
        ParameterError: A number is out of range, or NaN.

    Example:
        >>> block_size(steps=4_000, step_seconds=0.1, commit_seconds=0.008)
        16
        >>> block_size(steps=4_000, step_seconds=2.0, commit_seconds=0.008)
        1
        >>> block_size(steps=400, step_seconds=0.001, commit_seconds=0.008)
        4
    """
    checks.positive(step_seconds=step_seconds)
    checks.non_negative(commit_seconds=commit_seconds)
    most = most_burnt(steps)
    wanted = commit_seconds / (COST_SHARE * step_seconds)
    return max(1, math.ceil(min(wanted, most)))


def commit_seconds(folder: Path) -> float:
    """Measure how long a ledger in this folder takes to make one entry durable.

    Returns:
        The median over a few reservations in a scratch ledger.

    Raises:
        LedgerError: The folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pace-") as scratch:
            return _probe(Path(scratch) / "scratch.sqlite")
    except OSError as error:
        raise LedgerError(
            f"nothing can be written beside the ledger: {error.strerror}",
            hint="free space on the disk and make the folder writable, then resume",
        ) from error


def _probe(path: Path) -> float:
    times = []
    with Ledger.create(
        path,
        plan_digest=NO_HASH,
        data_digest=NO_HASH,
        code_digest=NO_HASH,
        allowances=[Allowance(phase="scratch", event=NoOpEvent(), steps=_PROBES)],
    ) as ledger:
        for _ in range(_PROBES):
            began = time.perf_counter()
            ledger.reserve("scratch", 1)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


class Blocks:
    """Hands out the steps of a ledger, and reserves the next block when one is used up.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> ledger = Ledger.create(
        ...     Path(folder.name) / "run.sqlite",
        ...     plan_digest="a" * 64,
        ...     data_digest="b" * 64,
        ...     code_digest="c" * 64,
        ...     allowances=[Allowance(phase="p", event=NoOpEvent(), steps=5)],
        ... )
        >>> blocks = Blocks(ledger)
        >>> blocks.pace("p", 4)
        >>> blocks.take("p")
        >>> ledger.counted("p"), blocks.held("p")
        (4, 3)
        >>> ledger.close()
        >>> folder.cleanup()
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._size: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._process = os.getpid()

    def pace(self, phase: str, size: int) -> None:
        """Reserve the steps of a phase in blocks of this size from now on."""
        checks.count(size=size)
        self._size[phase] = size

    def held(self, phase: str) -> int:
        """Return how many steps of a phase are reserved and not handed out."""
        return self._held.get(phase, 0)

    def take(self, phase: str, count: int = 1) -> None:
        """Hand out steps; all of them are on disk when this returns.

        Args:
            phase: Which phase of the plan.
            count: How many steps; at least 1.

        Raises:
            BudgetExceededError: The plan has no such steps left; nothing was written.
            ParameterError: An unknown phase, or a count below 1.
            PolicyError: This is a forked copy of the process that reserved, or another
                process has the run now.
            LedgerError: The ledger cannot be written.
        """
        checks.count(count=count)
        if os.getpid() != self._process:
            raise PolicyError(
                "these steps were reserved before this process was forked",
                hint="take steps only in the process that opened the ledger",
            )
        missing = count - self.held(phase)
        if missing > 0:
            block = max(
                missing, min(self._size.get(phase, 1), self._ledger.left(phase))
            )
            self._ledger.reserve(phase, block)
            self._held[phase] = self.held(phase) + block
        self._held[phase] -= count
