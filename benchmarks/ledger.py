"""What does writing everything down cost? Reservations, blocks, reading it back, noise.

    python benchmarks/ledger.py                      100,000 entries
    python benchmarks/ledger.py --entries 10000      fewer

The ledger is written in the system's folder for temporary files: give --folder to
measure another disk. Entries that only fill the ledger are written in one transaction.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffusion.blueprint import mechanism_of, performance_of
from diffusion.data import load_private
from diffusion.denoisers import loss_of
from diffusion.discrete_gaussian import discrete_gaussian
from diffusion.parts import SHARED, new_learned
from diffusion.randomness import RandomSource
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan import ledger_anchor, ledger_checks, ledger_export, ledger_session
from privplan.events import PoissonSampledGaussianEvent
from privplan.ledger import Allowance, Ledger
from privplan.ledger_blocks import block_size, commit_seconds
from privplan.planner import PlanRequest, make_plan
from privplan.stages import Source

ResultT = TypeVar("ResultT")

COMMITS = 300
STEP_SECONDS = (0.02, 0.1, 0.5, 2.0)


def timed(what: str, call: Callable[[], ResultT]) -> ResultT:
    """Print how long a call takes, and how long the processor worked on it."""
    began, worked = time.perf_counter(), time.process_time()
    done = call()
    took, work = time.perf_counter() - began, time.process_time() - worked
    print(f"{what:<44}{took:>10.3f} s{work:>10.3f} s of CPU")
    return done


def fill(ledger: Ledger, entries: int) -> None:
    """Append intents and settles in one transaction, as no run does."""
    session = ledger._session
    with session._store.transaction():
        for number in range(entries):
            kind = ("settle", "intent")[number % 2 == 0]
            row = ledger_session._seal(
                session.tally.head, kind, {"session": 1, "phase": "private", "count": 1}
            )
            session._store.append(row)
            session.tally.follow(*row)


def noise() -> None:
    """Time the noise of a step, and the step, on the digits' default plan."""
    plan = make_plan(PlanRequest(target_epsilon=10.0, stages=""))
    options, images = RunOptions(), load_private("digits")
    learner = new_learned(plan, options).parts[SHARED]
    size = sum(p.numel() for p in learner.network.parameters())
    random, phase = RandomSource(), plan.private_phases[0]

    def step() -> None:
        private_step(
            learner,
            images,
            mechanism=mechanism_of(phase),
            loss=loss_of(plan, plan.intervals(Source.PRIVATE)),
            performance=performance,
            random=random,
            spend=lambda: None,
        )

    performance = performance_of(learner, options)
    step()  # the first one also finds the physical batch
    whole = median_seconds(step, 5)
    drawn = median_seconds(lambda: random.stream().normals(size), 9)
    million = median_seconds(lambda: random.stream().normals(10**6), 9)
    integers = median_seconds(
        lambda: discrete_gaussian(random.stream(), sigma=2**15, count=size), 3
    )
    print("in processor time:")
    print(f"{'normals from AES-256-CTR, float64':<44}{1 / million:>10.1f} M/s")
    print(f"{f'noise of {size:,} coordinates':<44}{1e3 * drawn:>10.2f} ms")
    print(f"{'one private step of the digits':<44}{1e3 * whole:>10.1f} ms")
    print(f"{'share of noise in the step':<44}{drawn / whole:>10.2%}")
    print(f"{'exact discrete Gaussian':<44}{size / integers / 1e6:>10.2f} M/s")


def median_seconds(call: Callable[[], object], times: int) -> float:
    """Return the median of the processor time of a call."""
    found = []
    for _ in range(times):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    event = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        path = Path(name) / "run.sqlite"
        with Ledger.create(
            path,
            plan_digest="a" * 64,
            data_digest="b" * 64,
            code_digest="c" * 64,
            allowances=[Allowance(phase="private", event=event, steps=10**8)],
        ) as ledger:
            times = []
            for _ in range(COMMITS):
                began = time.perf_counter()
                ledger.reserve("private", 1)
                times.append(1e3 * (time.perf_counter() - began))
            times.sort()
            print(f"{'reservation, median':<44}{statistics.median(times):>10.2f} ms")
            print(
                f"{'reservation, 99 of 100':<44}{times[99 * COMMITS // 100]:>10.2f} ms"
            )
            disk = commit_seconds(Path(name))
            for step in STEP_SECONDS:
                k = block_size(steps=100_000, step_seconds=step, commit_seconds=disk)
                share = statistics.median(times) / 1e3 / (k * step)
                print(f"{f'step {step:g} s: blocks of {k}, cost':<44}{share:>10.2%}")
            fill(ledger, given.entries - COMMITS - 2)
        content = timed("read the database", lambda: ledger_export.read(path))
        lines = Path(name) / "run.jsonl"
        timed("write the export", lambda: ledger_export.write(content, lines))
        timed("read the export", lambda: ledger_export.read(lines))
        anchor = Path(name) / "anchor.txt"
        ledger_anchor.write(ledger_anchor.of(content), anchor)
        found = timed(
            f"verify {len(content.entries):,} entries with an anchor",
            lambda: ledger_checks.check(path, anchor=anchor),
        )
        print("it holds" if found.passed else "IT DOES NOT HOLD")
    noise()


if __name__ == "__main__":
    main()
