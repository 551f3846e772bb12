"""The ledger: an append-only record of privacy already spent.

The trainer *reserves* steps here before it touches the data; a crash in between leaves
steps that count although nothing was released, and never the other way round.

    reserve(phase, count)  ->  train  ->  settle(phase, count)

    counted steps  >=  steps that touched the data         whatever is killed, and when
    counted steps  <=  steps the plan allows               on all branches together

Rolling back to an older checkpoint gives nothing back: what was released was released.
One process has a run at a time, by a lock; where that is lost, the newest one fences.

The ledger knows nothing of epsilon. It keeps *events*: a list of epsilons cannot be
composed tightly afterwards, while events can be counted again by a better accountant.

A chain of hashes shows edits, but not that its end was cut off or all of it written
anew. `hash_at` compares with a head that was kept elsewhere: in a checkpoint, a report.
Edges: writes one SQLite file per run, through `ledger_session`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from privplan import checks, ledger_session
from privplan.errors import BudgetExceededError, ParameterError
from privplan.ledger_content import (
    LedgerContent,
    check_phase,
    data_commitment,
    opens_data,
    read,
)
from privplan.ledger_entries import Allowance, LedgerEntry, LedgerHead, check_digest
from privplan.ledger_session import Binding, Session

__all__ = [
    "Allowance",
    "Ledger",
    "LedgerContent",
    "LedgerEntry",
    "LedgerHead",
    "data_commitment",
    "opens_data",
    "read",
]


class Ledger:
    """The ledger of a run in progress, open for writing by one session.

    Use `create` for a new run and `resume` for one that has a ledger; then `reserve`
    before every block of steps. Use it as a context manager, or `close` it.

    Example:
        >>> import tempfile
        >>> from privplan.events import PoissonSampledGaussianEvent
        >>> step = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.0)
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Ledger.create(
        ...     Path(folder.name) / "run.sqlite",
        ...     plan_digest="a" * 64,
        ...     data_digest="b" * 64,
        ...     code_digest="c" * 64,
        ...     allowances=[Allowance(phase="private", event=step, steps=100)],
        ... ) as ledger:
        ...     ledger.reserve("private", 10)
        ...     ledger.counted("private")
        10
        >>> read(Path(folder.name) / "run.sqlite").counted("private")
        10
        >>> folder.cleanup()
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        plan_digest: str,
        data_digest: str,
        code_digest: str,
        allowances: Sequence[Allowance],
        processes: int = 1,
    ) -> Self:
        """Start the ledger of a new run.

        Args:
            path: Where it will be; its folder exists, on a local disk.
            plan_digest: SHA-256 of the plan, in hex.
            data_digest: Of the data; private, and kept as a commitment only.
            code_digest: Of the code that will train.
            allowances: The most steps of each phase, in the order of the plan.
            processes: How many carry out this session; this one speaks for them.

        Raises:
            ParameterError: A digest is malformed, or a phase occurs twice.
            PolicyError: The file exists, or it would be on a network file system.
            LedgerError: It cannot be written.
        """
        bound = Binding(
            plan_digest=plan_digest,
            data_digest=data_digest,
            code_digest=code_digest,
            processes=processes,
        )
        return cls(ledger_session.begin(path, bound, allowances))

    @classmethod
    def resume(
        cls,
        path: Path,
        *,
        plan_digest: str,
        data_digest: str,
        code_digest: str,
        allow_code_change: bool = False,
        processes: int = 1,
    ) -> Self:
        """Take up a run that has a ledger, and fence whoever had it before.

        Args:
            path: The ledger.
            plan_digest: As for `create`; must be that of the ledger.
            data_digest: As for `create`; must be that of the ledger.
            code_digest: As for `create`.
            allow_code_change: Take other code than the last session; both are shown.
            processes: As for `create`.

        Raises:
            ParameterError: A digest is malformed.
            PolicyError: Another process has it; plan, data or code are not those of
                the ledger; others may read it.
            LedgerError: It is missing, locked, read-only, damaged or not a ledger.
            IntegrityError: Its chain is broken.
        """
        bound = Binding(
            plan_digest=plan_digest,
            data_digest=data_digest,
            code_digest=code_digest,
            processes=processes,
        )
        return cls(
            ledger_session.take_up(path, bound, allow_code_change=allow_code_change)
        )

    def reserve(self, phase: str, count: int) -> None:
        """Count steps as begun; durable when it returns, so the data may be touched.

        Args:
            phase: Which phase of the plan.
            count: At least 1. They count even if they never happen.

        Raises:
            BudgetExceededError: More steps than allowed; nothing was written.
            ParameterError: An unknown phase, or a count below 1.
            PolicyError: Another process has the run now, or this session gave up.
            LedgerError: It could not be made durable: do not touch the data.
        """
        checks.count(count=count)
        tally = self._session.tally
        check_phase(phase, tally.begun)

        def check() -> None:
            self._session.check_not_aborted()
            if not count <= tally.left(phase):
                needed = tally.begun[phase] + count
                allowed = tally.allowances[phase].steps
                raise BudgetExceededError(
                    f"phase '{phase}' would reach {needed:,} steps begun, but the plan "
                    f"allows {allowed:,}",
                    stage=phase,
                    needed=needed,
                    target=allowed,
                    hint="end the run here; more steps need a new plan and its budget",
                )

        self._session.append("intent", {"phase": phase, "count": count}, check)

    def settle(self, phase: str, count: int) -> None:
        """Note that reserved steps were done; informative, it gives nothing back.

        Raises:
            ParameterError: An unknown phase, or more steps than this session reserved
                and has not settled.
            PolicyError: Another process has the run now, or this session gave up.
            LedgerError: It could not be written.
        """
        checks.count(count=count)
        tally = self._session.tally
        check_phase(phase, tally.begun)

        def check() -> None:
            self._session.check_not_aborted()
            if not count <= tally.unsettled[phase]:
                raise ParameterError(
                    f"{count:,} steps of phase '{phase}' cannot be settled, because "
                    f"this session has {tally.unsettled[phase]:,} to settle",
                    hint="settle after every reserve, with the same count",
                )

        self._session.append("settle", {"phase": phase, "count": count}, check)

    def record_release(self, name: str, digest: str, **facts: str | int) -> None:
        """Note that something leaves the run, and make the file fit to be copied.

        Args:
            name: What leaves: "checkpoint", "report".
            digest: Its SHA-256, in hex.
            facts: Public facts about it.

        Raises:
            ParameterError: A malformed digest.
            PolicyError: Another process has the run now.
            LedgerError: It could not be written.
        """
        check_digest(digest=digest)
        self._session.append(
            "release",
            {
                "name": name,
                "digest": digest,
                "facts": dict(facts),
                "time": ledger_session.now(),
            },
        )
        self._session.checkpoint()

    def record_unsafe(self, what: str) -> None:
        """Confess something that voids the claim; no later entry takes it back.

        Args:
            what: The option that did it: "unsafe_seed".

        Raises:
            PolicyError: Another process has the run now.
            LedgerError: It could not be written.
        """
        self._session.append("unsafe", {"what": what, "time": ledger_session.now()})

    def abort(self) -> None:
        """Give up this session: it reserves no more, and what it began stays counted.

        No reason is written down: why a run failed may depend on a private record.

        Raises:
            PolicyError: Another process has the run now.
            LedgerError: It could not be written.
        """
        self._session.append("abort", {"time": ledger_session.now()})

    def counted(self, phase: str) -> int:
        """Return the steps of a phase that count: all that ever began."""
        check_phase(phase, self._session.tally.begun)
        return self._session.tally.begun[phase]

    def left(self, phase: str) -> int:
        """Return how many more steps of a phase may begin."""
        check_phase(phase, self._session.tally.begun)
        return self._session.tally.left(phase)

    def head(self) -> LedgerHead:
        """Return the last entry, for a checkpoint or report to remember."""
        return self._session.tally.head

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of an entry; None if the ledger is shorter: rolled back."""
        return self._session.hash_at(sequence)

    @property
    def sessions(self) -> int:
        """How often the run was opened; this session is the newest it knows of."""
        return self._session.tally.sessions

    @property
    def ledger_id(self) -> str:
        """Random name of this ledger, the same for all its copies."""
        return str(self._session.tally.genesis["ledger_id"])

    def close(self) -> None:
        """Bring all into the one file and let go of it; twice is once."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
