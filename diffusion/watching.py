"""How a run is set up for speed, and who may look on while it runs.

A watcher sees public numbers only: which phase, how many steps. It can ask a run to
stop; the run then finishes its step, saves and returns.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from diffusion.latents import LatentSpace
from diffusion.pretrained import PretrainedWeights
from diffusion.ranks import ALONE, Ranks
from diffusion.text_encoder import TextEncoder
from privplan import checks
from privplan.plan import Plan, PlanPhase
from privplan.register_run import Charge
from privplan.run_rules import RunRules


@runtime_checkable
class Watcher(Protocol):
    """Someone who looks on; sees public numbers only."""

    def ready(self, plan: Plan) -> None:
        """A new run passed every check; no record is touched yet.

        Whoever raises here refuses the run.
        """

    def begin(self, phase: PlanPhase, *, done: int, lost: int) -> None:
        """A phase begins or goes on after `done` steps, `lost` of them in a crash."""

    def advance(self, phase: PlanPhase, *, done: int) -> None:
        """One more step of a phase was carried out; `done` in all."""

    def should_stop(self) -> bool:
        """Whether to finish the step, save and stop."""


@runtime_checkable
class Gallery(Protocol):
    """Someone who is shown images drawn from averaged weights: post-processing."""

    def hang(
        self,
        images: UInt8[Tensor, "rows channels height width"],
        *,
        phase: str,
        done: int,
        seconds: float,
    ) -> None:
        """Images were drawn after `done` steps of a phase, in so many seconds."""


class Silent:
    """A watcher that says nothing and never stops."""

    def ready(self, plan: Plan) -> None:
        """Do nothing."""

    def begin(self, phase: PlanPhase, *, done: int, lost: int) -> None:
        """Do nothing."""

    def advance(self, phase: PlanPhase, *, done: int) -> None:
        """Do nothing."""

    def should_stop(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Performance and safety settings; none of them can change the claim.

    Attributes:
        engine: Name of the per-example engine.
        device: "cpu" or "cuda".
        physical_batch_size: Records per pass; None tries, on public rows.
        checkpoint_seconds: Seconds between two checkpoints.
        allow_code_change: Resume although the sources changed.
        unsafe_seed: For tests; makes the noise worthless, and the report says so.
        gallery: Who is shown previews; None draws none.
        charge: The register that pays for the run; None if none keeps its data set.
        rules: The policy and approval it was held to; noted before a record is read.
        autoencoder: What brings records to the latents that a plan trains on.
        pretrained: The checkpoint that a plan names; a plan names one by digest.
        text: What reads captions; a run finds it beside the checkpoint, or its own.
        ranks: The processes that carry out the run together.
    """

    engine: str = "auto"
    device: str = "cpu"
    physical_batch_size: int | None = None
    checkpoint_seconds: float = 15.0
    allow_code_change: bool = False
    unsafe_seed: int | None = None
    gallery: Gallery | None = None
    charge: Charge | None = None
    rules: RunRules = field(default_factory=RunRules)
    autoencoder: LatentSpace | None = None
    pretrained: PretrainedWeights | None = None
    text: TextEncoder | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.physical_batch_size is not None:
            checks.count(physical_batch_size=self.physical_batch_size)
