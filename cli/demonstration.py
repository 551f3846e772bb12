"""The main job from end to end on the embedded digits, in a fresh folder."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from cli import actions, evaluation, pages, render, report_view, verification
from privplan import files, keys, run_report
from privplan import plan as plans
from privplan.errors import ExitCode, PolicyError
from privplan.keys import Role
from privplan.plan import Plan
from privplan.plan_choice import choice_of
from privplan.planner import PlanRequest, make_plan

_SAMPLES = 1000
_GUIDANCE = 0.5
_HELD_OUT = "digits"


def run(out: Path | None, eps: float, *, as_json: bool) -> ExitCode:
    """Plan, train, sample, evaluate, report, verify; return the last exit code.

    With `as_json` everything said goes to standard error, and one object to standard
    output.

    Raises:
        PolicyError: The folder named exists already.
    """
    folder = _fresh(out)
    started = time.monotonic()
    with (
        contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    ):
        code = _all_steps(folder, eps)
    seconds = time.monotonic() - started
    if as_json:
        render.print_json(
            {"folder": str(folder), "verified": code == ExitCode.OK, "seconds": seconds}
        )
    else:
        render.talk(f"\nDone in {seconds:.0f} s. Look at {folder / 'samples'}")
    return code


def _all_steps(folder: Path, eps: float) -> ExitCode:
    _say("1 of 6", "plan what the budget buys, touching no record")
    made = make_plan(PlanRequest(target_epsilon=eps, stages="best"))
    files.make_folder(folder)
    plans.write(made, folder / "plan.json")
    render.plan(made, choice_of(made, seconds_per_draw=None))
    if not _train_and_sample(made, folder):
        render.talk(f"Stopped and saved. To resume: privplan train {folder} --resume")
        return ExitCode.ERROR
    return _report_and_verify(made, folder)


def _train_and_sample(made: Plan, folder: Path) -> bool:
    from diffusion.sampler import SamplerConfig  # noqa: PLC0415 - imports torch
    from diffusion.sampling import SampleRequest  # noqa: PLC0415
    from diffusion.watching import RunOptions  # noqa: PLC0415

    _say("2 of 6", "train under the plan; the ledger is written before each step")
    finished = actions.run_training(
        made,
        actions.data_of(made, None),
        folder,
        resume=False,
        options=RunOptions(),
    )
    if not finished:
        return False
    _say("3 of 6", f"draw {_SAMPLES:,} images")
    config = SamplerConfig(
        sigma_min=made.training.sigma_min, sigma_max=made.training.sigma_max
    )
    request = SampleRequest(count=_SAMPLES, guidance=_GUIDANCE, sampler=config)
    archive, picture = actions.draw_samples(made, folder, request)
    render.samples(archive, picture, _SAMPLES, as_json=False)
    return True


def _report_and_verify(made: Plan, folder: Path) -> ExitCode:
    _say("4 of 6", "score the samples on held-out digits, which are public")
    wanted = evaluation.Wanted(data=_HELD_OUT, image_size=None, public=True)
    evaluation.show(evaluation.evaluate(made, folder, wanted), as_json=False)
    _say("5 of 6", "write and sign the report")
    key_path = folder / "keys" / "trainer.key"
    files.make_folder(key_path.parent)
    keys.new_key(key_path, role=Role.TRAINER, passphrase=None)
    path = folder / run_report.REPORT_NAME
    signer = keys.load_key(key_path)
    written = actions.write_report(made, folder, signer, path)
    page = pages.beside(path)
    report_view.written(path, page, signer.public, written, as_json=False)
    _say("6 of 6", "verify the report, as a stranger would")
    found, pinned = verification.verify_report(
        path, trusted=[key_path.with_suffix(".pub")], ledger_path=None, folder=None
    )
    report_view.verdict(found, pinned=pinned, as_json=False)
    return found.exit_code


def _fresh(out: Path | None) -> Path:
    if out is not None:
        if out.exists():
            raise PolicyError(
                f"{out} exists already", hint="give --out a folder that does not exist"
            )
        return out
    number, folder = 1, Path("privplan-demo")
    while folder.exists():
        number += 1
        folder = Path(f"privplan-demo-{number}")
    return folder


def _say(number: str, text: str) -> None:
    render.talk(f"\n[{number}] {text}")
