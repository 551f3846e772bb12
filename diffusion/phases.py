"""Carrying out one phase of a plan, step by step, with checkpoints in between.

Where several processes carry it out, all of them are here, and every question whose
answer decides what comes next is asked together: of the ledger, of Ctrl-C, of the
clock. Only the first of them asks the records for a query, and writes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from diffusion import pacing
from diffusion.adapters import load_plain
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.denoisers import loss_of
from diffusion.ema import Ema
from diffusion.gaussian_prior import GaussianPrior
from diffusion.mixture import synthetic_gradient
from diffusion.parts import trained_at, whole
from diffusion.pool_prior import prior_beside
from diffusion.pools import Pool, PublicPool, SyntheticPool
from diffusion.queries import noisy_answer, prior_of
from diffusion.run_state import Run, save
from diffusion.trainer import Learner, private_step, public_step
from privplan.errors import (
    BudgetExceededError,
    ParameterError,
    PrivplanError,
    StepFailedError,
)
from privplan.plan import (
    GaussianPhase,
    PlanPhase,
    PretrainedPhase,
    PrivatePhase,
    PublicPhase,
    QueryPhase,
    SyntheticPhase,
)
from privplan.stages import Source


def carry_out(run: Run, phase: PlanPhase) -> bool:
    """Take the steps of a phase that are left; return whether it ended.

    Raises:
        PrivplanError: A step was refused; nothing was touched by it.
    """
    match phase:
        case GaussianPhase() | QueryPhase():
            return _ask(run, phase)
        case PrivatePhase():
            return _private(run, phase, _learner(run))
        case PretrainedPhase():
            return _take_over(run, phase, _learner(run))
        case SyntheticPhase() | PublicPhase():
            return _public(run, phase, _learner(run))


def _ask(run: Run, phase: GaussianPhase | QueryPhase) -> bool:
    """Ask the records, and keep each answer before anything else happens."""
    answers, counted = run.learned.answers, run.guard.counted(phase)
    kept = len(answers[phase.name]) if phase.name in answers else 0
    run.watcher.begin(phase, done=counted, lost=counted - kept)
    while run.guard.remaining(phase) > 0:
        answer = _answer(run, phase)
        before = [answers[phase.name]] if phase.name in answers else []
        answers[phase.name] = torch.cat([*before, answer[None]])
        save(run, phase.name)
        run.guard.settle(phase, 1)
        run.watcher.advance(phase, done=run.guard.counted(phase))
        if any(run.ranks.most(int(run.watcher.should_stop()))):
            return False
    if phase.name not in answers:
        raise _lost(phase)
    return True


def _answer(run: Run, phase: GaussianPhase | QueryPhase) -> Tensor:
    """Let the first process ask, once, and give the noisy answer to all."""

    def asked() -> bytes:
        with _discreet():
            answer = noisy_answer(
                run.plan,
                phase,
                run.images,
                random=run.random,
                spend=lambda: run.guard.spend_alone(phase),
            )
        return answer.numpy().tobytes()

    return torch.frombuffer(bytearray(run.ranks.given(asked)), dtype=torch.float64)


def _lost(phase: GaussianPhase | QueryPhase) -> BudgetExceededError:
    return BudgetExceededError(
        f"query '{phase.name}' was asked when the run broke off and its answer is "
        "lost; asking again is not in the plan, so this run cannot go on",
        stage=phase.name,
        needed=phase.steps + 1,
        target=phase.steps,
        hint="begin a new run under a new plan; what this one spent stays spent",
    )


def _private(run: Run, phase: PrivatePhase, learner: Learner) -> bool:
    counted = run.guard.counted(phase)
    run.watcher.begin(phase, done=counted, lost=counted - learner.steps_done)
    prior = _prior(run)
    mechanism = mechanism_of(phase, _beside(run, phase, prior))
    performance = performance_of(learner, run.options, phase)
    loss = loss_of(run.plan, trained_at(run.plan, phase), prior)
    if run.ranks.first:
        with _discreet():
            size = pacing.block(
                run.folder,
                phase.steps,
                learner,
                run.plan.data,
                mechanism=mechanism,
                loss=loss,
                performance=performance,
            )
        run.guard.pace(phase, size)
    done = 0
    try:
        while run.guard.remaining(phase) > 0:
            with _discreet():
                private_step(
                    learner,
                    run.images,
                    mechanism=mechanism,
                    loss=loss,
                    performance=performance,
                    random=run.random,
                    spend=lambda: run.guard.spend(phase),
                )
            done += 1
            run.watcher.advance(phase, done=phase.steps - run.guard.remaining(phase))
            if not _go_on(run, phase):
                return False
    finally:
        if done:
            run.guard.settle(phase, done)
    return True


def _beside(
    run: Run, phase: PrivatePhase, prior: GaussianPrior | None
) -> Callable[[Learner], Sequence[Tensor]] | None:
    """Return the synthetic gradient of a mixture; None for any other sharing."""
    if not phase.synthetic_weight > 0:
        return None
    (drawn,) = run.plan.phases_of(SyntheticPhase)
    sigmas = tuple(sorted(run.plan.intervals(Source.SYNTHETIC))) or whole(run.plan)
    return synthetic_gradient(
        SyntheticPool(run.plan.data, drawn),
        loss_of(run.plan, sigmas, prior),
        length=phase.synthetic_weight * phase.max_grad_norm,
        random=run.random,
        device=torch.device(run.options.device),
        ranks=run.ranks,
    )


def _take_over(run: Run, phase: PretrainedPhase, learner: Learner) -> bool:
    """Begin from pretrained weights; averages begin there too."""
    run.watcher.begin(phase, done=0, lost=0)
    weights = run.options.pretrained
    if weights is None:
        raise ParameterError(
            "the run broke off before it took over its pretrained weights",
            hint="name the checkpoint again with --from",
        )
    begun_here = run.guard.counted(phase) == 0
    if begun_here:
        run.guard.spend(phase, phase.steps)
    load_plain(learner.network, weights.tensors)
    learner.ema = Ema(learner.network, run.plan.training.ema_decay)
    if begun_here:
        run.guard.settle(phase, phase.steps)
    run.watcher.advance(phase, done=phase.steps)
    return True


def _public(run: Run, phase: SyntheticPhase | PublicPhase, learner: Learner) -> bool:
    run.watcher.begin(phase, done=learner.steps_done, lost=0)
    begun_here = run.guard.counted(phase) == 0
    if begun_here:
        run.guard.spend(phase, phase.steps)
    pool = _pool(run, phase)
    prior = prior_beside(run.plan, pool, run.learned.answers)
    prior = None if prior is None else prior.to(run.options.device)
    loss = loss_of(run.plan, trained_at(run.plan, phase), prior)
    while learner.steps_done < phase.steps:
        pictures, labels = pool.batch(learner.steps_done)
        public_step(
            learner,
            pictures,
            labels,
            loss=loss,
            random=run.random,
            device=torch.device(run.options.device),
            ranks=run.ranks,
        )
        run.watcher.advance(phase, done=learner.steps_done)
        if not _go_on(run, phase):
            return False
    if begun_here:
        run.guard.settle(phase, phase.steps)
    return True


def _pool(run: Run, phase: SyntheticPhase | PublicPhase) -> Pool:
    if isinstance(phase, SyntheticPhase):
        return SyntheticPool(run.plan.data, phase)
    if run.public is None:
        raise ParameterError(
            "there are no public images to learn from", hint="name them with --public"
        )
    seed = run.plan.training.network.seed
    return PublicPool(run.plan.data, phase, run.public, seed=seed)


def _learner(run: Run) -> Learner:
    learner = run.learned.learner
    if learner is None:
        raise ParameterError(
            "this phase trains, but no network is active",
            hint="carry out the phases of a plan through diffusion.run",
        )
    return learner


def _prior(run: Run) -> GaussianPrior | None:
    prior = prior_of(run.plan, run.learned.answers)
    return None if prior is None else prior.to(run.options.device)


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
    """Save when it is time; return whether to take another step.

    Steps that count already are carried out before the run stops: nothing is wasted,
    and nothing has to be given back.
    """
    if run.ranks.first:
        run.previews.look(run.learned, phase)
    late = time.monotonic() - run.saved_at > run.options.checkpoint_seconds
    wish, due, held = run.ranks.most(
        int(run.watcher.should_stop()),
        int(run.ranks.first and late),
        run.guard.held(phase),
    )
    stop = bool(wish) and held == 0
    if stop or due:
        save(run, phase.name)
    return not stop
