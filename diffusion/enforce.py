"""The guard between plan, data, ledger and trainer: nothing runs that was not reserved.

Before the first step the guard recomputes what the plan costs, compares the data with
what the plan declares, and opens the ledger, which holds the plan's allowance. From
then on the trainer can only step through `Guard.spend`, and that writes to disk before
it returns.

What the guard says never tells more of the data than yes or no.
"""

from pathlib import Path
from types import TracebackType

from diffusion.data import PrivateImages, data_digest
from diffusion.data_checks import check_data
from privplan import accounting, canonical, line_grammar, plan_checks, whole_numbers
from privplan.code_identity import source_digest
from privplan.errors import (
    BudgetExceededError,
    IntegrityError,
    PolicyError,
)
from privplan.ledger import Allowance, Ledger, LedgerHead, read
from privplan.ledger_blocks import Blocks
from privplan.plan import Plan, PlanPhase, QueryPhase
from privplan.query_lines import LabelHistogram, RecordCount
from privplan.register import Reservation
from privplan.register_run import Charge, check_resume
from privplan.run_rules import RunRules

LEDGER_NAME = "ledger.sqlite"


def check_plan(plan: Plan) -> None:
    """Recompute what a plan costs and compare with what it says and may.

    Raises:
        BudgetExceededError: Its events cost more than its budget.
        IntegrityError: It claims less than its events cost.
        ParameterError: It cannot be carried out in the arithmetic it names.
        PolicyError: One unit contributes more records than are charged.
    """
    plan_checks.check_unit(plan.budget, plan.data, plan.phases)
    whole_numbers.check(plan.data, plan.training, plan.phases)
    budget = plan.budget.as_budget()
    found = accounting.epsilon(
        plan.event, delta=budget.target_delta, adjacency=budget.adjacency
    )
    if not found.upper <= budget.target_epsilon:
        raise BudgetExceededError(
            f"this plan would cost epsilon {canonical.text_up(found.upper, 4)}, but "
            f"its budget is epsilon {budget.target_epsilon:g}",
            stage="plan",
            needed=found.upper,
            target=budget.target_epsilon,
            hint="make the plan again with privplan plan",
        )
    if not plan.accounting.epsilon_upper >= found.least_claim:
        raise IntegrityError(
            f"this plan claims epsilon {plan.accounting.epsilon_upper:.6g}, but its "
            f"events cost at least {found.least_claim:.6g}",
            hint="make the plan again with privplan plan",
        )


def check_queries(plan: Plan) -> None:
    """Refuse a plan with queries that are not asked here.

    Raises:
        PolicyError: Somebody else must carry it out.
    """
    for phase in plan.phases_of(QueryPhase):
        line = line_grammar.parse(phase.asked_as)
        if not isinstance(line, RecordCount | LabelHistogram) or (
            isinstance(line, LabelHistogram) and line.votes != 1
        ):
            raise PolicyError(
                f"the plan asks '{phase.asked_as}', which training here does not ask",
                hint="plan with labels:NOISE or count:NOISE alone",
            )


def check(plan: Plan, images: PrivateImages) -> None:
    """Check a plan and the data it is for, before anything is written.

    Raises:
        PrivplanError: As `check_plan`, `check_queries` and `check_data`.
    """
    check_plan(plan)
    check_queries(plan)
    check_data(plan, images)


