"""What several processes cost and gain per private step, over the loopback.

    python benchmarks/processes.py              1 and 2 processes, 10 steps each
    python benchmarks/processes.py 1 2 4        other numbers of processes

Prints the median wall time of a step, the CPU time of all processes per step, and the
same for steps on empty batches, which consist of drawing, noise and messages alone. The
plan is that of the embedded digits. Wall times mean little on a machine that is busy.
"""

import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch.distributed import TCPStore

from diffusion import team
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.data import PrivateImages, load_private
from diffusion.denoisers import loss_of
from diffusion.parts import new_learned, start_phase
from diffusion.randomness import RandomSource
from diffusion.ranks import ALONE, Ranks
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan.plan import Plan
from privplan.planner import PlanRequest, Wishes, make_plan
from privplan.stages import Source

STEPS, WARM = 10, 2
torch.set_num_threads(1)


def made() -> Plan:
    """Return the plan: some 43 of the 1,437 digits per step, two draws each."""
    wishes = Wishes(
        steps=100, sample_rate=0.03, noise_multiplicity=2, synthetic_steps=1
    )
    return make_plan(PlanRequest(target_epsilon=10.0, stages="", wishes=wishes))


def timed(
    plan: Plan, images: PrivateImages, ranks: Ranks, rate: float | None
) -> tuple[list[float], float]:
    """Take steps at a sample rate; return wall seconds of each, and CPU seconds."""
    options = RunOptions(ranks=ranks, physical_batch_size=64)
    learned, phase = new_learned(plan, options), plan.private_phases[0]
    start_phase(learned, plan, phase)
    mechanism = mechanism_of(phase)
    walls, cpu = [], 0.0
    for step in range(WARM + STEPS):
        if step == WARM:
            cpu = time.process_time()
        began = time.perf_counter()
        private_step(
            learned.learner,
            images,
            mechanism=replace(mechanism, sample_rate=rate or mechanism.sample_rate),
            loss=loss_of(plan, plan.intervals(Source.PRIVATE)),
            performance=performance_of(learned.learner, options),
            random=RandomSource(),
            spend=lambda: None,
        )
        walls.append(time.perf_counter() - began)
    return walls[WARM:], (time.process_time() - cpu) / STEPS


def process(rank: int, count: int, gate: int, out: int) -> None:
    """Be one of the processes; write what was measured to a pipe."""
    port = int(os.read(gate, 8))
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = team.join() if count > 1 else ALONE
    plan, images = made(), load_private("digits")
    for rate in (None, 1e-12):
        walls, cpu = timed(plan, images, ranks, rate)
        text = f"{rate is None} {statistics.median(walls)} {cpu}\n"
        os.write(out, text.encode())


def main(counts: Sequence[int]) -> None:
    """Print one line for every number of processes."""
    load_private("digits")
    for count in counts:
        # Forked before there is a store: its thread takes locks that a process forked
        # meanwhile would own for ever.
        read, write = os.pipe()
        pids, gates = [], [os.pipe() for _ in range(count)]
        for rank, (gate, _) in enumerate(gates):
            pid = os.fork()
            if pid == 0:
                process(rank, count, gate, write)
                os._exit(0)
            pids.append(pid)
        os.close(write)
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for gate, told in gates:
            os.write(told, str(store.port).encode())
            os.close(told)
            os.close(gate)
        for pid in pids:
            os.waitpid(pid, 0)
        with os.fdopen(read) as lines:
            found = [line.split() for line in lines]
        for full, what in (("True", "step"), ("False", "step on an empty batch")):
            walls = [float(wall) for kind, wall, _ in found if kind == full]
            cpus = [float(cpu) for kind, _, cpu in found if kind == full]
            print(
                f"{count} processes, {what}: {1e3 * max(walls):.1f} ms, "
                f"CPU time of all {1e3 * sum(cpus):.1f} ms"
            )


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1, 2])
