"""Real processes on one machine, for `test_several_processes.py`; run as a script.

One helper imports everything once and forks the processes of each case, which meet
over the loopback. Cases come in as a JSON list, one line of JSON per case goes out:
how each process ended, after how long, and what it wrote down.
"""

import functools
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import sklearn.cluster  # noqa: F401 - imported late otherwise, once per process
import torch
from torch.distributed import TCPStore

from diffusion import checkpoint, enforce, pacing, phases, run, team, trainer
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.data import load_private
from diffusion.denoisers import loss_of
from diffusion.engines import tape
from diffusion.parts import TRAINS, new_learned, start_phase
from diffusion.privatize import noisy_sum
from diffusion.randomness import RandomSource
from diffusion.ranks import ALONE
from diffusion.shared_guard import SharedGuard
from diffusion.watching import RunOptions, Silent
from privplan import ledger
from privplan import plan as plans
from privplan.errors import PrivplanError
from privplan.stages import Source

torch.set_num_threads(1)
PATIENCE = 60.0
LONGEST = 150  # seconds a case may take, on a busy machine
FLY, FLOWN = run.preflight, {}


class Notes:
    """What a process writes down the moment it happens, by means that survive it."""

    def __init__(self, folder, rank):
        self.path = folder / f"notes-{rank}"
        self.path.touch()

    def __call__(self, kind, text=""):
        out = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(out, f"{kind} {text}\n".encode())
        os.close(out)


class Watching(Silent):
    """Notes the weights after every step, and asks to stop where a case says so."""

    def __init__(self, case, note, rank):
        self.note, self.seen = note, 0
        self.stop_at = case.get("stop", {}).get(str(rank))

    def advance(self, phase, *, done):
        self.seen += phase.name == "private"

    def should_stop(self):
        return self.stop_at is not None and self.seen >= self.stop_at


def weights_noted(note):
    """Note a digest of the weights after every update of any phase."""
    real = trainer.Learner.update

    def update(learner):
        real(learner)
        found = hashlib.sha256()
        for weight in learner.network.parameters():
            found.update(weight.detach().numpy().tobytes())
        note("weights", found.hexdigest())

    trainer.Learner.update = update


def touching_noted(note):
    """Note every step that draws a batch: from then on records are touched."""
    real = trainer.poisson_batch

    def draw(*arguments, **named):
        note("touched")
        return real(*arguments, **named)

    trainer.poisson_batch = draw


POINTS = {
    "asking": (enforce.Guard, "spend"),
    "spending": (SharedGuard, "spend"),
    "batch": (trainer, "poisson_batch"),
    "gradient": (trainer, "accumulate"),
    "backward": (tape.Tape, "write"),
    "sum": (team.Team, "total"),
    "noise": (trainer, "noisy_sum"),
    "publishing": (team.Team, "published"),
    "update": (trainer.Learner, "update"),
    "save": (checkpoint, "save_state"),
    "saving together": (phases, "save"),
    "synthetic": (trainer, "draw_rows"),
    "model": (checkpoint, "save_model"),
    "going": (run, "_go"),
}


def at_point(point, at, act, *, after):
    """Act at a call of a point, the first being 1: before it, or after it returned."""
    owner, name = POINTS[point]
    real, seen = getattr(owner, name), [0]

    def call(*arguments, **named):
        seen[0] += 1
        if seen[0] == at and not after:
            act()
        done = real(*arguments, **named)
        if seen[0] == at and after:
            act()
        return done

    setattr(owner, name, call)


def fail():
    raise MemoryError("could not allocate rows for 173 records")


ACTS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "freeze": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "fail": fail,
}


def draws_on_its_own(ranks):
    """The fault: a process takes its share of a batch that it chose itself."""
    real = ranks.stream

    def stream(random):
        real(random)
        return RandomSource().stream()

    ranks.stream = stream


def counts_afterwards():
    """The fault: a step is written down when it has been carried out."""
    spend, update, owed = enforce.Guard.spend, trainer.Learner.update, []

    def later(guard, phase, count=1):
        if phase.name != "private":
            return spend(guard, phase, count)
        return owed.append((guard, phase, count))

    def updated(learner):
        update(learner)
        while owed:
            spend(*owed.pop())

    enforce.Guard.spend, trainer.Learner.update = later, updated


def noise_per_rank(ranks, mechanism, *, share):
    """The fault: every process adds noise to its own part of the sum.

    The whole planned noise each: too much. The part `share` of it each, which adds up
    to the planned deviation only if deviations added up: too little.
    """
    real = team.Team.total

    def total(self, parts, *, drawn):
        own = noisy_sum(
            parts,
            stream=RandomSource().stream(),
            noise_multiplier=share * mechanism.noise_multiplier,
            max_grad_norm=mechanism.clipping.max_grad_norm,
        )
        return real(self, own, drawn=drawn)

    team.Team.total = total
    trainer._noised = lambda total, *_: total


