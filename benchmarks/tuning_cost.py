"""What tuning a part of a network costs in one private step; no data, no training.

    python benchmarks/tuning_cost.py [--side 28] [--records 32] [--draws 2]

For each tuning of the recipe's network: parameters trained; bytes of per-record
gradients kept until they are clipped; bytes of tensors alive at the peak of one clipped
sum; CPU seconds of one, the least of several, on random pixels.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from diffusion.adapters import train_only
from diffusion.blueprint import network_for
from diffusion.denoisers import loss_for
from diffusion.engines import folded
from diffusion.engines.live_bytes import LiveBytes
from diffusion.engines.record_gradients import RecordGradient
from diffusion.loss import draw_rows
from diffusion.per_example import Clipping
from privplan import plan_size
from privplan.plan import PlanShape, PlanTraining
from privplan.plan_training import TrainingWishes, training_of
from privplan.presets import Preset
from privplan.recipes import recipe
from privplan.stage_text import ALL_PRIVATE, parse

TUNINGS = (
    "all",
    "attention",
    "embedding",
    "film",
    "bias",
    "blocks:up",
    "lora:4@attention",
    "lora:4@attention+conv",
)
ROUNDS = 4


def settings_for(shape: PlanShape, tune: str, attention: int) -> PlanTraining:
    found = recipe(records=1, height=shape.height, width=shape.width)
    if attention:
        found = dataclasses.replace(found, attention_resolutions=(attention,))
    allocation = parse(
        ALL_PRIVATE,
        dimensions=shape.dimensions,
        sigma_min=found.sigma_min,
        sigma_max=found.sigma_max,
    )
    wishes = TrainingWishes(tune=tune)
    return training_of(wishes, Preset(stages=ALL_PRIVATE), allocation, found, shape)


def measured(
    shape: PlanShape, training: PlanTraining, records: int, draws: int
) -> tuple[int, int, int, float]:
    network = network_for(shape, training)
    selection = plan_size.selected(shape, training)
    train_only(network, selection)
    loss = loss_for(
        training, shape.classes, ((training.sigma_min, training.sigma_max),)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    pictures = torch.rand(
        records, shape.channels, shape.height, shape.width, generator=generator
    )
    rows = draw_rows(
        pictures,
        torch.zeros(records, dtype=torch.int64),
        noise_multiplicity=draws,
        law=loss.law,
        label_dropout=0.0,
        null_label=shape.classes,
        generator=generator,
    )
    kept = []
    clip_and_sum = folded.clip_and_sum

    def watched(
        gradients: Sequence[RecordGradient],
        shapes: Sequence[torch.Size],
        clipping: Clipping,
    ) -> list[torch.Tensor]:
        tensors = [
            value
            for entry in gradients
            for field in dataclasses.fields(entry)
            if isinstance(value := getattr(entry, field.name), torch.Tensor)
        ]
        kept.append(sum(t.numel() * t.element_size() for t in tensors))
        return clip_and_sum(gradients, shapes, clipping)

    folded.clip_and_sum = watched
    engine, times = folded.FoldedEngine(), []

    def one() -> None:
        engine.clipped_sum(
            network,
            loss.row_loss,
            rows,
            records=records,
            noise_multiplicity=draws,
            clipping=Clipping(max_grad_norm=0.2),
        )

    try:
        one()  # the first pass also tries the model
        counted = LiveBytes()
        with counted:
            one()
        for _ in range(ROUNDS):
            began = time.process_time()
            one()
            times.append(time.process_time() - began)
    finally:
        folded.clip_and_sum = clip_and_sum
    return selection.count, kept[-1], counted.peak, min(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--attention", type=int, default=0)
    parser.add_argument("--records", type=int, default=32)
    parser.add_argument("--draws", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    side = arguments.side
    shape = PlanShape(channels=1, height=side, width=side, classes=10)
    print("| tuned | numbers | gradients kept, kB | peak, MB | CPU s | of all |")
    whole = None
    for tune in TUNINGS:
        training = settings_for(shape, tune, arguments.attention)
        count, kept, peak, seconds = measured(
            shape, training, arguments.records, arguments.draws
        )
        whole = whole or seconds
        print(
            f"| `{tune}` | {count:,} | {kept / 1e3:,.0f} | {peak / 1e6:.1f} | "
            f"{seconds:.3f} | {seconds / whole:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
