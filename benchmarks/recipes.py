"""What a recipe reaches on real images: the table of docs/recipes.md.

    python benchmarks/recipes.py --data MNIST --data FASHION --out RUNS
    python benchmarks/recipes.py --data MNIST --eps 10 --stages best --stages dpdm \
        --out RUNS

Each row is a plan made from the declared facts, a run of it, 5,000 samples without
guidance, and classifiers trained on these alone and tested on the real test images:
logistic regression, an MLP, and a small CNN. The Gaussian row is the whole budget in
one query, and no training. A folder of `--data` is anything `privplan --data` reads
that has a test split.

The images are taken to be public here: the scores look at them without noise. A run
that is in the folder already is not run again, only scored.
"""

import argparse
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from diffusion import run
from diffusion.data import describe, load_private, load_public
from diffusion.evaluation.scores import Scores, evaluate
from diffusion.pictures import save_grid
from diffusion.readers.image_set import PublicImages
from diffusion.sampler import SamplerConfig
from diffusion.sampling import SampleRequest, draw
from privplan import plan as plans
from privplan.planner import DeclaredData, PlanRequest, make_plan

GAUSSIAN = "coarse=gaussian,context=gaussian,cleaning=gaussian"
_SAMPLER_STEPS = 18
_CNN_STEPS, _CNN_BATCH, _CNN_RATE = 900, 64, 1.5e-3
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        data: Name of the image set.
        stages: Text of `--stages`.
        epsilon: Target.
        cnn: Accuracy of the CNN, 0 to 1.
        scores: What `diffusion.evaluation.scores` says.
        seconds: Processor time of the training; None where the run was there already.
    """

    data: str
    stages: str
    epsilon: float
    cnn: float
    scores: Scores
    seconds: float | None


def processor_seconds() -> float:
    """Return the processor time of this process so far, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def row(data: str, stages: str, epsilon: float, out: Path, images: int) -> Row:
    """Plan, train, sample and score."""
    name = "gaussian" if stages == GAUSSIAN else stages
    folder = out / f"{Path(data).name}-{name}-{epsilon:g}"
    seconds = None
    if not (folder / "checkpoint" / "model.safetensors").exists():
        made = make_plan(
            PlanRequest(
                target_epsilon=epsilon,
                data=DeclaredData(**asdict(describe(data))),
                stages=stages,
            )
        )
        before = processor_seconds()
        run.train(made, load_private(data), folder, resume=folder.exists())
        seconds = processor_seconds() - before
    made = plans.read(folder / run.PLAN_NAME)
    request = SampleRequest(
        count=images,
        sampler=SamplerConfig(
            steps=_SAMPLER_STEPS,
            sigma_min=made.training.sigma_min,
            sigma_max=made.training.sigma_max,
        ),
    )
    drawn = draw(made, folder, request)
    save_grid(drawn.images.numpy()[:_SHOWN], folder / "grid.png", columns=10)
    samples = PublicImages(drawn.images, drawn.labels, made.data.classes)
    test = load_public(data, split="test")
    return Row(
        data=Path(data).name,
        stages=name,
        epsilon=epsilon,
        cnn=cnn_accuracy(samples, test),
        scores=evaluate(samples, test),
        seconds=seconds,
    )


def cnn_accuracy(train: PublicImages, test: PublicImages) -> float:
    """Return the accuracy on one set of a small CNN trained on another."""
    classes = train.classes
    shape = train.shape
    side = (shape.height // 4) * (shape.width // 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(shape.channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * side, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )
        optimiser = torch.optim.Adam(network.parameters(), _CNN_RATE)
        for step in range(_CNN_STEPS):
            for group in optimiser.param_groups:
                group["lr"] = _CNN_RATE * (1 - step / _CNN_STEPS)
            chosen = torch.randint(len(train.labels), (_CNN_BATCH,))
            pictures, labels = train.batch(chosen)
            optimiser.zero_grad()
            torch.autograd.backward(functional.cross_entropy(network(pictures), labels))
            optimiser.step()
    network.eval()
    right = [
        _right(network, *test.batch(part))
        for part in torch.arange(len(test.labels)).split(1000)
    ]
    return sum(right) / len(test.labels)


def _right(network: nn.Module, pictures: Tensor, labels: Tensor) -> int:
    with torch.no_grad():
        return int((network(pictures).argmax(dim=1) == labels).sum())


def main() -> None:
    """Read the options, print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--eps", action="append", type=float)
    parser.add_argument("--stages", action="append")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| data | epsilon | plan | LR | MLP | CNN | Frechet | CPU minutes |")
    print("|---|---|---|---|---|---|---|---|")
    for data in options.data:
        for epsilon in options.eps or [10.0, 1.0]:
            for stages in options.stages or ["best", GAUSSIAN]:
                found = row(data, stages, epsilon, options.out, options.images)
                spent = "-" if found.seconds is None else f"{found.seconds / 60:.1f}"
                scores = found.scores
                print(
                    f"| {found.data} | {epsilon:g} | {found.stages} "
                    f"| {scores.accuracy.logistic_regression:.3f} "
                    f"| {scores.accuracy.mlp:.3f} "
                    f"| {found.cnn:.3f} | {scores.frechet_pooled_pixels:.2f} "
                    f"| {spent} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
