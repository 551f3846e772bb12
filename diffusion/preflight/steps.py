"""The whole step, from sampler to divisor, on made-up pictures and on canaries.

own network    every record broken: noise alone, in every coordinate
own network    neighbours under replayed randomness: one record's share
own network    a real step: frozen weights and buffers stay, trained ones move
canaries       noise, share, rate, pairs, repeats and sizes of batches
"""

import copy
import math
from dataclasses import replace

import torch
from torch import nn

from diffusion import laws
from diffusion.canaries import carry_out
from diffusion.data import PrivateImages
from diffusion.neighbours import pairs
from diffusion.preflight.findings import Check, none_of
from diffusion.randomness import RandomSource
from diffusion.rehearsal import Setting, listening, noised_sum, times
from diffusion.releases import Release
from diffusion.replay import replay
from diffusion.trainer import Learner, private_step
from privplan.conformance import FALSE_ALARM
from privplan.measured import Measured
from privplan.plan import PlanData

STEPS, CANARIES = 40, 256
_PAIRS = ("huge", "identical")
_CHANGED = "restore privplan's own sources; if they are, please report this"


def check(
    network: nn.Module, setting: Setting, release: Release, images: PrivateImages
) -> list[Check]:
    """Check the private step of a phase.

    Args:
        network: A copy that may be changed, in the type it will be trained in.
        setting: The step.
        release: The same step in float64, for replays.
        images: A few made-up pictures.
    """
    data = _shape(images)
    neighbours = (pair for pair in pairs(data) if pair.name in _PAIRS)
    return [
        *_laws(_own_noise(network, setting, images)),
        *_laws(_canaries(setting)),
        *(_share(found) for found in replay(release, neighbours)),
        *of_learning(network, setting, images),
    ]


def of_query(release: Release, images: PrivateImages) -> list[Check]:
    """Check a query: one record's share, and nothing else that changes."""
    neighbours = (pair for pair in pairs(_shape(images)) if pair.name in _PAIRS)
    return [_share(found) for found in replay(release, neighbours)]


def _own_noise(
    network: nn.Module, setting: Setting, images: PrivateImages
) -> list[Measured]:
    """Break every record's loss, so that the noise is all there is."""
    broken = replace(
        setting,
        mechanism=replace(setting.mechanism, sample_rate=1.0, noise_multiplicity=1),
        loss=replace(
            setting.loss,
            row_loss=times(
                setting.loss.row_loss, lambda clean: clean.new_tensor(math.nan)
            ),
        ),
    )
    noise = noised_sum(listening(network), images, broken, RandomSource())
    residual = (noise / setting.noise_multiplier)[None].numpy()
    return laws.noise(residual, false_alarm=FALSE_ALARM, what="own ")


def _canaries(setting: Setting) -> list[Measured]:
    found = carry_out(
        setting.mechanism,
        setting.performance.engine,
        steps=STEPS,
        members=torch.arange(CANARIES),
        width=CANARIES,
        random=RandomSource(),
    )
    return laws.of_steps(
        found,
        noise_multiplier=setting.noise_multiplier,
        sample_rate=setting.mechanism.sample_rate,
        false_alarm=FALSE_ALARM,
    )


def of_learning(
    network: nn.Module, setting: Setting, images: PrivateImages
) -> list[Check]:
    """Take one real step, with a real optimiser; what does not learn must stay.

    Args:
        network: A copy is changed.
        setting: The step.
        images: A few made-up pictures.
    """
    moved = copy.deepcopy(network)
    trained = {n for n, p in moved.named_parameters() if p.requires_grad}
    before = {n: t.detach().clone() for n, t in moved.state_dict().items()}
    _real_step(moved, setting, images)
    after = moved.state_dict()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    return [
        none_of(
            "frozen",
            [name for name in before if name not in trained and not same[name]],
            "frozen weights and buffers that a private step changes",
            problem="{layer} is frozen, and a private step changes it",
            cure="remove layers that keep statistics, or freeze them with eval()",
        ),
        none_of(
            "trained",
            [
                name
                for name in trained
                if same.get(name, True) or not bool(after[name].isfinite().all())
            ],
            "trained weights that a private step leaves as they are, or breaks",
            problem="{layer} does not take part in a private step",
            cure="freeze what should not learn with requires_grad_(False)",
        ),
    ]


def _real_step(network: nn.Module, setting: Setting, images: PrivateImages) -> None:
    """Take one private step, long enough that every weight moves visibly."""
    learner = replace_optimiser(listening(network))
    mechanism = replace(
        setting.mechanism, sample_rate=1.0, noise_multiplicity=1, beside=None
    )
    # the noise then moves each weight by about its multiplier, which float32 shows
    bound = mechanism.clipping_now(learner).max_grad_norm
    learner.learning_rate = mechanism.expected_batch_size / bound
    private_step(
        learner,
        images,
        mechanism=mechanism,
        loss=setting.loss,
        performance=setting.performance,
        random=RandomSource(),
        spend=lambda: None,
    )


def replace_optimiser(learner: Learner) -> Learner:
    """Give a learner an optimiser that moves every weight that has a gradient."""
    trained = [p for p in learner.network.parameters() if p.requires_grad]
    learner.optimiser = torch.optim.SGD(trained, lr=0.0)
    return learner


def _laws(found: list[Measured]) -> list[Check]:
    return [
        Check(
            found=one,
            problem=f"the {one.name} of a private step is not what the plan says",
            cure=_CHANGED,
        )
        for one in found
    ]


def _share(found: Measured) -> Check:
    return Check(
        found=found,
        problem=f"with replayed randomness, neighbours ({found.name}) differ by more "
        "or less than one record's share",
        cure=_CHANGED,
    )


def _shape(images: PrivateImages) -> PlanData:
    shape = images.shape
    return PlanData(
        records=shape.records,
        records_status="public-by-declaration",
        channels=shape.channels,
        height=shape.height,
        width=shape.width,
        classes=shape.classes,
        embedded=None,
    )
