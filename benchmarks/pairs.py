"""Public first, private after, on real images: the tables of docs/fine-tuning.md.

    python benchmarks/pairs.py --out RUNS --mnist MNIST --notmnist NOTMNIST.npz \
        --omniglot OMNIGLOT.npz --cifar CIFAR.npz --pneumonia PNEUMONIA.npz

    notMNIST letters, Omniglot  --> MNIST
    drawn images, classes 0..4  --> classes 5..9 of CIFAR-10, numbered 0..4
    drawn images                --> PneumoniaMNIST, by image and by patient
    notMNIST letters            --> MNIST, tuning a part of the network

Beside each stands the same private training without any public knowledge, with the
same epsilon, steps, expected batch, noise draws, learning rate and network. A set that
is not given is left out. Each cell is one run and one line of OUT/cells.jsonl; a cell
with a line there is not run again, so other settings need another OUT.

**The patients are made up**: three consecutive images of one class are declared to be
one. No setting was chosen by these scores, which look at the images without noise.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from pair_data import PARTS, PATIENT, part, patients

from diffusion import pretrained, run
from diffusion.data import describe, load_private, load_public
from diffusion.evaluation.scores import Scores, evaluate
from diffusion.pictures import save_grid
from diffusion.readers.image_set import PublicImages
from diffusion.sampler import SamplerConfig
from diffusion.sampling import SampleRequest, draw
from diffusion.watching import RunOptions, Silent
from privplan import plan_size
from privplan.budget import PrivacyUnit
from privplan.network_text import parse
from privplan.plan import Plan
from privplan.planner import (
    DeclaredData,
    PlanRequest,
    TrainingWishes,
    Wishes,
    make_plan,
)

TUNINGS = ("attention", "lora:4@attention+conv")
SETS = ("mnist", "notmnist", "omniglot", "cifar", "pneumonia")
_TESTED_ON = 2000
_ROWS_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run.

    Attributes:
        private: Name of the private records.
        begin: Checkpoint to begin from; "scratch" for none, "real" to train nothing
            and to score real training images.
        epsilon: Target.
        tune: What private steps change.
        unit: Whose presence is protected; None for each image its own.
    """

    private: str
    begin: str
    epsilon: float = 10.0
    tune: str = "all"
    unit: PrivacyUnit | None = None

    @property
    def name(self) -> str:
        unit = "image" if self.unit is None else self.unit.name
        tuned = self.tune.replace(":", "").replace("@", "-")
        return f"{self.private}-{unit}-{self.begin}-{tuned}-{self.epsilon:g}"


class Stopwatch(Silent):
    """CPU seconds of this process per private step, from the first step on."""

    def __init__(self) -> None:
        self.first = self.last = (0, 0.0)

    def advance(self, phase: Any, *, done: int) -> None:
        self.last = (done, time.process_time())
        if done == 1:
            self.first = self.last

    @property
    def per_step(self) -> float:
        return (self.last[1] - self.first[1]) / max(self.last[0] - self.first[0], 1)


def cells(given: set[str]) -> list[Cell]:
    """List what to run, of the sets that are given."""
    begins = ("scratch", "notmnist", "omniglot")
    halves = ("scratch", "drawn-photographs", "other-half")
    found = [Cell(private="mnist", begin=begin) for begin in begins]
    found += [Cell(private="mnist", begin="notmnist", tune=tune) for tune in TUNINGS]
    found += [Cell(private="cifar", begin=begin) for begin in halves]
    chest = [
        Cell(private="pneumonia", begin=begin, unit=unit)
        for begin in ("drawn-chest", "scratch")
        for unit in (PATIENT, None)
    ]
    found += chest[:2]
    found += [Cell(private="mnist", begin=begin, epsilon=1.0) for begin in begins]
    found += chest[2:]
    found += [
        Cell(private=private, begin="real", epsilon=0)
        for private in ("mnist", "cifar", "pneumonia")
    ]
    return [
        cell
        for cell in found
        if cell.private in given and (cell.begin in given or cell.begin not in SETS)
    ]


