"""`privplan bench`: recipes side by side, on data that are public benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeRemainingColumn as Left

from cli import bench_view, plan_inputs
from cli.options import AsJson, Classes, Data, Delta, ImageSize
from privplan.errors import ParameterError, PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusion.bench import Cell, Task

_EMBEDDED = "digits"


def bench(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            help="best, dpdm, default, gaussian, staged, control, any text of "
            "--stages; with :pretrain=synthetic, :steps=100, :rate=.1, :draws=4."
        ),
    ] = None,
    *,
    epsilons: Annotated[
        str, typer.Option("--epsilons", help="Budgets, as in 1,10.")
    ] = "10",
    repetitions: Annotated[
        int,
        typer.Option("--seeds", "--repetitions", help="Fresh runs of each."),
    ] = 3,
    delta: Delta = None,
    data: Data = None,
    image_size: ImageSize = None,
    classes: Classes = None,
    public_benchmark: Annotated[
        bool,
        typer.Option(
            "--public-benchmark",
            help="I say that the images of --data are a public benchmark.",
        ),
    ] = False,
    samples: Annotated[int, typer.Option(help="Images drawn per run.")] = 1000,
    features: Annotated[
        str, typer.Option(help="encoder, pixels or inception=FILE, for distances.")
    ] = "encoder",
    rivals: Annotated[
        bool,
        typer.Option(
            "--rivals/--no-rivals",
            help="Add the Gaussian query alone, and DPDM at equal epsilon and work.",
        ),
    ] = True,
    out: Annotated[
        Path, typer.Option(help="Results; a finished cell is not run again.")
    ] = Path("bench"),
    as_json: AsJson = False,
) -> None:
    """Compare recipes on public benchmark data, over budgets and fresh runs.

    Choosing by what this shows is not charged, so it must not be your private data.

    Exit code: 0 measured, 1 stopped, 2 not a recipe, 5 data not said to be public.
    """
    if data not in (None, _EMBEDDED) and not public_benchmark:
        raise PolicyError(
            "a benchmark looks at results without being charged, and nobody said that "
            "these images are public",
            hint="add --public-benchmark if anyone may see them; for private images "
            "use privplan plan, train and evaluate",
        )
    budgets = _budgets(epsilons)
    declared = plan_inputs.declared_data(data, None, image_size, classes)
    from diffusion import bench as room  # noqa: PLC0415 - imports torch
    from diffusion.evaluation.features import extractor  # noqa: PLC0415

    loaded = room.load(data or _EMBEDDED, image_size=image_size, classes=classes)
    settings = room.Bench(
        declared=declared,
        recipes=tuple(recipes or ["best"]),
        epsilons=budgets,
        repetitions=repetitions,
        delta=delta,
        samples=samples,
        features=extractor(features, loaded.held_out.shape),
        folder=out,
        with_rivals=rivals,
    )
    todo = room.tasks(settings)
    cells = []
    with _progress(len(todo)) as (begins, done):
        for cell in room.fill(settings, loaded, todo, begins=begins):
            cells.append(cell)
            done(cell)
    bench_view.show(cells, settings.features.label, out, as_json=as_json)


def _budgets(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (float("nan"),)
    if not all(0 < epsilon < float("inf") for epsilon in found):
        raise ParameterError(
            f"--epsilons is '{text[:40]}'", hint="give numbers above 0, as in 1,10"
        )
    return found


@contextmanager
def _progress(
    total: int,
) -> Iterator[tuple[Callable[[Task], None], Callable[[Cell], None]]]:
    """Show which cell is being filled: a bar on a terminal, lines elsewhere."""
    out = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Left(),
        console=out,
        disable=not out.is_terminal,
    )
    with bar:
        row = bar.add_task("bench", total=total)

        def begins(task: Task) -> None:
            said = f"{task.name}, epsilon {task.epsilon:g}, run {task.repetition}"
            bar.update(row, description=said[:40])
            if not out.is_terminal:
                out.print(said, soft_wrap=True)

        yield begins, lambda _: bar.advance(row)
