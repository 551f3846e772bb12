"""`privplan audit` and `privplan preflight`: try the code, on made-up records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli import audit_view, folders, keyring, processes
from cli.options import AsJson
from privplan import audits, canonical, files, run_report
from privplan.audit_schema import CanaryBound, Kind
from privplan.errors import ExitCode
from privplan.measured import Measured
from privplan.plan import Plan

if TYPE_CHECKING:
    from diffusion.audit.one_run import OneRun
    from diffusion.watching import RunOptions

PlanOrRun = Annotated[
    Path | None, typer.Argument(help="A plan or run folder; default ./plan.json.")
]
Engine = Annotated[
    Literal["auto", "folded", "vmap", "loop", "opacus"],
    typer.Option(help="Per-example gradients: the engine to try."),
]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")]
Tell = Callable[[str, int, int], None]


def preflight(
    plan_or_run: PlanOrRun = None,
    *,
    engine: Engine = "auto",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Try a plan on random pictures, as train does before its first step.

    No private data is opened and nothing is counted.

    Exit code: 0 all in range, 1 no plan, 5 a check failed; train would refuse too.
    """
    from diffusion.preflight.flight import preflight as fly  # noqa: PLC0415 - torch
    from diffusion.processor import tuned_for  # noqa: PLC0415
    from diffusion.watching import RunOptions  # noqa: PLC0415

    made, _ = folders.plan_and_folder(plan_or_run, None)
    with tuned_for(made):
        found = fly(
            made, RunOptions(engine=engine, device=processes.device_here(device))
        )
    audit_view.preflight(found, as_json=as_json)


def audit(
    plan_or_run: PlanOrRun = None,
    *,
    kind: Annotated[
        Literal["replay", "conformance", "one-run"],
        typer.Option(help="Neighbours, laws of noise and sampling, or canaries."),
    ] = "conformance",
    eps: Annotated[
        float, typer.Option("--eps", help="one-run: epsilon of the audited steps.")
    ] = 1.0,
    canaries: Annotated[int, typer.Option(help="one-run: how many.")] = 2000,
    guesses: Annotated[
        int | None, typer.Option(help="one-run: default a tenth of the canaries.")
    ] = None,
    pixels: Annotated[
        int, typer.Option(help="one-run: canaries in pixel space; 0 for none.")
    ] = 0,
    coordinates: Annotated[
        int, typer.Option(help="conformance: numbers to test the noise on.")
    ] = 200_000,
    engine: Engine = "auto",
    device: Device = "cpu",
    key: Annotated[
        Path | None, typer.Option(help="Signing key; default the one of keys new.")
    ] = None,
    passphrase_file: keyring.PassphraseFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Default audit-KIND.json beside the plan.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look for violations of a plan's claim; sign what was found.

    Works on made-up records alone. No finding is absence of evidence.

    Exit code: 0 no violation found, 1 no plan or key, 2 a number is not allowed, 4 a
    violation was found.
    """
    from diffusion.audit.one_run import OneRun  # noqa: PLC0415 - imports torch
    from diffusion.watching import RunOptions  # noqa: PLC0415

    made, _ = folders.plan_and_folder(plan_or_run, None)
    signer = keyring.load(key or keyring.default_key(), passphrase_file)
    setting = OneRun(
        epsilon=eps,
        canaries=canaries,
        guesses=_tenth(canaries) if guesses is None else guesses,
    )
    options = RunOptions(engine=engine, device=processes.device_here(device))
    path = out or _beside(plan_or_run) / f"audit-{kind}.json"
    started = time.monotonic()
    with _bar() as tell:
        measured, bounds = _carry_out(
            kind, made, options, setting, (coordinates, pixels), tell
        )
    said = audits.build(
        kind,
        made,
        code=run_report.code(),
        settings=_settings(kind, setting, options, coordinates, pixels),
        measured=measured,
        bounds=bounds,
        seconds=time.monotonic() - started,
    )
    files.write_bytes(path, audits.sign(said, signer), what="audit")
    audit_view.audit(said, path, signer.public, as_json=as_json)
    violated = said.verdict == "violation"
    raise typer.Exit(ExitCode.VERIFICATION if violated else ExitCode.OK)


def _carry_out(
    kind: Kind,
    made: Plan,
    options: RunOptions,
    setting: OneRun,
    sizes: tuple[int, int],
    tell: Tell,
) -> tuple[list[Measured], list[CanaryBound]]:
    from diffusion.audit import conformance, one_run, replay  # noqa: PLC0415 - torch
    from diffusion.processor import tuned_for  # noqa: PLC0415

    coordinates, pixels = sizes
    with tuned_for(made):
        if kind == "replay":
            return replay.audit(made, options, progress=tell), []
        if kind == "conformance":
            found = conformance.audit(
                made, options, coordinates=coordinates, progress=tell
            )
            return found, []
        bounds = [one_run.in_gradients(setting, options, progress=tell)]
        if pixels:
            shown = one_run.OneRun(
                epsilon=setting.epsilon, canaries=pixels, guesses=_tenth(pixels)
            )
            bound = one_run.in_pixels(made, shown, options, progress=tell)
            bounds += [] if bound is None else [bound]
        return [], bounds


def _settings(
    kind: Kind, setting: OneRun, options: RunOptions, coordinates: int, pixels: int
) -> dict[str, str]:
    common = {"engine": options.engine, "device": options.device}
    if kind == "replay":
        return common
    if kind == "conformance":
        return common | {"coordinates": str(coordinates)}
    return common | {
        "epsilon": canonical.decimal_text(setting.epsilon),
        "delta": canonical.decimal_text(setting.delta),
        "canaries": str(setting.canaries),
        "guesses": str(setting.guesses),
        "steps": str(setting.steps),
        "sample_rate": canonical.decimal_text(setting.sample_rate),
        "pixels": str(pixels),
    }


def _tenth(canaries: int) -> int:
    """Return an even number of guesses, about a tenth of the canaries."""
    return max(canaries // 20 * 2, 2)


def _beside(given: Path | None) -> Path:
    if given is None:
        return Path()
    return given if given.is_dir() else given.parent


@contextmanager
def _bar() -> Iterator[Tell]:
    """Show how far an audit is, on a terminal."""
    console = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("audit", total=None)

        def tell(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield tell
