"""The report of a run folder: its ledger read, its files digested, the result signed.

`report` turns a plan and a ledger into a claim and is pure. This is the edge around it:
what lies in a run folder, by name, and what runs here.

Edges: reads a run folder, writes a report and the signer's public key beside it.
"""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from privplan import (
    audits,
    canonical,
    files,
    keys,
    ledger,
    preflight,
    report,
    signing,
)
from privplan.code_identity import source_digest
from privplan.errors import DocumentError
from privplan.keys import SigningKey
from privplan.plan import Plan
from privplan.preflight import PREFLIGHT_NAME, PreflightPart
from privplan.report_schema import (
    PREDICATE_TYPE,
    Code,
    Predicate,
    Surroundings,
    Utility,
)
from privplan.version import __version__

PLAN_NAME = "plan.json"
LEDGER_NAME = "ledger.sqlite"
REPORT_NAME = "report.json"
PUBLIC_KEY_NAME = "trainer.pub"
EVALUATION_NAME = "evaluation.json"
_ARTEFACTS = (
    PLAN_NAME,
    "answers.json",
    PREFLIGHT_NAME,
    "checkpoint/model.safetensors",
    "checkpoint/state.safetensors",
    "samples/samples.npz",
    "samples/samples.png",
    EVALUATION_NAME,
)
_NAMED = ("torch", "numpy", "scipy", "dp-accounting", "prv-accountant")


def write_report(
    plan: Plan, folder: Path, key: SigningKey, out: Path | None = None
) -> Predicate:
    """Build, sign and write the report of a run; return what it says.

    Args:
        plan: The run's plan.
        folder: The run folder.
        key: Who says it.
        out: Where the report goes; default `report.json` in the run folder. The
            signer's public key is put beside it.

    Raises:
        PrivplanError: The ledger or a file of the run cannot be read or is not what it
            should be, or the report cannot be written.
    """
    path = out or folder / REPORT_NAME
    content = ledger.read(folder / LEDGER_NAME)
    ran = code()
    around = Surroundings(
        source_digest=ran.source_digest,
        versions=ran.versions,
        platform=ran.platform,
        utility=_utility(folder),
        preflight=_preflight(folder),
        audits=audits.beside(folder, plan),
    )
    predicate = report.build(plan, content, around)
    found = {
        name: canonical.file_digest(folder / name)
        for name in _ARTEFACTS
        if (folder / name).is_file()
    }
    statement = signing.statement(
        subjects=found,
        predicate_type=PREDICATE_TYPE,
        predicate=report.to_json(predicate),
    )
    # first: a key of somebody else is not replaced, and then nothing is written
    keys.write_public(key.public, path.parent / PUBLIC_KEY_NAME)
    files.write_bytes(path, signing.sign(statement, key), what="report")
    return predicate


def _installed() -> dict[str, str]:
    """Return the versions of the libraries that matter, where they are installed."""
    found = {}
    for name in _NAMED:
        with suppress(metadata.PackageNotFoundError):  # torch, where nothing is trained
            found[name] = metadata.version(name)
    return found


def code() -> Code:
    """Say what runs here, and on what; nobody's name, no machine's name.

    Example:
        >>> sorted(code().versions)[-2:]
        ['scipy', 'torch']
    """
    return Code(
        source_digest=source_digest(),
        versions={
            "privplan": __version__,
            **_installed(),
        },
        platform=f"{platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
    )


def _preflight(folder: Path) -> PreflightPart | None:
    path = folder / PREFLIGHT_NAME
    return preflight.from_text(path.read_bytes()) if path.is_file() else None


def _utility(folder: Path) -> tuple[Utility, ...]:
    path = folder / EVALUATION_NAME
    if not path.is_file():
        return ()
    kept = canonical.read_json(path.read_bytes(), what="evaluation")
    try:
        return tuple(
            Utility(name=name, value=canonical.read_decimal(value), data=kept["data"])
            for name, value in kept["scores"].items()
        )
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise DocumentError(
            f"{path} is not an evaluation that privplan wrote",
            hint="run privplan evaluate again",
        ) from error
