"""Canaries in gradient space: records whose clipped gradient is known to the last bit.

The network is one number per canary, and the loss of a row is the number that its label
points at, times a million. So the gradient of canary i points along coordinate i and is
clipped to exactly C, and the noised sum shows in coordinate i whether it was in the
batch, plus noise of a known law. Everything between the records and that sum is the
code that trains: `private_step`, its sampler, the engine, the noise, the divisor.

    noised sum / C  =  (1 if canary i was sampled else 0)  +  noise_multiplier * N(0, 1)

Who was sampled is seen by an engine that notes the labels it is shown and passes them
on.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn

from diffusion.data import PrivateImages
from diffusion.loss import RowLoss, Rows
from diffusion.noise_levels import LogNormal
from diffusion.per_example import Clipping, PerExampleEngine
from diffusion.physical_batch import PhysicalBatch
from diffusion.randomness import RandomSource
from diffusion.rehearsal import Setting, listening, noised_sum
from diffusion.trainer import LossSettings, Mechanism, Performance

STEEP = 1e6
_RECORDS_PER_PASS = 4096


class Pointers(nn.Module):
    """One trained number per coordinate; a row's loss points at one of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.numbers = nn.Embedding(width, 1)

    def forward(self, labels: Tensor) -> Tensor:
        """Return the number each label points at."""
        found: Tensor = self.numbers(labels).squeeze(1)
        return found


def pointing(network: nn.Module, rows: Rows) -> Tensor:
    """The loss of a row: steep in the number that its label points at."""
    value: Tensor = network(rows[3]) * STEEP
    return value


class Listening:
    """An engine that notes whom it is shown, and lets another do the work.

    Attributes:
        name: That of the other.
        seen: Labels it was shown, by the call.
    """

    def __init__(self, inner: PerExampleEngine) -> None:
        self._inner = inner
        self.seen: list[Tensor] = []

    @property
    def name(self) -> str:
        """The name of the engine that works."""
        return self._inner.name

    def clipped_sum(
        self,
        model: nn.Module,
        row_loss: RowLoss,
        rows: Rows,
        *,
        records: int,
        noise_multiplicity: int,
        clipping: Clipping,
    ) -> list[Tensor]:
        """See `diffusion.per_example.PerExampleEngine.clipped_sum`."""
        self.seen.append(rows[3][:records].cpu())
        return self._inner.clipped_sum(
            model,
            row_loss,
            rows,
            records=records,
            noise_multiplicity=noise_multiplicity,
            clipping=clipping,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What some rehearsed steps showed.

    Attributes:
        sums: Noised sums in units of C, one row per step.
        sampled: Whether each canary was in each batch.
    """

    sums: Float64[Tensor, "steps width"]
    sampled: Bool[Tensor, "steps canaries"]


def carry_out(
    mechanism: Mechanism,
    engine: PerExampleEngine,
    *,
    steps: int,
    members: Tensor,
    width: int,
    random: RandomSource,
) -> Steps:
    """Rehearse private steps on canaries.

    Args:
        mechanism: Sampling rate, noise, C, divisor and kind of clipping; one noise draw
            per record, since all draws of a canary agree.
        engine: The per-example engine.
        steps: How many.
        members: Labels of the canaries that are records, each below `width`; at least
            one.
        width: Coordinates of the network.
        random: Randomness.

    Returns:
        Sums and who was sampled; column j of `sampled` is the record of `members[j]`.

    Example:
        >>> from diffusion.per_example import Clipping, engine
        >>> mechanism = Mechanism(
        ...     sample_rate=1.0, noise_multiplier=1e-9, noise_multiplicity=1,
        ...     clipping=Clipping(max_grad_norm=0.5), expected_batch_size=2.0,
        ... )
        >>> found = carry_out(
        ...     mechanism, engine(), steps=1, members=torch.tensor([0, 2]), width=3,
        ...     random=RandomSource(),
        ... )
        >>> found.sums.round().abs().tolist(), found.sampled.tolist()
        ([[1.0, 0.0, 1.0]], [[True, True]])
    """
    listener = Listening(engine)
    setting = Setting(
        mechanism=replace(mechanism, noise_multiplicity=1),
        loss=LossSettings(
            row_loss=pointing, law=LogNormal(), label_dropout=0.0, null_label=0
        ),
        performance=Performance(
            engine=listener,
            physical_batch=PhysicalBatch(_RECORDS_PER_PASS),
            device=torch.device("cpu"),
        ),
    )
    blank = torch.zeros(len(members), 1, 1, 1, dtype=torch.uint8)
    records = PrivateImages(blank, members, width)
    learner = listening(Pointers(width))
    sums, sampled = [], []
    for _ in range(steps):
        listener.seen.clear()
        sums.append(noised_sum(learner, records, setting, random))
        shown = torch.cat(listener.seen) if listener.seen else members[:0]
        sampled.append(torch.isin(members, shown))
    return Steps(sums=torch.stack(sums), sampled=torch.stack(sampled))
