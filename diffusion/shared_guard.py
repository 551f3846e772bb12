"""The guard of a run, asked by all of its processes: one ledger, one writer.

Only the first process has the ledger. What the others must know, whether a step may
begin and how many are left, they are told; and they are told that a step may begin when
its reservation is on disk. If it cannot be written, nobody is told to begin.

    told to all              opened, spend, remaining, counted, knows
    by the first, quietly    spend_alone, pace, held, settle, release, confess_seed,
                             head
"""

from collections.abc import Callable
from types import TracebackType

from diffusion.enforce import Guard
from diffusion.ranks import Ranks
from privplan.errors import ParameterError
from privplan.ledger import LedgerHead
from privplan.plan import PlanPhase


class SharedGuard:
    """Stands between all processes and the records; see `diffusion.enforce.Guard`.

    Use as a context manager; the ledger is closed at the end.
    """

    def __init__(self, guard: Guard | None, ranks: Ranks) -> None:
        self._guard, self._ranks = guard, ranks

    @classmethod
    def opened(cls, open_guard: Callable[[], Guard], ranks: Ranks) -> "SharedGuard":
        """Let the first process open the ledger, and the others wait for it.

        Raises:
            PrivplanError: It was refused.
        """
        found: list[Guard] = []

        def opening() -> int:
            found.append(open_guard())
            return 0

        ranks.told(opening)
        return cls(found[0] if found else None, ranks)

    def spend(self, phase: PlanPhase, count: int = 1) -> None:
        """Reserve steps durably; returns on no process before they are on disk.

        Raises:
            PrivplanError: Refused on the first process.
            PeerLostError: Refused, on every other.
        """

        def reserved() -> int:
            self._own().spend(phase, count)
            return 0

        self._ranks.told(reserved)

    def spend_alone(self, phase: PlanPhase) -> None:
        """Reserve one step durably, for the first process, which alone carries it out.

        Raises:
            PrivplanError: Refused.
        """
        self._own().spend(phase)

    def remaining(self, phase: PlanPhase) -> int:
        """Return how many steps of a phase may still be carried out."""
        return self._ranks.told(lambda: self._own().remaining(phase))

    def counted(self, phase: PlanPhase) -> int:
        """Return how many steps of a phase count: begun on any branch, or held."""
        return self._ranks.told(lambda: self._own().counted(phase))

    def knows(self, head: LedgerHead) -> bool:
        """Return whether an earlier head is still part of the chain."""
        return bool(self._ranks.told(lambda: int(self._own().knows(head))))

    def pace(self, phase: PlanPhase, size: int) -> None:
        """Reserve the steps of a phase in blocks of this size from now on."""
        if self._guard is not None:
            self._guard.pace(phase, size)

    def held(self, phase: PlanPhase) -> int:
        """Return how many steps count already and are still to be done; 0 elsewhere."""
        return 0 if self._guard is None else self._guard.held(phase)

    def settle(self, phase: PlanPhase, count: int) -> None:
        """Note that steps were carried out; changes nothing that counts."""
        if self._guard is not None:
            self._guard.settle(phase, count)

    def release(self, name: str, digest: str) -> None:
        """Note that a file left the run."""
        self._own().release(name, digest)

    def confess_seed(self) -> None:
        """Note that the noise of this run can be predicted; the report then says so."""
        if self._guard is not None:
            self._guard.confess_seed()

    def head(self) -> LedgerHead:
        """Return the present end of the ledger's chain; on the first process only."""
        return self._own().head()

    def __enter__(self) -> "SharedGuard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._guard is not None:
            self._guard.__exit__(kind, error, trace)

    def _own(self) -> Guard:
        if self._guard is None:
            raise ParameterError(
                "only the first process of a run has its ledger",
                hint="ask the ledger on the first process, and tell the others",
            )
        return self._guard
