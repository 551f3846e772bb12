"""Which networks a plan has, which phase trains which, and which stage asks which.

    sharing      part                      trained at                 begins as
    sequential,  shared                    public phases: all sigma   first weights
    mixture                                private: private sigma
    gated        public                    all sigma                  first weights
                 private                   private sigma              public, averaged
    experts      one per source of stages  its own sigma              first, or the
                                                                      first weights
                 first: phases with no     all sigma                  first weights
                 stage of their own

Pretrained weights go to the part that public phases train. Where a part of the network
is tuned, private steps begin from averaged weights and move nothing else; phases before
them train the whole network.

In `gated` and `experts` private steps never touch the public parts: what those answer
is the same to the last bit, trained on records or not.

Everything here is a function of the plan alone.
"""

import torch
from torch import Tensor, nn

from diffusion.adapters import train_all, train_only
from diffusion.blueprint import network_of
from diffusion.ema import Ema
from diffusion.learned import Learned
from diffusion.noise_levels import Interval
from diffusion.optimisers import new_optimiser
from diffusion.text_encoder import read_captions
from diffusion.trainer import Learner
from diffusion.watching import RunOptions
from privplan import plan_size, tuning
from privplan.phase_source import source_of
from privplan.plan import (
    REPAIR,
    Plan,
    PlanPhase,
    PrivatePhase,
    PublicPhase,
    SyntheticPhase,
)
from privplan.stages import Sharing, Source

SHARED = "shared"
PUBLIC = "public"
PRIVATE = "private"
FIRST = "first"
TRAINS = (SyntheticPhase, PublicPhase, PrivatePhase)


def answering(plan: Plan, source: Source) -> str:
    """Return the part that answers at the sigmas of a source, which is no query."""
    match plan.training.sharing:
        case Sharing.SEQUENTIAL | Sharing.MIXTURE:
            return SHARED
        case Sharing.GATED:
            return PRIVATE if source is Source.PRIVATE else PUBLIC
        case Sharing.EXPERTS:
            return source.value


def trained_by(plan: Plan, phase: PlanPhase) -> str | None:
    """Return the part that a phase trains; None if it trains none."""
    source = source_of(phase)
    if source is None or source is Source.GAUSSIAN:
        return None
    if plan.training.sharing is Sharing.EXPERTS and not plan.intervals(source):
        return FIRST
    return answering(plan, source)


def parts_of(plan: Plan) -> tuple[str, ...]:
    """Return the names of all networks of a plan, in the order they are trained."""
    names = (trained_by(plan, phase) for phase in plan.phases)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def whole(plan: Plan) -> tuple[Interval, ...]:
    """Return the whole range of sigma, as one interval."""
    return ((plan.training.sigma_min, plan.training.sigma_max),)


def trained_at(plan: Plan, phase: PlanPhase) -> tuple[Interval, ...]:
    """Return the intervals of sigma that a phase trains, in increasing order."""
    source = source_of(phase)
    apart = plan.training.sharing is Sharing.EXPERTS
    if source is None:
        return whole(plan)
    own = source is Source.PRIVATE or phase.name == REPAIR or apart
    return tuple(sorted(plan.intervals(source) if own else ())) or whole(plan)


def only_prepares(plan: Plan) -> bool:
    """Whether public phases answer at no sigma, and only prepare a network."""
    return not (plan.intervals(Source.SYNTHETIC) or plan.intervals(Source.PUBLIC))


def new_learned(
    plan: Plan, options: RunOptions, texts: Tensor | None = None
) -> Learned:
    """Build the networks of a plan, ready for its first phase.

    Args:
        plan: The plan.
        options: Where they live.
        texts: What labels are shown as, where they pick captions; private.
    """
    learned = Learned(
        parts={name: _fresh(plan, options, texts) for name in parts_of(plan)}
    )
    start_phase(learned, plan, plan.phases[0])
    return learned


def start_phase(learned: Learned, plan: Plan, phase: PlanPhase) -> None:
    """Make a phase's part the active one, with a fresh optimiser.

    Weights and averages stay, except of a part that begins as a copy of another.
    """
    learned.active = trained_by(plan, phase)
    learner = learned.learner
    if learner is None or not isinstance(phase, TRAINS):
        return
    origin = _origin(plan, learned.active)
    if origin is not None:
        learner.network.load_state_dict(learned.parts[origin].ema.averaged())
        learner.ema = Ema(learner.network, plan.training.ema_decay)
    if _tunes(plan, phase):
        learner.network.load_state_dict(learner.ema.averaged())
        _tune(plan, learner)
    learner.optimiser = _optimiser(plan, learner.network)
    learner.learning_rate = phase.learning_rate
    learner.steps_done = 0


def private_network(plan: Plan) -> nn.Module:
    """Build the network of a plan as private steps find it: what is frozen is."""
    network = network_of(plan)
    if plan.training.tune == tuning.ALL:
        train_all(network)
    else:
        train_only(network, plan_size.selected(plan.data, plan.training))
    return network


def come_to(learned: Learned, plan: Plan, name: str) -> None:
    """Freeze what is frozen by the time a phase is reached; the weights stay.

    For weights that come from elsewhere: a checkpoint, or the first ones.

    Args:
        learned: Changed in place.
        plan: The plan.
        name: Of the phase; any other name stands for the end.
    """
    for phase in plan.phases:
        part = trained_by(plan, phase)
        if part is not None and _tunes(plan, phase):
            _tune(plan, learned.parts[part])
        if phase.name == name:
            return


def _tunes(plan: Plan, phase: PlanPhase) -> bool:
    """Return whether a phase leaves some of the network as it is."""
    return isinstance(phase, PrivatePhase) and plan.training.tune != tuning.ALL


def _tune(plan: Plan, learner: Learner) -> None:
    """Free what the plan tunes and nothing else; average no more than that."""
    train_only(learner.network, plan_size.selected(plan.data, plan.training))
    learner.ema = Ema(learner.network, plan.training.ema_decay)


def _origin(plan: Plan, name: str | None) -> str | None:
    sharing, names = plan.training.sharing, parts_of(plan)
    if sharing is Sharing.GATED and name == PRIVATE and PUBLIC in names:
        return PUBLIC
    if sharing is Sharing.EXPERTS and name != FIRST and FIRST in names:
        return FIRST
    return None


def _fresh(plan: Plan, options: RunOptions, texts: Tensor | None) -> Learner:
    network = network_of(plan).to(options.device)
    read_captions(network, texts)
    train_all(network)
    return Learner(
        network=network,
        optimiser=_optimiser(plan, network),
        ema=Ema(network, plan.training.ema_decay),
        learning_rate=0.0,
    )


def _optimiser(plan: Plan, network: nn.Module) -> torch.optim.Optimizer:
    return new_optimiser(plan.training.optimiser, network.parameters())
