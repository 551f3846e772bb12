"""A whole plan, phase by phase, in one folder; begin, interrupt, resume.

    run folder
    ├── plan.json                     the plan, as it is applied
    ├── preflight.json                what was tried on made-up pictures before
    ├── ledger.sqlite                 what was begun, written before it happened
    ├── autoencoder/                  public; a copy, if the plan trains on latents
    ├── answers.json                  noisy answers, if the plan has queries
    └── checkpoint/
        ├── state.safetensors         to resume from
        └── model.safetensors         averaged weights, noisy answers: what is released

The ledger is the truth about what was spent, the checkpoint about what was learned. A
crash can leave the ledger ahead of the checkpoint: those steps stay spent, and the run
ends after fewer effective steps, inside its plan.

Edges: writes the run folder.
"""

from dataclasses import dataclass
from pathlib import Path

from diffusion import checkpoint, declared_public, enforce, latents, queries
from diffusion.data import PrivateImages, PublicImages, require_private
from diffusion.parts import TRAINS, come_to, new_learned, start_phase
from diffusion.phases import Run, carry_out, save
from diffusion.preflight.flight import preflight
from diffusion.previews import Previews
from diffusion.processor import tuned_for
from diffusion.randomness import RandomSource
from diffusion.watching import RunOptions, Silent, Watcher
from privplan import canonical, files
from privplan import plan as plans
from privplan.errors import DataError, IntegrityError, PolicyError
from privplan.plan import Plan, PlanPhase, PretrainedPhase, QueryPhase
from privplan.preflight import PREFLIGHT_NAME, to_text

PLAN_NAME = "plan.json"
DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run stands.

    Attributes:
        finished: Whether every phase ended.
        folder: Where it is.
    """

    finished: bool
    folder: Path


def train(
    plan: Plan,
    images: PrivateImages,
    folder: Path,
    *,
    public: PublicImages | None = None,
    resume: bool = False,
    options: RunOptions | None = None,
    watcher: Watcher | None = None,
) -> RunResult:
    """Carry out a plan on private images.

    Args:
        plan: Sealed; applied exactly.
        images: The private records.
        folder: The run folder; new, or that of the run to resume.
        public: The public images a plan names, in any size.
        resume: Go on with the run in `folder`.
        options: Performance settings.
        watcher: Told of progress; asked whether to stop.

    Returns:
        How the run stands; unfinished if the watcher asked to stop.

    Raises:
        PrivplanError: Refused or not possible; the message says what to do.
    """
    options = options or RunOptions()
    require_private(images)
    images = latents.brought(images, latents.for_run(plan, options.autoencoder, folder))
    enforce.check(plan, images)
    declared_public.check_images(plan, public)
    declared_public.check_weights(plan, options.pretrained, resume=resume)
    watcher = watcher or Silent()
    _check_folder(plan, folder, resume=resume)
    with tuned_for(plan):
        flown = preflight(plan, options)
    files.make_folder(folder / "checkpoint")
    if not resume:
        watcher.ready(plan)
    if not (folder / PLAN_NAME).exists():
        plans.write(plan, folder / PLAN_NAME)
    files.write_text(folder / PREFLIGHT_NAME, to_text(flown), what="preflight")
    guard = (
        enforce.resume(
            plan,
            images,
            folder,
            allow_code_change=options.allow_code_change,
            charge=options.charge,
        )
        if resume
        else enforce.begin(plan, images, folder, charge=options.charge)
    )
    with guard, tuned_for(plan):
        guard.keep(options.rules, folder)
        run = Run(
            plan=plan,
            images=images,
            public=public,
            folder=folder,
            guard=guard,
            learned=new_learned(plan, options),
            options=options,
            watcher=watcher,
            random=RandomSource(unsafe_seed=options.unsafe_seed),
            previews=Previews(plan, options),
        )
        if options.unsafe_seed is not None:
            guard.confess_seed()
        return RunResult(finished=_go(run), folder=folder)


def _check_folder(plan: Plan, folder: Path, *, resume: bool) -> None:
    ledger = folder / enforce.LEDGER_NAME
    if resume and not ledger.is_file():
        raise DataError(
            f"{folder} holds no run to resume",
            hint="give the folder of a run with --out, or leave --resume away",
        )
    if not resume and ledger.exists():
        raise PolicyError(
            f"{folder} already holds a run",
            hint="add --resume to go on with it, or give another --out",
        )
    kept = folder / PLAN_NAME
    if kept.exists() and plans.read(kept).digest != plan.digest:
        raise PolicyError(
            f"{folder} belongs to another plan",
            hint="resume with the plan in that folder, or give another --out",
        )


def _go(run: Run) -> bool:
    first = _take_up(run)
    if first == len(run.plan.phases) and (run.folder / checkpoint.MODEL_NAME).exists():
        return True
    for phase in run.plan.phases[first:]:
        if not carry_out(run, phase):
            return False
        _move_on(run, phase)
    _release(run)
    return True


def _move_on(run: Run, phase: PlanPhase) -> None:
    """Make ready for the phase after this one, and save."""
    following = run.plan.phases[run.plan.phases.index(phase) + 1 :]
    if following:
        start_phase(run.learned, run.plan, following[0])
    save(run, following[0].name if following else DONE)


def _take_up(run: Run) -> int:
    """Load the last state, if there is one; return the phase to go on with."""
    names = [phase.name for phase in run.plan.phases] + [DONE]
    come_to(run.learned, run.plan, checkpoint.place_of(run.folder) or names[0])
    place = checkpoint.load_state(run.folder, run.learned, plan_digest=run.plan.digest)
    if place is None:
        return 0
    if not run.guard.knows(place.head) or place.phase not in names:
        raise IntegrityError(
            "the checkpoint knows a ledger entry that this ledger does not have: the "
            "ledger was rolled back or exchanged",
            hint="restore the ledger that belongs to the checkpoint",
        )
    position = names.index(place.phase)
    phase = run.plan.phases[position] if position < len(run.plan.phases) else None
    if run.learned.learner is not None and isinstance(phase, TRAINS):
        run.learned.learner.learning_rate = phase.learning_rate
    return position


def _release(run: Run) -> None:
    """Write the averaged weights and the answers, and note the files in the ledger."""
    facts = {
        "plan_digest": run.plan.digest,
        "weights": "averaged",
        "tune": run.plan.training.tune,
        "pretrained": [
            p.checkpoint_digest for p in run.plan.phases_of(PretrainedPhase)
        ],
    }
    checkpoint.save_model(run.folder, run.learned, facts)
    names = [checkpoint.MODEL_NAME, checkpoint.STATE_NAME, PLAN_NAME]
    if run.plan.phases_of(QueryPhase):
        text = queries.document(run.plan, run.learned.answers)
        files.write_bytes(run.folder / queries.ANSWERS_NAME, text, what="answers")
        names.append(queries.ANSWERS_NAME)
    for name in names:
        run.guard.release(name, canonical.file_digest(run.folder / name))
