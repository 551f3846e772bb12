"""How much does privacy slow a step down? Engines against ordinary training.

    python benchmarks/engine.py                      the table, on this machine
    python benchmarks/engine.py --quick              two cases, three rounds

Every engine takes one step over the same rows of the same network, in turn, several
rounds over, so that a machine that slows down slows all of them. The table shows the
median time of a step, and the median over rounds of its ratio to the non-private step
of that round. On a CPU the time is CPU seconds of one thread; on a GPU, wall time.
Freed memory is kept for the next step, for every competitor, unless --give-back.

Peak memory is what a step adds on top of the network and its rows, in bytes of tensors:
on a GPU as torch's allocator counts them, on a CPU as `LiveBytes` does, which sees no
scratch space inside kernels but is the same on every machine. The floor is what the
non-private step adds.

    non-private   mean loss over all rows, one backward, ordinary gradients
    folded        the engine of privplan
    loop, vmap    plain autograd record by record; torch.func
    opacus        Opacus' hooks on all rows, draws averaged afterwards, as DPDM does
"""

import argparse
import functools
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from diffusion.engines.heap import keep_freed_memory
from diffusion.engines.live_bytes import LiveBytes
from diffusion.loss import row_loss
from diffusion.network import build, preset
from diffusion.per_example import Clipping, PerExampleEngine, Rows, engine
from diffusion.precond import Edm

BASELINE = "non-private"
ENGINES = ("folded", "loop", "vmap", "opacus")
CLIPPING = Clipping(max_grad_norm=1.0)
LOSS = row_loss(Edm(sigma_data=0.5))
_MIB = 2**20
Step = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row block of the table.

    Attributes:
        size: Rows and columns of an image.
        channels: Its colours.
        records: B.
        draws: K.
        physical: Records per physical batch.
    """

    size: int
    channels: int
    records: int
    draws: int
    physical: int

    def __str__(self) -> str:
        """Name the case as the table does."""
        image = f"{self.size}x{self.size}x{self.channels}"
        split = "" if self.physical == self.records else f" ({self.physical} at a time)"
        return f"{image}  B={self.records} K={self.draws}{split}"


CASES = (
    Case(size=28, channels=1, records=16, draws=8, physical=16),
    Case(size=28, channels=1, records=64, draws=1, physical=64),
    Case(size=28, channels=1, records=64, draws=8, physical=16),
    Case(size=32, channels=3, records=16, draws=8, physical=16),
    Case(size=32, channels=3, records=64, draws=1, physical=64),
    Case(size=32, channels=3, records=64, draws=8, physical=16),
)


def network(case: Case, device: torch.device) -> nn.Module:
    """Build the preset network, off its zero start so that every layer has work."""
    model = build(preset(case.channels, case.size, case.size, 10), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.to(device)


def make_rows(case: Case, records: int, device: torch.device) -> Rows:
    """Draw public rows of the shape that training sees."""
    torch.manual_seed(0)
    clean = torch.rand(records, case.channels, case.size, case.size) * 2 - 1
    clean = clean.repeat(case.draws, 1, 1, 1)
    sigma = torch.exp(torch.randn(len(clean)))
    noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)
    labels = torch.randint(0, 10, (records,)).repeat(case.draws)
    return tuple(part.to(device) for part in (clean, noisy, sigma, labels))


def steps(
    case: Case, device: torch.device, *, bf16: bool, names: Sequence[str] = ENGINES
) -> dict[str, Step]:
    """Return, for each competitor, a function that takes one whole step."""
    model = network(case, device)
    pieces = [
        make_rows(case, case.physical, device)
        for _ in range(case.records // case.physical)
    ]

    def non_private() -> None:
        model.zero_grad()
        for rows in pieces:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = LOSS(model, rows).mean()
            loss.backward()

    def private(chosen: PerExampleEngine) -> None:
        model.zero_grad()
        for rows in pieces:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                chosen.clipped_sum(
                    model,
                    LOSS,
                    rows,
                    records=case.physical,
                    noise_multiplicity=case.draws,
                    clipping=CLIPPING,
                )

    made: dict[str, Step] = {BASELINE: non_private}
    for name in names:
        made[name] = functools.partial(private, engine(name, model))
    return made


def seconds(step: Step, device: torch.device) -> float:
    """Time one step: CPU seconds, or wall seconds where a GPU works."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    step()
    return time.process_time() - start


def peak_bytes(step: Step, device: torch.device) -> int:
    """Measure what one step holds at its peak, beyond what was there before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with LiveBytes() as counted:
        step()
    return counted.peak


def measure(
    case: Case,
    device: torch.device,
    *,
    rounds: int,
    bf16: bool,
    names: Sequence[str] = ENGINES,
) -> None:
    """Run one case and print its lines."""
    made = steps(case, device, bf16=bf16, names=names)
    for step in made.values():
        step()
    peaks = {name: peak_bytes(step, device) for name, step in made.items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, step in made.items():
            times[name].append(seconds(step, device))
    parameters = sum(p.numel() for p in network(case, device).parameters())
    floor = peaks[BASELINE]
    print(f"\n{case}, {parameters:,} parameters")
    print(f"  {'':12} {'s/step':>8} {'ratio':>6} {'to opacus':>10}", end="")
    print(f" {'MiB':>7} {'to floor':>9} {'to opacus':>10}")
    for name, taken in times.items():
        to_base = _paired(taken, times[BASELINE])
        to_opacus = _paired(taken, times.get("opacus", []))
        print(
            f"  {name:12} {statistics.median(taken):8.3f} {to_base:6.2f} "
            f"{to_opacus:10.2f} {peaks[name] / _MIB:7.0f} "
            f"{peaks[name] / floor:9.2f} "
            f"{peaks[name] / peaks.get('opacus', float('nan')):10.2f}",
            flush=True,
        )


def _paired(taken: list[float], base: list[float]) -> float:
    if not base:
        return float("nan")
    return statistics.median(a / b for a, b in zip(taken, base, strict=True))


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--case", type=int, action="append", help="only this case, counted from 0"
    )
    parser.add_argument(
        "--engine", choices=ENGINES, action="append", help="only this competitor"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two cases, three rounds")
    parser.add_argument(
        "--give-back", action="store_true", help="let malloc return memory each step"
    )
    parser.add_argument("--bf16", action="store_true", help="bfloat16 forward")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kept = not options.give_back and keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    memory = "freed memory kept" if kept else "freed memory given back"
    print(f"{name}, {options.threads} thread(s), torch {torch.__version__}, {memory}")
    chosen = options.case or range(2 if options.quick else len(CASES))
    for case in (CASES[number] for number in chosen):
        measure(
            case,
            device,
            rounds=3 if options.quick else options.rounds,
            bf16=options.bf16,
            names=options.engine or ENGINES,
        )


if __name__ == "__main__":
    main()