def measured(case, plan, images, ranks, note):
    """Take private steps on empty batches, and note what the noise is made of."""
    options = RunOptions(ranks=ranks, physical_batch_size=8)
    learned, phase = new_learned(plan, options), plan.private_phases[0]
    start_phase(learned, plan, phase)
    learner = learned.learner
    mechanism = replace(mechanism_of(phase), sample_rate=1e-12)
    if case.get("fault") == "noise per rank":
        noise_per_rank(ranks, mechanism, share=1.0)
    if case.get("fault") == "noise shared out":
        noise_per_rank(ranks, mechanism, share=1 / ranks.count)
    found = []
    trainer.Learner.update = lambda one: found.append(
        torch.cat([p.grad.flatten() for p in one.network.parameters()])
    )
    for _ in range(case["steps"]):
        trainer.private_step(
            learner,
            images,
            mechanism=mechanism,
            loss=loss_of(plan, plan.intervals(Source.PRIVATE)),
            performance=performance_of(learner, options),
            random=RandomSource(),
            spend=lambda: None,
        )
    planned = mechanism.noise_multiplier * mechanism.clipping.max_grad_norm
    by_step = torch.stack(found).double() * mechanism.expected_batch_size / planned
    noise = by_step.flatten()
    note("std", float(noise.std()))
    note("square", float(noise.square().mean()))
    note("values", len(noise))
    note("repeats", float((by_step[1:] * by_step[:-1]).mean()))
    note("weights", hashlib.sha256(noise.numpy().tobytes()).hexdigest())


def prepared(case, ranks, note):
    """Put in what the case is about."""
    touching_noted(note)
    weights_noted(note)
    pacing.block = lambda *_, **__: case.get("block", 1)
    if case.get("fault") == "counts afterwards":
        counts_afterwards()
    if case.get("rank") == ranks.rank:
        if "point" in case:
            at_point(
                case["point"],
                case.get("at", 1),
                ACTS[case["act"]],
                after=case.get("after", False),
            )
        if case.get("fault") == "draws on its own":
            draws_on_its_own(ranks)
    if "chosen" in case:
        trainer.poisson_batch = lambda *_, **__: torch.tensor(case["chosen"])


def child(case, rank, images, gate):
    port = int(os.read(gate, 8))
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(case["count"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    folder = Path(case["folder"])
    note = Notes(folder, rank)
    patience = case.get("patience", PATIENCE)
    ranks = team.join(patience_seconds=patience) if case["count"] > 1 else ALONE
    plan = plans.read(Path(case["plan"]))
    prepared(case, ranks, note)
    if "steps" in case:
        return measured(case, plan, images, ranks, note)
    if rank in case.get("other_data", ()):
        images = type(images)(images.images.flip(0), images.labels.flip(0), 10)
    options = RunOptions(
        unsafe_seed=case.get("seed"),
        physical_batch_size=16,
        checkpoint_seconds=case.get("seconds", 0.0),
        ranks=ranks,
    )
    mine = folder / "run" if rank == 0 else folder / "nothing"
    try:
        result = run.train(
            plan,
            images,
            mine,
            resume=case.get("resume", False),
            options=options,
            watcher=Watching(case, note, rank),
        )
    except PrivplanError as error:
        note("error", f"{type(error).__name__}: {error.message}")
        raise
    note("finished", result.finished)
    if ranks.count > 1:
        ranks.leave()
    return None


def forked(case, rank, images):
    """Fork a process that waits to be told the port; return its id and how to tell."""
    gate, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(gate)
        return pid, told
    os.close(told)
    code = 3
    try:
        child(case, rank, images, gate)
        code = 0
    except BaseException:
        if case.get("loud"):
            traceback.print_exc()
    finally:
        os._exit(code)


def carried_out(case, images):
    """Start the processes of a case, and wait until the last one ended.

    They are forked before there is a store. Its thread takes a lock of the C library's
    resolver at every connection; a process forked meanwhile would own it for ever.
    """
    Path(case["folder"]).mkdir(exist_ok=True)
    started = [forked(case, rank, images) for rank in range(case["count"])]
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    began = time.monotonic()
    for _, told in started:
        os.write(told, str(store.port).encode())
        os.close(told)
    running = {pid: rank for rank, (pid, _) in enumerate(started)}
    with ended_in_time(running):
        codes, times = ended(running, began)
    case["codes"] = [codes[rank] for rank in range(case["count"])]
    case["seconds_until_end"] = [times[rank] for rank in range(case["count"])]
    book = Path(case["folder"]) / "run" / "ledger.sqlite"
    if book.exists():
        case["recorded"] = ledger.read(book).counted("private")
    case["notes"] = [
        [line.split(" ", 1) for line in path.read_text().splitlines()]
        for path in sorted(Path(case["folder"]).glob("notes-*"))
    ]
    return case


def ended(running, began):
    """Wait for all processes; kill those that are frozen when no other is left."""
    codes, times, frozen = {}, {}, set()
    while running:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            frozen.add(pid)
        else:
            rank = running.pop(pid)
            codes[rank] = os.waitstatus_to_exitcode(status)
            times[rank] = time.monotonic() - began
        if frozen and len(running) == len(frozen):
            for one in frozen:
                os.kill(one, signal.SIGKILL)
            frozen.clear()
    return codes, times


@contextmanager
def ended_in_time(running):
    """Kill what still runs after `LONGEST`; its exit code then fails the test."""

    def kill(*_):
        for pid in running:
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)


@functools.cache
def warmed_up(plan):
    """Do once in the helper what every process would import or compile for itself."""
    made = plans.read(Path(plan))
    FLOWN[made.digest] = FLY(made, RunOptions())
    run.preflight = lambda plan, options: FLOWN[plan.digest]
    learned = new_learned(made, RunOptions())
    for phase in made.phases:
        start_phase(learned, made, phase)
        if isinstance(phase, TRAINS):
            enforce.check_plan(made)


def main():
    images = load_private("digits")
    for case in json.loads(sys.stdin.read()):
        warmed_up(case["plan"])
        sys.stdout.write(json.dumps(carried_out(case, images)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
