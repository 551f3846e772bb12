"""The runs in a folder: plan, ledger and report of each, side by side.

For whoever answers for a data set. Every ledger's chain is followed and every report is
verified with the keys the reader trusts; nothing is taken from a file name.

Edges: reads run folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from privplan import ledger, plan, summary, verify
from privplan.canonical import text_up
from privplan.errors import DocumentError
from privplan.findings import Outcome, Verdict
from privplan.keys import PublicKey
from privplan.ledger import LedgerContent
from privplan.plan import Plan
from privplan.register_run import reservation_of
from privplan.run_report import LEDGER_NAME, PLAN_NAME, REPORT_NAME
from privplan.tables import Table

_TITLES = ("run", "paid by", "report", "delta", "target", "claimed", "spent", "steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """One run, as its folder says.

    Attributes:
        name: Of the folder.
        plan: What was planned.
        ledger: What was begun; its chain is whole.
        verdict: On its report; None where there is none.
    """

    name: str
    plan: Plan
    ledger: LedgerContent
    verdict: Verdict | None

    @property
    def spent(self) -> float:
        """Epsilon of the steps that the ledger counts, an upper bound."""
        return summary.spent(self.plan, dict(self.ledger.begun))

    @property
    def claimed(self) -> float | None:
        """Epsilon that a verified report claims; None without one."""
        if self.verdict is None or not self.verdict.passed:
            return None
        said = self.verdict.predicate
        return None if said is None else said.claim.epsilon.upper


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs side by side; shows itself as a table.

    Attributes:
        runs: By name.
    """

    runs: tuple[RunFolder, ...]

    def __iter__(self) -> Iterator[RunFolder]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, name: str) -> RunFolder:
        """Return a run by its name.

        Raises:
            DocumentError: There is none.
        """
        for run in self.runs:
            if run.name == name:
                return run
        raise DocumentError(
            f"there is no run '{name[:80]}'",
            hint=f"there are {', '.join(run.name for run in self.runs)}",
        )

    def table(self) -> Table:
        """Return what was planned, claimed and spent, run by run."""
        return Table(
            caption=f"{len(self.runs)} runs; ledgers followed, reports verified anew",
            titles=_TITLES,
            rows=tuple(_row(run) for run in self.runs),
            notes=(
                "Claimed: the whole plan. Spent: what the ledger counts up to now.",
                "Runs on the same data add up; the register says how.",
            ),
            words=3,
        )

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def read_runs(folder: Path, *, trusted: Sequence[PublicKey]) -> Runs:
    """Read every run in a folder, and verify their reports.

    Args:
        folder: Its subfolders that hold a ledger are the runs.
        trusted: Keys whose signature under a report counts.

    Raises:
        DocumentError: There is no run in the folder, or a file is not what it should
            be.
        LedgerError: A ledger cannot be read.
        IntegrityError: A plan or a ledger was changed.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{LEDGER_NAME}"))
    if not found:
        raise DocumentError(
            f"there is no run in {folder}",
            hint="give the folder whose subfolders privplan train wrote",
        )
    return Runs(runs=tuple(_read(path, trusted) for path in found))


def _read(folder: Path, trusted: Sequence[PublicKey]) -> RunFolder:
    path = folder / REPORT_NAME
    verdict = None
    if path.is_file():
        verdict = verify.verify(path.read_bytes(), folder=folder, trusted=trusted)
    return RunFolder(
        name=folder.name,
        plan=plan.read(folder / PLAN_NAME),
        ledger=ledger.read(folder / LEDGER_NAME),
        verdict=verdict,
    )


def _row(run: RunFolder) -> tuple[str, ...]:
    paid, budget, claimed = reservation_of(run.ledger), run.plan.budget, run.claimed
    begun = sum(run.ledger.begun.values())
    return (
        run.name,
        "no register" if paid is None else f"entry {paid.sequence} of the register",
        _report(run.verdict),
        f"{budget.target_delta:g}",
        f"{budget.target_epsilon:g}",
        "-" if claimed is None else text_up(claimed, 4),
        text_up(run.spent, 4),
        f"{begun:,} of {sum(phase.steps for phase in run.plan.phases):,}",
    )


def _report(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none"
    if verdict.passed:
        return "verified" if verdict.finished else "verified; unfinished"
    failed = [f.number for f in verdict.findings if f.outcome is Outcome.FAILED]
    return f"NOT VERIFIED: {', '.join(failed) or 'steps were not taken'}"
