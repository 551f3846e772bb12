"""What the commands do, once their options are read; the demo strings them together.

Heavy imports stay inside the functions, so that `--help`, `plan` and `verify` never
load torch.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cli import pages
from cli.evaluation import EVALUATION_NAME
from cli.live import Interrupt, LiveView, Wanted
from cli.plan_inputs import check_public
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
from privplan.errors import DocumentError, ParameterError
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

if TYPE_CHECKING:
    from diffusion.latents import LatentSpace
    from diffusion.pretrained import PretrainedWeights
    from diffusion.sampling import SampleRequest
    from diffusion.watching import RunOptions

LEDGER_NAME = "ledger.sqlite"
REPORT_NAME = "report.json"
PUBLIC_KEY_NAME = "trainer.pub"
_ARTEFACTS = (
    "plan.json",
    "answers.json",
    PREFLIGHT_NAME,
    "checkpoint/model.safetensors",
    "checkpoint/state.safetensors",
    "samples/samples.npz",
    "samples/samples.png",
    EVALUATION_NAME,
)
_NAMED = ("torch", "numpy", "scipy", "dp-accounting", "prv-accountant")


def run_training(
    plan: Plan,
    data: str,
    folder: Path,
    *,
    resume: bool,
    options: RunOptions,
    image_size: int | None = None,
    public: str | None = None,
    wanted: Wanted | None = None,
) -> bool:
    """Carry out a plan; return whether it finished.

    A plan that holds no second opinions is shown to the other accountants first.

    Raises:
        PrivplanError: Refused, or not possible.
    """
    check_public(data, public)
    from diffusion.data import load_private, load_public  # noqa: PLC0415
    from diffusion.run import train  # noqa: PLC0415

    images = load_private(data, image_size=image_size, classes=plan.data.classes)
    interrupt = Interrupt()
    with LiveView(plan, interrupt, folder, wanted=wanted).shown() as view:
        if wanted is not None and wanted.previews:
            options = replace(options, gallery=view)
        finished = train(
            plan,
            images,
            folder,
            public=None if public is None else load_public(public),
            resume=resume,
            options=options,
            watcher=view,
        ).finished
        view.finish(finished=finished)
    return finished


def weights_of(folder: Path | None) -> PretrainedWeights | None:
    """Load the pretrained checkpoint in a folder; None where none is named.

    Raises:
        PrivplanError: There is none, or it was changed.
    """
    if folder is None:
        return None
    from diffusion import pretrained  # noqa: PLC0415 - imports torch

    return pretrained.load(folder)


def space_of(folder: Path | None, device: str) -> LatentSpace | None:
    """Load the autoencoder in a folder; None where none is named.

    Raises:
        PrivplanError: There is none, or it was changed.
    """
    if folder is None:
        return None
    from diffusion import latents  # noqa: PLC0415 - imports torch

    return latents.load(folder, device=device)


def data_of(plan: Plan, given: str | None) -> str:
    """Return the data to train on: what was given, or the embedded set of the plan.

    Raises:
        ParameterError: The plan is for data that must be named.
    """
    if given is not None:
        return given
    if plan.data.embedded is not None:
        return plan.data.embedded
    raise ParameterError(
        "this plan is not for embedded data, so the data must be named",
        hint="add --data with the folder or file the plan was made for",
    )


def draw_samples(plan: Plan, folder: Path, request: SampleRequest) -> tuple[Path, Path]:
    """Draw and write samples; return the archive and the picture."""
    from diffusion import sampling  # noqa: PLC0415

    samples = sampling.draw(plan, folder, request)
    return sampling.write(samples, folder, classes=plan.data.classes)


def write_report(plan: Plan, folder: Path, key: SigningKey, out: Path) -> Predicate:
    """Build, sign and write the report of a run, and its page; return what it says."""
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
    text = signing.sign(statement, key)
    files.write_bytes(out, text, what="report")
    pages.write(text, pages.beside(out))
    keys.write_public(key.public, out.parent / PUBLIC_KEY_NAME)
    return predicate


def code() -> Code:
    """Say what runs here, and on what; nobody's name, no machine's name."""
    return Code(
        source_digest=source_digest(),
        versions={
            "privplan": __version__,
            **{name: metadata.version(name) for name in _NAMED},
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