class Workshop:
    """The images, checkpoints and runs of one benchmark, in one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.sets = {name: getattr(options, name) for name in SETS}
        for name, (source, classes) in PARTS.items():
            if self.sets[source]:
                path = self.out / "data" / f"{name}.npz"
                self.sets[name] = part(self.sets[source], classes, path)

    def source(self, cell: Cell) -> str:
        """Return the private records of a cell as `--data` takes them."""
        if cell.private == "pneumonia" and cell.unit:
            return patients(self.sets["chest"], self.out / "data" / "patients")
        return self._whole(cell.private)

    def checkpoint(self, name: str, cell: Cell) -> pretrained.PretrainedWeights:
        """Pretrain as `privplan pretrain` does for a user, unless it is there."""
        folder = self.out / "checkpoints" / name
        shape = describe(self._whole(cell.private))
        if not folder.exists():
            learned = (
                ["--generator", "mix"]
                if name.startswith("drawn")
                else ["--public", self.sets[name], "--declared-by", "its authors"]
            )
            fixed: dict[str, object] = {
                "out": folder,
                "image-size": shape.height,
                "channels": shape.channels,
                "classes": shape.classes,
                "steps": self.options.public_steps,
                "network": self._network(shape.height),
            }
            facts = [f"--{option}={value}" for option, value in fixed.items()]
            command = [sys.executable, "-m", "cli", "pretrain", *learned, *facts]
            subprocess.run(command, check=True)  # noqa: S603 - our own command line
        return pretrained.load(folder)

    def plan(self, cell: Cell, begin: pretrained.PretrainedWeights | None) -> Plan:
        # a table of labels does not say how many classes there are
        classes = describe(self._whole(cell.private)).classes
        declared = describe(self.source(cell), unit=cell.unit, classes=classes)
        network = None if begin else parse(self._network(declared.height))
        rate = float(f"{self.options.batch / declared.records:.3g}")
        return make_plan(
            PlanRequest(
                target_epsilon=cell.epsilon,
                data=DeclaredData(**asdict(declared), unit=cell.unit),
                training=TrainingWishes(
                    network=network, parameterisation="edm", tune=cell.tune
                ),
                wishes=Wishes(
                    steps=self.options.steps,
                    sample_rate=rate,
                    noise_multiplicity=1,
                    pretrained=begin.document if begin else None,
                ),
            )
        )

    def measured(self, cell: Cell) -> dict[str, Any]:
        """Run one cell, draw from it and score the samples."""
        held_out = _first(load_public(self._whole(cell.private), split="test"))
        if cell.begin == "real":
            real = load_public(self._whole(cell.private))
            return _numbers(evaluate(_first(real, self.options.count), held_out))
        begin = None
        if cell.begin != "scratch":
            begin = self.checkpoint(cell.begin, cell)
        plan, folder, watch = self.plan(cell, begin), self.out / cell.name, Stopwatch()
        # of a cell that broke off: half a run of public data, begun anew
        shutil.rmtree(folder, ignore_errors=True)
        classes = plan.data.classes
        records = load_private(self.source(cell), unit=cell.unit, classes=classes)
        options = RunOptions(pretrained=begin)
        run.train(plan, records, folder, options=options, watcher=watch)
        began = time.process_time()
        samples = self._samples(plan, folder, classes)
        drawn = time.process_time()
        phase = plan.private_phases[0]
        return {
            "n": plan.data.records,
            "delta": plan.budget.target_delta,
            "noise_multiplier": phase.mechanism.noise_multiplier,
            "sample_rate": phase.mechanism.sample_rate,
            "steps": phase.steps,
            "trained": plan_size.trained_parameters(plan.data, plan.training),
            "seconds_per_step": watch.per_step,
            "seconds_drawing": drawn - began,
            **_numbers(evaluate(samples, held_out)),
        }

    def _samples(self, plan: Plan, folder: Path, classes: int) -> PublicImages:
        training = plan.training
        request = SampleRequest(
            count=self.options.count,
            sampler=SamplerConfig(
                method="dpm-solver-2m",
                sigma_min=training.sigma_min,
                sigma_max=training.sigma_max,
            ),
        )
        drawn = draw(plan, folder, request)
        shown = drawn.images.numpy()[: _ROWS_SHOWN * 10]
        save_grid(shown, folder / "grid.png", columns=10)
        return PublicImages(drawn.images, drawn.labels, classes)

    def _whole(self, private: str) -> str:
        made = {"cifar": "private-half", "pneumonia": "chest"}
        return str(self.sets[made.get(private, private)])

    def _network(self, side: int) -> str:
        return f"{self.options.network},attention={side // 4}"


def _first(images: PublicImages, most: int = _TESTED_ON) -> PublicImages:
    return PublicImages(images.images[:most], images.labels[:most], images.classes)


def _numbers(scores: Scores) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.numbers().items()}


def main() -> None:
    """Read the options; run every cell that has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in SETS:
        parser.add_argument(f"--{name}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--public-steps", type=int, default=400)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--network", default="width=16,patch=2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.out / "cells.jsonl"
    done = set()
    if lines.exists():
        done = {json.loads(line)["cell"] for line in lines.read_text().splitlines()}
    workshop = Workshop(options)
    for cell in cells({name for name in SETS if getattr(options, name)}):
        if cell.name not in done:
            found = {"cell": cell.name, **workshop.measured(cell)}
            with lines.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)


if __name__ == "__main__":
    main()
