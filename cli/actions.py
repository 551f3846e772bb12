"""What the commands do, once their options are read; the demo strings them together.

Heavy imports stay inside the functions, so that `--help`, `plan` and `verify` never
load torch.
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cli import durations
from cli.live import Interrupt, LiveView
from privplan import canonical, files, keys, ledger, report, signing
from privplan.budget import NOTHING_SPENT, Spent
from privplan.candidates import Compute, compute_of_time
from privplan.code_identity import source_digest
from privplan.errors import DocumentError, ExitCode, ParameterError
from privplan.keys import SigningKey
from privplan.plan import Plan
from privplan.planner import (
    DIGITS,
    DeclaredData,
    PlanRequest,
    PublicData,
    make_plan,
)
from privplan.report_schema import PREDICATE_TYPE, Surroundings, Utility
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


def declared_data(
    data: str | None, records: int | None, image_size: int | None, classes: int | None
) -> DeclaredData:
    """Turn `--data` or `--n` into declared facts; reads file headers at most.

    Raises:
        ParameterError: Both were given.
        DataError: The source cannot be described.
    """
    if data is not None and records is not None:
        raise ParameterError(
            "--n and --data were both given",
            hint="give --data to declare what its headers say, or --n for a number",
        )
    if records is not None:
        side = 28 if image_size is None else image_size
        return DeclaredData(
            records=records,
            channels=1,
            height=side,
            width=side,
            classes=10 if classes is None else classes,
        )
    if data is None or data == "digits":
        if image_size is not None or classes is not None:
            raise ParameterError(
                "--image-size and --classes do not apply to the embedded digits",
                hint="leave them away, or name your images with --data",
            )
        return DIGITS
    from diffusion.data import describe  # noqa: PLC0415

    shape = describe(data, image_size=image_size, classes=classes)
    return DeclaredData(**asdict(shape))


def spent_of(text: str | None) -> Spent:
    """Read `--spent EPSILON,DELTA`.

    Raises:
        ParameterError: It is not two numbers.
    """
    if text is None:
        return NOTHING_SPENT
    try:
        epsilon, delta = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ParameterError(
            f"'{text[:40]}' does not say what was spent",
            hint="write --spent EPSILON,DELTA as in --spent 0.4,1e-6",
        ) from error
    return Spent(epsilon=epsilon, delta=delta)


def compute_of(
    request: PlanRequest, time: str | None, draws: float | None
) -> Compute | None:
    """Turn `--compute` or `--draws` into draws; a time is measured on this machine.

    Raises:
        ParameterError: Both were given, or one is not a positive amount.
    """
    if time is not None and draws is not None:
        raise ParameterError(
            "--compute and --draws were both given",
            hint="give --compute a time or --draws a number of rows",
        )
    if draws is not None:
        return Compute(draws=draws)
    if time is None:
        return None
    seconds = durations.seconds_of(time)
    from diffusion.plan_speed import seconds_per_draw  # noqa: PLC0415 - imports torch

    each = seconds_per_draw(make_plan(request))
    return compute_of_time(seconds, seconds_per_draw=each)


def declared_public(public: str | None) -> PublicData | None:
    """Turn `--public` into what a plan says of public images; reads them whole.

    Raises:
        DataError: They cannot be read.
    """
    if public is None:
        return None
    from diffusion.data import load_public, public_digest  # noqa: PLC0415

    return PublicData(
        name=Path(public).name,
        digest=public_digest(load_public(public)),
        declared_by="whoever made this plan",
    )


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
    from diffusion.data import load_private, load_public  # noqa: PLC0415
    from diffusion.run import train  # noqa: PLC0415

    images = load_private(data, image_size=image_size, classes=plan.data.classes)
    interrupt = Interrupt()
    with LiveView(plan, interrupt).shown() as view:
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


def write_report(plan: Plan, folder: Path, key: SigningKey, out: Path) -> ExitCode:
    """Build, sign and write the report of a run; 5 if it makes no claim."""
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
    return ExitCode.OK if predicate.verdict == "dp-claim" else ExitCode.POLICY


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
