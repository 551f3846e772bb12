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

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion import run, sampling
from diffusion.bench_recipes import GAUSSIAN, BenchRecipe, parse, rivals
from diffusion.data import (
    PrivateImages,
    PublicImages,
    data_digest,
    load_private,
    load_public,
)
from diffusion.evaluation.features import Extractor
from diffusion.evaluation.released import answers_of, baseline_of
from diffusion.evaluation.scores import closeness, evaluate
from diffusion.sampler import SamplerConfig
from diffusion.watching import RunOptions
from privplan import canonical, checks, files
from privplan.code_identity import source_digest
from privplan.fields import Count, Digest, Document, Name, Number, read_document
from privplan.plan import Plan
from privplan.planner import DeclaredData

REAL = "real images"
_WHAT = "bench cell"
Numbers = dict[str, Number]


class CellPlan(Document):
    """What a plan settled, where there was one."""

    digest: Digest
    epsilon: Number
    delta: Number
    steps: int
    sample_rate: Number
    noise_multiplicity: int
    noise_multiplier: Number


class Cell(Document):
    """One finished measurement."""

    recipe: Name
    epsilon: Number
    repetition: Count
    source_digest: Digest
    plan: CellPlan | None
    scores: Numbers
    its_gaussian: Numbers | None
    seconds: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What to measure.

    Attributes:
        declared: What is declared about the images.
        recipes: Texts of recipes; see `diffusion.bench_recipes`.
        epsilons: Budgets.
        repetitions: Fresh runs of each.
        delta: Of every budget; None for the default.
        samples: How many images each run draws.
        features: On which distances are taken.
        folder: Where results are kept.
        with_rivals: Whether to add the Gaussian query alone and DPDM.
        options: Speed.
    """

    declared: DeclaredData
    recipes: tuple[str, ...]
    epsilons: tuple[float, ...]
    repetitions: int
    features: Extractor
    folder: Path
    delta: float | None = None
    samples: int = 1000
    with_rivals: bool = True
    options: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        checks.count(repetitions=self.repetitions, samples=self.samples)
        for epsilon in self.epsilons:
            checks.positive(epsilon=epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchData:
    """The same public images, as the two types that training and scoring take.

    Attributes:
        train: To be trained on.
        train_public: The same, for a ceiling.
        held_out: To be tested on.
    """

    train: PrivateImages
    train_public: PublicImages
    held_out: PublicImages


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One cell to fill.

    Attributes:
        recipe: What to run; None to score the real training images.
        epsilon: The budget.
        repetition: From 1.
    """

    recipe: BenchRecipe | None
    epsilon: float
    repetition: int

    @property
    def name(self) -> str:
        """The recipe as tables call it."""
        return REAL if self.recipe is None else self.recipe.text


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
        cell = _measured(bench, data, task, path.stem)
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


def _measured(bench: Bench, data: BenchData, task: Task, key: str) -> Cell:
    if task.recipe is None:
        return _cell(task, None, _scored(bench, data, data.train_public), None, {})
    folder = bench.folder / "runs" / key
    # of a cell that broke off: half a run of public data, begun anew
    shutil.rmtree(folder, ignore_errors=True)
    plan = task.recipe.plan(task.epsilon, bench.delta)
    started = time.process_time()
    run.train(plan, data.train, folder, options=bench.options)
    trained = time.process_time()
    samples, picture = _drawn(bench, task, plan, folder)
    drawn = time.process_time()
    picture.replace(bench.folder / "pictures" / f"{key}.png")
    answers = answers_of(plan, folder)
    own = baseline_of(plan, answers, bench.samples, seed=task.repetition)
    shutil.rmtree(folder, ignore_errors=True)
    return _cell(
        task,
        plan,
        _scored(bench, data, samples),
        None if own is None else _scored(bench, data, own),
        {"train": trained - started, "sample": drawn - trained},
    )


def _scored(bench: Bench, data: BenchData, images: PublicImages) -> dict[str, float]:
    """Score against held-out images, and measure distances to the training ones too.

    Published distances are to training images, which on private records would be a
    release; held-out images may come from other hands than the training images.
    """
    found = evaluate(images, data.held_out, bench.features).numbers()
    close = closeness(images, data.train_public, bench.features)
    return found | {
        f"frechet to training {close.features}": close.frechet,
        f"kernel to training {close.features}": close.kernel,
    }


def _cell(
    task: Task,
    plan: Plan | None,
    scores: dict[str, float],
    own: dict[str, float] | None,
    seconds: Mapping[str, float],
) -> Cell:
    return Cell(
        recipe=task.name,
        epsilon=task.epsilon,
        repetition=task.repetition,
        source_digest=source_digest(),
        plan=None if plan is None else _settled(plan),
        scores=scores,
        its_gaussian=own,
        seconds=dict(seconds),
    )


def _drawn(
    bench: Bench, task: Task, plan: Plan, folder: Path
) -> tuple[PublicImages, Path]:
    training = plan.training
    request = sampling.SampleRequest(
        count=bench.samples,
        sampler=SamplerConfig(
            sigma_min=training.sigma_min, sigma_max=training.sigma_max
        ),
        seed=task.repetition,
    )
    boundary = None if task.recipe is None else task.recipe.answers_from
    answering = plan if boundary is None else _answers_from(plan, boundary)
    drawn = sampling.draw(answering, folder, request)
    _, picture = sampling.write(drawn, folder, classes=plan.data.classes)
    return sampling.read(folder), picture


def _answers_from(plan: Plan, sigma: float) -> Plan:
    """Let the highest stage answer from another sigma; a choice of sampling alone."""
    coarse, below, *rest = plan.stages
    moved = (
        coarse.model_copy(update={"sigma_min": sigma}),
        below.model_copy(update={"sigma_max": sigma}),
        *rest,
    )
    return plan.model_copy(update={"stages": moved})


def _settled(plan: Plan) -> CellPlan:
    phases = plan.private_phases
    return CellPlan(
        digest=plan.digest,
        epsilon=plan.accounting.epsilon_upper,
        delta=plan.budget.target_delta,
        steps=sum(phase.steps for phase in phases),
        sample_rate=phases[0].mechanism.sample_rate if phases else 0.0,
        noise_multiplicity=phases[0].noise_multiplicity if phases else 0,
        noise_multiplier=phases[0].mechanism.noise_multiplier if phases else 0.0,
    )


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