class Guard:
    """Stands between the trainer and the records.

    Use as a context manager; the ledger is closed at the end.
    """

    def __init__(self, ledger: Ledger, plan: Plan) -> None:
        self._ledger = ledger
        self._plan = plan
        self._blocks = Blocks(ledger)

    def spend(self, phase: PlanPhase, count: int = 1) -> None:
        """Reserve steps of a phase, durably, before any record is touched.

        Once `pace` was called, a block of them is on disk ahead of its steps.

        Raises:
            BudgetExceededError: The plan has no such steps left; nothing was written.
            PolicyError: Another process has taken over this run.
            LedgerError: The ledger cannot be written.
        """
        self._blocks.take(phase.name, count)

    def pace(self, phase: PlanPhase, size: int) -> None:
        """Reserve the steps of a phase in blocks of this size from now on."""
        self._blocks.pace(phase.name, size)

    def held(self, phase: PlanPhase) -> int:
        """Return how many steps of a phase count already and are still to be done."""
        return self._blocks.held(phase.name)

    def remaining(self, phase: PlanPhase) -> int:
        """Return how many steps of a phase may still be carried out."""
        return phase.steps - self.counted(phase) + self.held(phase)

    def counted(self, phase: PlanPhase) -> int:
        """Return how many steps of a phase count: begun on any branch, or held."""
        return self._ledger.counted(phase.name)

    def settle(self, phase: PlanPhase, count: int) -> None:
        """Note that steps were carried out; changes nothing that counts."""
        self._ledger.settle(phase.name, count)

    def release(self, name: str, digest: str) -> None:
        """Note that a file left the run."""
        self._ledger.record_release(name, digest)

    def confess_seed(self) -> None:
        """Note that the noise of this run can be predicted; the report then says so."""
        self._ledger.record_unsafe("unsafe_seed")

    def keep(self, rules: RunRules, folder: Path) -> None:
        """Note which policy and approval the run is held to."""
        rules.bind(self._ledger, read(folder / LEDGER_NAME))

    def head(self) -> LedgerHead:
        """Return the present end of the ledger's chain."""
        return self._ledger.head()

    def knows(self, head: LedgerHead) -> bool:
        """Return whether an earlier head is still part of the chain."""
        return self._ledger.hash_at(head.sequence) == head.hash

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ledger.close()


def begin(
    plan: Plan,
    images: PrivateImages,
    folder: Path,
    *,
    charge: Charge | None = None,
    processes: int = 1,
) -> Guard:
    """Open a new ledger for a plan on some data that `check` has passed.

    Args:
        plan: What will run.
        images: The private records.
        folder: The run folder.
        charge: The register that pays for the run; reserved before the ledger exists.
        processes: How many carry it out; this one keeps the ledger.

    Raises:
        BudgetExceededError: The data set has not enough left.
        PolicyError: The folder already holds a run, or the register refuses.
    """
    digest = data_digest(images)
    taken = None if charge is None else charge.reserve(plan, digest)
    ledger = Ledger.create(
        folder / LEDGER_NAME,
        plan_digest=plan.digest,
        data_digest=digest,
        code_digest=source_digest(),
        allowances=[
            Allowance(phase=phase.name, event=phase.event, steps=phase.steps)
            for phase in plan.phases
        ],
        processes=processes,
    )
    return _tied(ledger, plan, folder, charge, taken)


def resume(
    plan: Plan,
    images: PrivateImages,
    folder: Path,
    *,
    allow_code_change: bool = False,
    charge: Charge | None = None,
    processes: int = 1,
) -> Guard:
    """Open the ledger of a run that began earlier; after `check`.

    Raises:
        PolicyError: Another plan, other data or other code than the run began with, a
            run that was settled, or one whose register was not given.
        IntegrityError: The ledger's chain is broken.
    """
    digest, content = data_digest(images), read(folder / LEDGER_NAME)
    check_resume(content, charge)
    taken = None if charge is None else charge.take_up(plan, digest, content)
    ledger = Ledger.resume(
        folder / LEDGER_NAME,
        plan_digest=plan.digest,
        data_digest=digest,
        code_digest=source_digest(),
        allow_code_change=allow_code_change,
        processes=processes,
    )
    return _tied(ledger, plan, folder, charge, taken)


def _tied(
    ledger: Ledger,
    plan: Plan,
    folder: Path,
    charge: Charge | None,
    taken: Reservation | None,
) -> Guard:
    try:
        if charge is not None and taken is not None:
            charge.begin(taken, ledger, folder / LEDGER_NAME)
    except BaseException:
        ledger.close()
        raise
    return Guard(ledger, plan)
