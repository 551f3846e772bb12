"""Carrying out one phase of a plan, step by step, with checkpoints in between."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffusion import checkpoint
from diffusion.blueprint import loss_of, mechanism_of, performance_of
from diffusion.data import PrivateImages
from diffusion.enforce import Guard
from diffusion.randomness import RandomSource
from diffusion.synthetic_pool import SyntheticPool
from diffusion.trainer import Learner, private_step, synthetic_step
from diffusion.watching import RunOptions, Watcher
from privplan.errors import PrivplanError, StepFailedError
from privplan.plan import Plan, PlanPhase, PrivatePhase, SyntheticPhase
from privplan.stages import Source


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything a run holds while it runs."""

    plan: Plan
    images: PrivateImages
    folder: Path
    guard: Guard
    learner: Learner
    options: RunOptions
    watcher: Watcher
    random: RandomSource
    saved_at: float = field(default_factory=time.monotonic)


def carry_out(run: Run, phase: PlanPhase) -> bool:
    """Take the steps of a phase that are left; return whether it ended.

    Raises:
        PrivplanError: A step was refused; nothing was touched by it.
    """
    learned = run.learner.steps_done
    match phase:
        case PrivatePhase():
            counted = run.guard.counted(phase)
            run.watcher.begin(phase, done=counted, lost=counted - learned)
            return _private(run, phase)
        case SyntheticPhase():
            run.watcher.begin(phase, done=learned, lost=0)
            return _synthetic(run, phase)


def save(run: Run, next_phase: str) -> None:
    """Write the state of the run, so that it can go on from here."""
    place = checkpoint.Place(
        plan_digest=run.plan.digest,
        phase=next_phase,
        phase_steps=run.learner.steps_done,
        head=run.guard.head(),
    )
    checkpoint.save_state(run.folder, run.learner, place)
    run.saved_at = time.monotonic()


def _private(run: Run, phase: PrivatePhase) -> bool:
    mechanism = mechanism_of(phase)
    performance = performance_of(run.plan, phase, run.learner, run.options)
    loss = loss_of(run.plan, run.plan.intervals(Source.PRIVATE))
    done = 0
    try:
        while run.guard.remaining(phase) > 0:
            with _discreet():
                private_step(
                    run.learner,
                    run.images,
                    mechanism=mechanism,
                    loss=loss,
                    performance=performance,
                    random=run.random,
                    spend=lambda: run.guard.spend(phase),
                )
            done += 1
            run.watcher.advance(phase, done=run.guard.counted(phase))
            if not _go_on(run, phase):
                return False
    finally:
        if done:
            run.guard.settle(phase, done)
    return True


def _synthetic(run: Run, phase: SyntheticPhase) -> bool:
    begun_here = run.guard.counted(phase) == 0
    if begun_here:
        run.guard.spend(phase, phase.steps)
    whole = ((run.plan.training.sigma_min, run.plan.training.sigma_max),)
    loss = loss_of(run.plan, whole)
    pool = SyntheticPool(run.plan, phase)
    while run.learner.steps_done < phase.steps:
        pictures, labels = pool.batch(run.learner.steps_done)
        synthetic_step(
            run.learner,
            pictures,
            labels,
            loss=loss,
            random=run.random,
            device=torch.device(run.options.device),
        )
        run.watcher.advance(phase, done=run.learner.steps_done)
        if not _go_on(run, phase):
            return False
    if begun_here:
        run.guard.settle(phase, phase.steps)
    return True


@contextmanager
def _discreet() -> Iterator[None]:
    """Keep what a failing step says about its records to itself.

    Out of memory, say, tells the size of the batch, and the size is private. Our own
    refusals say nothing of the records and pass.
    """
    try:
        yield
    except PrivplanError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise StepFailedError(
            f"a private step failed with {kind}; what it says may depend on the "
            "records and is withheld",
            hint="lower --physical-batch if memory is short; to see the error, run the "
            "plan on public images of the same shape through diffusion.trainer",
        ) from None


def _go_on(run: Run, phase: PlanPhase) -> bool:
    """Save when it is time; return whether to take another step."""
    stop = run.watcher.should_stop()
    if stop or time.monotonic() - run.saved_at > run.options.checkpoint_seconds:
        save(run, phase.name)
    return not stop
