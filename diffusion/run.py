"""A whole plan, phase by phase, in one folder; begin, interrupt, resume.

    run folder
    ├── plan.json                     the plan, as it is applied
    ├── preflight.json                what was tried on made-up pictures before
    ├── ledger.sqlite                 what was begun, written before it happened
    ├── autoencoder/                  public; a copy, if the plan trains on latents
    ├── text_encoder/                 public; a copy, if the plan reads captions
    ├── answers.json                  noisy answers, if the plan has queries
    └── checkpoint/
        ├── state.safetensors         to resume from
        └── model.safetensors         averaged weights, noisy answers: what is released

The ledger is the truth about what was spent, the checkpoint about what was learned. A
crash can leave the ledger ahead of the checkpoint: those steps stay spent, and the run
ends after fewer effective steps, inside its plan.

Several processes carry out a run together, if the options say so (`diffusion.ranks`).
Only the first of them needs the folder; the others need the plan and the data.

Edges: writes the run folder.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion import (
    checkpoint,
    declared_public,
    enforce,
    latents,
    queries,
    text_encoder,
)
from diffusion.data import PrivateImages, PublicImages, data_digest, require_private
from diffusion.enforce import Guard
from diffusion.parts import TRAINS, come_to, new_learned, start_phase
from diffusion.phases import carry_out
from diffusion.preflight.flight import preflight
from diffusion.previews import Previews
from diffusion.processor import tuned_for
from diffusion.randomness import RandomSource
from diffusion.ranks import ALONE, Ranks
from diffusion.run_state import Run, save
from diffusion.shared_guard import SharedGuard
from diffusion.watching import RunOptions, Silent, Watcher
from privplan import canonical, files
from privplan import plan as plans
from privplan.code_identity import source_digest
from privplan.errors import DataError, IntegrityError, PolicyError
from privplan.plan import Plan, PlanPhase, PretrainedPhase, QueryPhase
from privplan.preflight import PREFLIGHT_NAME, PreflightPart, to_text

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
    space = latents.for_run(plan, options.autoencoder, folder)
    reader = text_encoder.for_run(plan, options.pretrained, folder, options.device)
    options = replace(options, autoencoder=space, text=reader)
    enforce.check(plan, images)
    images = latents.brought(images, space)
    texts = text_encoder.of_records(reader, images)
    declared_public.check_images(plan, public)
    declared_public.check_weights(plan, options.pretrained, resume=resume)
    watcher = watcher or Silent()
    _check_together(plan, images, options.ranks)
    if not options.ranks.first:
        _fly(plan, options)

    def opened() -> Guard:
        _make_ready(plan, folder, watcher, options, resume=resume)
        guard = _guard(plan, images, folder, options, resume=resume)
        guard.keep(options.rules, folder)
        return guard

    with SharedGuard.opened(opened, options.ranks) as guard, tuned_for(plan):
        run = Run(
            plan=plan,
            images=images,
            public=public,
            folder=folder,
            guard=guard,
            learned=new_learned(plan, options, texts),
            options=options,
            watcher=watcher,
            random=RandomSource(unsafe_seed=options.unsafe_seed),
            previews=Previews(plan, options),
        )
        if options.unsafe_seed is not None:
            guard.confess_seed()
        return RunResult(finished=_go(run), folder=folder)


def _check_together(plan: Plan, images: PrivateImages, ranks: Ranks) -> None:
    """Require that all processes were given the same; tells only what differs."""
    if ranks.count == 1:
        return
    differ = ranks.differing(
        plan=plan.digest, data=data_digest(images), code=source_digest()
    )
    if differ:
        name = " and ".join(differ)
        raise PolicyError(
            f"the processes of this run do not have the same {name}",
            hint="give every process the same plan, the same data and the same version "
            "of privplan",
        )


def _fly(plan: Plan, options: RunOptions) -> PreflightPart:
    """Try the plan on made-up pictures, on this process alone."""
    with tuned_for(plan):
        return preflight(plan, replace(options, ranks=ALONE))


def _make_ready(
    plan: Plan, folder: Path, watcher: Watcher, options: RunOptions, *, resume: bool
) -> None:
    _check_folder(plan, folder, resume=resume)
    finished = resume and (folder / checkpoint.MODEL_NAME).exists()
    flown = None if finished else _fly(plan, options)
    files.make_folder(folder / "checkpoint")
    latents.keep(options.autoencoder, folder)
    text_encoder.keep(options.text, folder)
    if not resume:
        watcher.ready(plan)
    if not (folder / PLAN_NAME).exists():
        plans.write(plan, folder / PLAN_NAME)
    if flown is not None:
        files.write_text(folder / PREFLIGHT_NAME, to_text(flown), what="preflight")


def _guard(
    plan: Plan,
    images: PrivateImages,
    folder: Path,
    options: RunOptions,
    *,
    resume: bool,
) -> Guard:
    processes = options.ranks.count
    if not resume:
        return enforce.begin(
            plan, images, folder, charge=options.charge, processes=processes
        )
    return enforce.resume(
        plan,
        images,
        folder,
        allow_code_change=options.allow_code_change,
        charge=options.charge,
        processes=processes,
    )


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
    first, model = _take_up(run), run.folder / checkpoint.MODEL_NAME
    if first == len(run.plan.phases) and run.ranks.told(lambda: int(model.exists())):
        return True
    for phase in run.plan.phases[first:]:
        if not carry_out(run, phase):
            return False
        _move_on(run, phase)
    run.ranks.told(lambda: _release(run))
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
    place = _loaded(run)
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


def _loaded(run: Run) -> checkpoint.Place | None:
    """Load the last state from the folder; the other processes are sent it."""
    path = run.folder / checkpoint.STATE_NAME
    if run.ranks.count == 1:
        return _load(run, run.folder)
    sent = run.ranks.given(lambda: path.read_bytes() if path.exists() else b"")
    if run.ranks.first:
        return _load(run, run.folder)
    with tempfile.TemporaryDirectory(prefix="privplan-") as scratch:
        copy = Path(scratch)
        if sent:
            files.make_folder((copy / checkpoint.STATE_NAME).parent)
            files.write_bytes(copy / checkpoint.STATE_NAME, sent, what="checkpoint")
        return _load(run, copy)


def _load(run: Run, folder: Path) -> checkpoint.Place | None:
    come_to(
        run.learned, run.plan, checkpoint.place_of(folder) or run.plan.phases[0].name
    )
    return checkpoint.load_state(folder, run.learned, plan_digest=run.plan.digest)


def _release(run: Run) -> int:
    """Write weights and answers, note the files in the ledger; return how many."""
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
    return len(names)
