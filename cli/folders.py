"""Where runs live: `runs/<digest of the plan>` beside the plan, unless told else."""

from __future__ import annotations

from pathlib import Path

from privplan import plan as plans
from privplan.errors import DataError, DocumentError
from privplan.plan import Plan

PLAN_NAME = "plan.json"
LEDGER_NAME = "ledger.sqlite"


def default_run_folder(plan: Plan) -> Path:
    """Return where the run of a plan goes by default."""
    return Path("runs") / plan.digest[:12]


def plan_and_folder(given: Path | None, out: Path | None) -> tuple[Plan, Path]:
    """Find the plan to apply and the folder to run it in.

    Args:
        given: A plan file, a run folder, or nothing for ./plan.json.
        out: The run folder, if the user named one.

    Raises:
        DocumentError: There is no plan there.
        IntegrityError: The plan was changed.
    """
    if given is not None and given.is_dir():
        return plans.read(given / PLAN_NAME), out or given
    if given is None and out is not None and (out / PLAN_NAME).is_file():
        given = out / PLAN_NAME
    plan = plans.read(given or Path(PLAN_NAME))
    return plan, out or default_run_folder(plan)


def run_folder(given: Path | None) -> tuple[Plan, Path]:
    """Find a run that exists: the folder given, this one, or that of ./plan.json.

    Raises:
        DocumentError: There is no run there.
        IntegrityError: Its plan was changed.
    """
    here = Path()
    if given is None and (here / LEDGER_NAME).is_file():
        given = here
    folder = given or default_run_folder(plans.read(Path(PLAN_NAME)))
    if not (folder / PLAN_NAME).is_file():
        raise DocumentError(
            f"{folder} holds no run",
            hint="give the folder that privplan train wrote, as in runs/0123456789ab",
        )
    return plans.read(folder / PLAN_NAME), folder


def ledger_file(given: Path | None) -> Path:
    """Find a ledger: the file given, or that of a run folder.

    Raises:
        DocumentError: There is no run there.
    """
    if given is not None and not given.is_dir():
        return given
    if given is not None:
        return given / LEDGER_NAME
    return run_folder(None)[1] / LEDGER_NAME


def require_samples(folder: Path) -> None:
    """Refuse to evaluate a run without samples.

    Raises:
        DataError: There are none.
    """
    if not (folder / "samples" / "samples.npz").is_file():
        raise DataError(
            f"{folder} holds no samples to evaluate",
            hint="draw some first with privplan sample",
        )
