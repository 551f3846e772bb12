"""A run as it stands: what it holds while it runs, and how it is saved.

Only the first process of a run writes; before it does, all of them must hold the same
weights, to the last bit.
"""

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from diffusion import checkpoint
from diffusion.data import PrivateImages, PublicImages
from diffusion.learned import Learned
from diffusion.previews import Previews
from diffusion.randomness import RandomSource
from diffusion.ranks import Ranks
from diffusion.shared_guard import SharedGuard
from diffusion.watching import RunOptions, Watcher
from privplan.errors import IntegrityError
from privplan.plan import Plan


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything a run holds while it runs."""

    plan: Plan
    images: PrivateImages
    public: PublicImages | None
    folder: Path
    guard: SharedGuard
    learned: Learned
    options: RunOptions
    watcher: Watcher
    random: RandomSource
    previews: Previews
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def ranks(self) -> Ranks:
        """The processes that carry out the run."""
        return self.options.ranks


def save(run: Run, next_phase: str) -> None:
    """Write the state of the run, so that it can go on from here.

    Raises:
        IntegrityError: The processes of the run hold different weights.
    """
    check_alike(run)
    if not run.ranks.first:
        return
    place = checkpoint.Place(
        plan_digest=run.plan.digest,
        phase=next_phase,
        phase_steps=run.learned.steps_done,
        head=run.guard.head(),
    )
    checkpoint.save_state(run.folder, run.learned, place)
    run.saved_at = time.monotonic()


def check_alike(run: Run) -> None:
    """Require that every process holds the same weights, to the last bit.

    Raises:
        IntegrityError: They do not; whatever they hold was released with its noise.
    """
    learner = run.learned.learner
    if run.ranks.count == 1 or learner is None:
        return
    found = hashlib.sha256()
    for tensor in (
        *learner.network.state_dict().values(),
        *learner.ema.state().values(),
    ):
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    if run.ranks.differing(weights=found.hexdigest()):
        raise IntegrityError(
            "the processes of this run do not hold the same weights any more",
            hint="run on machines of one kind with the same torch, then resume the run",
        )
