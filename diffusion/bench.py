"""Recipes over budgets and repetitions, on data that anyone may see.

    recipe, epsilon, repetition --> plan --> train --> sample --> scores --> one file

A benchmark looks at results and lets somebody choose by them. On private records every
look would have to be paid for; here nothing is charged beyond the runs themselves. So
it is for public benchmark data, and what was chosen with it holds as "chosen for free"
only on other data than those it was measured on.

Each repetition is a fresh run: privacy noise is never seeded. What is seeded (first
weights, synthetic images, the sampler) is the same in all, except that the sampler
counts repetitions.

A cell that is finished is a file and is not run again. A cell that broke off is begun
anew.

Edges: writes one folder: `cells/` with a file and `pictures/` with a grid per cell.
"""

from collections.abc import Callable, Iterator, Sequence

from diffusion.bench_cells import (
    REAL,
    Bench,
    BenchData,
    Cell,
    CellPlan,
    Task,
    measured,
)
from diffusion.bench_recipes import GAUSSIAN, parse, rivals
from diffusion.data import data_digest, load_private, load_public
from privplan import canonical, files
from privplan.fields import read_document

__all__ = [
    "REAL",
    "Bench",
    "BenchData",
    "Cell",
    "CellPlan",
    "Task",
    "fill",
    "load",
    "tasks",
]

_WHAT = "bench cell"


def tasks(bench: Bench) -> tuple[Task, ...]:
    """Return every cell, rivals and the ceiling included, each once.

    Raises:
        PrivplanError: A recipe is none, or the planner refuses it.
    """
    found = [Task(recipe=None, epsilon=bench.epsilons[0], repetition=1)]
    for epsilon in bench.epsilons:
        texts: dict[str, None] = {}
        for text in bench.recipes:
            chosen = parse(text, bench.declared)
            against = rivals(chosen, epsilon)
            texts |= dict.fromkeys((chosen.text, *(against * bench.with_rivals)))
        found += [
            Task(
                recipe=parse(text, bench.declared),
                epsilon=epsilon,
                repetition=repetition,
            )
            for text in sorted(texts, key=lambda text: text == GAUSSIAN)
            for repetition in range(1, bench.repetitions + 1)
        ]
    return tuple(found)


def fill(
    bench: Bench,
    data: BenchData,
    todo: Sequence[Task],
    *,
    begins: Callable[[Task], None],
) -> Iterator[Cell]:
    """Fill cells in order; those that are there already are read.

    Args:
        bench: What to measure.
        data: The images.
        todo: Cells, as from `tasks`.
        begins: Called before a cell is run.

    Yields:
        Each cell once it is finished and written.

    Raises:
        PrivplanError: A run is refused, or a file cannot be read or written.
    """
    same = data_digest(data.train_public) + data_digest(data.held_out)
    for name in ("cells", "pictures"):
        files.make_folder(bench.folder / name)
    for task in todo:
        path = bench.folder / "cells" / f"{_key(bench, task, same)}.json"
        if path.is_file():
            yield read_document(Cell, path.read_bytes(), what=_WHAT)
            continue
        begins(task)
        cell = measured(bench, data, task, path.stem)
        files.write_text(path, cell.model_dump_json(indent=2) + "\n", what=_WHAT)
        yield cell


def _key(bench: Bench, task: Task, same: str) -> str:
    """Name a cell by all that its numbers depend on, except the program's version."""
    number = canonical.decimal_text
    content: dict[str, object] = {
        "recipe": task.name,
        "repetition": task.repetition,
        "images": same,
        "features": [bench.features.name, bench.features.digest or ""],
        "declared": bench.declared.records,
    }
    if task.recipe is not None:
        content |= {
            "epsilon": number(task.epsilon),
            "delta": "" if bench.delta is None else number(bench.delta),
            "samples": bench.samples,
        }
    readable = "".join(c if c.isalnum() else "-" for c in task.name)[:40]
    return f"{readable}-{canonical.digest(content)[:12]}"


def load(source: str, *, image_size: int | None, classes: int | None) -> BenchData:
    """Load a benchmark whose images are declared public.

    Args:
        source: As `--data` takes it, with a train and a test split.
        image_size: Side to resize to, in pixels.
        classes: Number of classes, where the source does not tell.

    Raises:
        DataError: It cannot be read.
    """
    return BenchData(
        train=load_private(source, image_size=image_size, classes=classes),
        train_public=load_public(source, image_size=image_size, classes=classes),
        held_out=load_public(
            source, split="test", image_size=image_size, classes=classes
        ),
    )
