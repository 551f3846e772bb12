"""What the commands do, once their options are read; the demo strings them together.

Heavy imports stay inside the functions, so that `--help`, `plan` and `verify` never
load torch.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli import pages
from cli.live import Interrupt, LiveView, QuietView, Wanted
from cli.plan_inputs import check_public
from privplan import run_report
from privplan.errors import ParameterError
from privplan.keys import SigningKey
from privplan.plan import Plan
from privplan.report_schema import Predicate

if TYPE_CHECKING:
    from diffusion.latents import LatentSpace
    from diffusion.pretrained import PretrainedWeights
    from diffusion.sampling import SampleRequest
    from diffusion.watching import RunOptions


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

    images = load_private(
        data,
        image_size=image_size,
        classes=plan.data.classes,
        unit=plan.data.unit(plan.budget),
        captions=plan.data.caption_column,
    )
    first, launched = options.ranks.first, options.ranks.count > 1
    interrupt = Interrupt(quiet=not first, launcher=os.getppid() if launched else None)
    if not first:
        watching: LiveView | QuietView = QuietView(interrupt)
    else:
        watching = LiveView(plan, interrupt, folder, wanted=wanted)
    with watching.shown() as view:
        if isinstance(view, LiveView) and wanted is not None and wanted.previews:
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
        if isinstance(view, LiveView):
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
    predicate = run_report.write_report(plan, folder, key, out)
    pages.write(out.read_bytes(), pages.beside(out))
    return predicate
