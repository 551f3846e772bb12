"""Public letters first, private digits after: what is tuned, and what that is worth.

    python benchmarks/tuning.py PUBLIC OUT [--epsilon 10 --epsilon 1] [--tune all ...]

PUBLIC is any source of `--data` with letters, such as notMNIST; the private records are
the embedded digits, at 8 x 8. One checkpoint is pretrained and every tuning begins from
it; "scratch" is the same private training without it. Each line of OUT/results.jsonl is
one run: parameters trained, CPU seconds per private step, bytes of tensors at the peak
of one clipped sum, accuracies and distance on held-out digits.

CPU seconds are those of this process, so that other work on the machine counts little.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from diffusion import pretrained, pretraining, run, sampling
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.data import load_private, load_public, public_digest
from diffusion.denoisers import loss_of
from diffusion.engines.live_bytes import LiveBytes
from diffusion.evaluation.scores import evaluate
from diffusion.loss import draw_rows
from diffusion.parts import SHARED, come_to, new_learned, whole
from diffusion.pretrained import PretrainedWeights
from diffusion.sampler import SamplerConfig
from diffusion.watching import RunOptions, Silent
from privplan import plan_size, plan_training
from privplan.free_phases import PublicData, public_phase
from privplan.network_text import parse
from privplan.plan import Plan, PlanShape
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.presets import Preset
from privplan.recipes import recipe
from privplan.stage_text import ALL_PRIVATE
from privplan.stage_text import parse as parse_stages

SIDE, CLASSES = 8, 10
NETWORK = "attention=4"
TUNINGS = ("scratch", "all", "attention", "lora:4@attention+conv", "film", "bias")
SAMPLES = 1000
PROBE = 64


class Stopwatch(Silent):
    """CPU seconds in the private phase."""

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def begin(self, phase: Any, *, done: int, lost: int) -> None:
        self.began = time.process_time()

    def advance(self, phase: Any, *, done: int) -> None:
        self.seconds = time.process_time() - self.began


def checkpoint(source: str, folder: Path, steps: int) -> PretrainedWeights:
    """Pretrain on public letters, unless that was done before."""
    if folder.exists():
        return pretrained.load(folder)
    settings = recipe(records=1, height=SIDE, width=SIDE)
    images = load_public(source)
    named = PublicData(
        name=Path(source).name,
        digest=public_digest(images),
        declared_by="the authors of the data set",
    )
    shape = PlanShape(channels=1, height=SIDE, width=SIDE, classes=CLASSES)
    training = plan_training.training_of(
        TrainingWishes(network=parse(NETWORK), parameterisation="edm"),
        Preset(stages=ALL_PRIVATE),
        parse_stages(
            ALL_PRIVATE,
            dimensions=shape.dimensions,
            sigma_min=settings.sigma_min,
            sigma_max=settings.sigma_max,
        ),
        settings,
        shape,
    )
    phase = public_phase(settings, named, steps=steps)
    pretraining.pretrain(shape, training, (phase,), {phase.name: images}, folder)
    return pretrained.load(folder)


def planned(
    weights: PretrainedWeights,
    tune: str,
    epsilon: float,
    rate: float | None,
    arguments: argparse.Namespace,
) -> Plan:
    scratch = tune == "scratch"
    return make_plan(
        PlanRequest(
            target_epsilon=epsilon,
            wishes=Wishes(
                steps=arguments.steps,
                noise_multiplicity=arguments.draws,
                pretrained=None if scratch else weights.document,
                learning_rate=rate,
            ),
            training=TrainingWishes(
                network=parse(NETWORK) if scratch else None,
                parameterisation="edm",
                tune="all" if scratch else tune,
            ),
        )
    )


def peak_bytes(plan: Plan, options: RunOptions) -> int:
    """Bytes of tensors alive at the peak of one clipped sum over random rows."""
    learned = new_learned(plan, options)
    phase = plan.private_phases[0]
    come_to(learned, plan, phase.name)
    learner, loss = learned.parts[SHARED], loss_of(plan, whole(plan))
    rows = draw_rows(
        torch.zeros(PROBE, 1, SIDE, SIDE),
        torch.zeros(PROBE, dtype=torch.int64),
        noise_multiplicity=phase.noise_multiplicity,
        law=loss.law,
        label_dropout=0.0,
        null_label=CLASSES,
        generator=torch.Generator().manual_seed(0),
    )
    engine = performance_of(learner, options).engine
    clipping = mechanism_of(phase).clipping
    for _ in range(2):  # the first pass also tries the model
        counted = LiveBytes()
        with counted:
            engine.clipped_sum(
                learner.network,
                loss.row_loss,
                rows,
                records=PROBE,
                noise_multiplicity=phase.noise_multiplicity,
                clipping=clipping,
            )
    return counted.peak


def one(
    weights: PretrainedWeights,
    tune: str,
    epsilon: float,
    rate: float | None,
    arguments: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    plan = planned(weights, tune, epsilon, rate, arguments)
    options = RunOptions(pretrained=None if tune == "scratch" else weights)
    watch = Stopwatch()
    run.train(plan, load_private("digits"), folder, options=options, watcher=watch)
    config = SamplerConfig(
        sigma_min=plan.training.sigma_min, sigma_max=plan.training.sigma_max
    )
    request = sampling.SampleRequest(count=SAMPLES, guidance=0.5, sampler=config)
    sampling.write(sampling.draw(plan, folder, request), folder, classes=CLASSES)
    scores = evaluate(sampling.read(folder), load_public("digits", split="test"))
    return {
        "tune": tune,
        "epsilon": epsilon,
        "learning_rate": rate,
        "trained": plan_size.trained_parameters(plan.data, plan.training),
        "noise_multiplier": plan.private_phases[0].mechanism.noise_multiplier,
        "cpu_seconds_per_step": watch.seconds / arguments.steps,
        "peak_bytes": peak_bytes(plan, options),
        "logistic_regression": scores.accuracy.logistic_regression,
        "mlp": scores.accuracy.mlp,
        "frechet": scores.frechet_pooled_pixels,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("public")
    parser.add_argument("out", type=Path)
    parser.add_argument("--epsilon", type=float, action="append")
    parser.add_argument("--tune", action="append")
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--pretraining", type=int, default=1500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    weights = checkpoint(arguments.public, arguments.out / "pre", arguments.pretraining)
    print("pretrained", round(time.process_time() - began, 1), "CPU seconds")
    results = arguments.out / "results.jsonl"
    for epsilon in arguments.epsilon or (10.0, 1.0):
        for rate in arguments.rate or (None,):
            for tune in arguments.tune or TUNINGS:
                number = (
                    len(results.read_text().splitlines()) if results.exists() else 0
                )
                folder = arguments.out / f"run-{number}"
                found = one(weights, tune, epsilon, rate, arguments, folder)
                with results.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(found, flush=True)


if __name__ == "__main__":
    main()
