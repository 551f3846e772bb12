"""One cell of a benchmark: a recipe at a budget, run afresh, and its scores."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffusion import run, sampling
from diffusion.bench_recipes import BenchRecipe
from diffusion.data import PrivateImages, PublicImages
from diffusion.evaluation.features import Extractor
from diffusion.evaluation.released import answers_of, baseline_of
from diffusion.evaluation.scores import closeness, evaluate
from diffusion.sampler import SamplerConfig
from diffusion.watching import RunOptions
from privplan import checks
from privplan.code_identity import source_digest
from privplan.fields import Count, Digest, Document, Name, Number
from privplan.plan import Plan
from privplan.planner import DeclaredData

REAL = "real images"
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


def measured(bench: Bench, data: BenchData, task: Task, key: str) -> Cell:
    """Run one cell in a fresh folder and score it.

    Args:
        bench: What to measure.
        data: The images.
        task: Which cell.
        key: Names its folder and its picture.

    Raises:
        PrivplanError: The run is refused, or something cannot be written.
    """
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
