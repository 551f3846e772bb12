"""What the commands do, once their options are read; the demo strings them together.

Heavy imports stay inside the functions, so that `--help`, `plan` and `verify` never
load torch.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cli.live import Interrupt, LiveView, QuietView
from cli.plan_inputs import check_public
from privplan import canonical, files, keys, ledger, report, signing
from privplan.code_identity import source_digest
from privplan.errors import DocumentError, ParameterError
from privplan.keys import SigningKey
from privplan.plan import Plan
from privplan.report_schema import PREDICATE_TYPE, Predicate, Surroundings, Utility
from privplan.version import __version__

if TYPE_CHECKING:
    from diffusion.evaluate import Scores
    from diffusion.sampling import SampleRequest
    from diffusion.watching import RunOptions

LEDGER_NAME = "ledger.sqlite"
REPORT_NAME = "report.json"
PUBLIC_KEY_NAME = "trainer.pub"
EVALUATION_NAME = "evaluation.json"
_ARTEFACTS = (
    "plan.json",
    "answers.json",
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
    several, first = options.ranks.count > 1, options.ranks.first
    interrupt = Interrupt(quiet=not first, launcher=os.getppid() if several else None)
    watching = LiveView(plan, interrupt) if first else QuietView(interrupt)
    with watching.shown() as view:
        return train(
            plan,
            images,
            folder,
            public=None if public is None else load_public(public),
            resume=resume,
            options=options,
            watcher=view,
        ).finished


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


def evaluate_public(
    plan: Plan, folder: Path, data: str, image_size: int | None = None
) -> Scores:
    """Score the samples of a run on public held-out images; keep the result."""
    from diffusion import evaluate, sampling  # noqa: PLC0415
    from diffusion.data import load_public  # noqa: PLC0415

    held_out = load_public(
        data, split="test", image_size=image_size, classes=plan.data.classes
    )
    scores = evaluate.evaluate(sampling.read(folder), held_out)
    decimals = {n: canonical.decimal_text(v) for n, v in as_numbers(scores).items()}
    text = canonical.canonical_bytes(
        {"data": "public by declaration", "scores": {**decimals}}
    )
    files.write_bytes(folder / EVALUATION_NAME, text, what="evaluation")
    return scores


def evaluate_locally(
    plan: Plan, folder: Path, data: str, image_size: int | None = None
) -> Scores:
    """Score the samples on private images, for the screen of the data holder only."""
    from diffusion import evaluate, sampling  # noqa: PLC0415
    from diffusion.data import load_private  # noqa: PLC0415

    held_out = load_private(
        data, split="test", image_size=image_size, classes=plan.data.classes
    )
    local = evaluate.evaluate_locally(sampling.read(folder), held_out)
    return local.show_to_the_data_holder()


def as_numbers(scores: Scores) -> dict[str, float]:
    """Return scores as plain numbers by name."""
    return {name: float(value) for name, value in asdict(scores).items()}


def write_report(plan: Plan, folder: Path, key: SigningKey, out: Path) -> Predicate:
    """Build, sign and write the report of a run; return what it says."""
    content = ledger.read(folder / LEDGER_NAME)
    around = Surroundings(
        source_digest=source_digest(),
        versions={
            "privplan": __version__,
            **{name: metadata.version(name) for name in _NAMED},
        },
        platform=f"{platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
        utility=_utility(folder),
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
    files.write_bytes(out, signing.sign(statement, key), what="report")
    keys.write_public(key.public, out.parent / PUBLIC_KEY_NAME)
    return predicate


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
