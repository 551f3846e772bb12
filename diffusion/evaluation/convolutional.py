"""A small convolutional classifier, trained from a public seed.

Trained on one set of images, with the epoch chosen on a tenth of the same set. The
images it is tested on later take no part in any choice.

    image ── conv 16 ── conv 32 ── conv 64 ── 4 x 4 means ── features ── class
             (halved before each while a side is above 8, and before the last)

The same network, trained on images made by programs, is the encoder of
`diffusion.evaluation.encoder`.

The global random state is neither read nor moved.
"""

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from diffusion.network_blocks import conv, norm
from diffusion.processor import threads_for
from privplan import checks
from privplan.errors import DataError

FEATURES = 128
_WIDTHS = (16, 32, 64)
_PARTS = 4
_HALVE_ABOVE = 8
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a classifier is trained.

    Attributes:
        epochs: Passes over the images at most.
        most_steps: Steps at most, whatever the number of images.
        batch_size: Images per step.
        learning_rate: Of Adam, falling to zero along a cosine.
        held_back: Share of the images that chooses the epoch; 0 keeps the last one.
        noise_std: Of noise added to the images it sees, in data units.
        seed: Public.
    """

    epochs: int = 20
    most_steps: int = 3_000
    batch_size: int = 64
    learning_rate: float = 2e-3
    held_back: float = 0.1
    noise_std: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        checks.count(
            epochs=self.epochs, most_steps=self.most_steps, batch_size=self.batch_size
        )
        checks.positive(learning_rate=self.learning_rate)
        checks.non_negative(held_back=self.held_back, noise_std=self.noise_std)


class Convolutional(nn.Module):
    """The network of this module's picture."""

    def __init__(self, channels: int, classes: int, longer_side: int) -> None:
        super().__init__()
        widths, side = [channels, *_WIDTHS], longer_side
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        self.halves: list[bool] = []
        for before, after in pairwise(widths):
            self.halves.append(side > _HALVE_ABOVE or len(self.halves) == 2)
            side = -(-side // 2) if self.halves[-1] else side
            self.layers.append(conv(before, after))
            self.norms.append(norm(after))
        self.hidden = nn.Linear(_WIDTHS[-1] * _PARTS**2, FEATURES)
        self.out = nn.Linear(FEATURES, classes)

    def features(
        self, x: Float32[Tensor, "rows channels height width"]
    ) -> Float32[Tensor, "rows features"]:
        """Return what the last layer sees."""
        for layer, normalise, halve in zip(
            self.layers, self.norms, self.halves, strict=True
        ):
            if halve:
                x = functional.avg_pool2d(x, 2, ceil_mode=True)
            x = functional.relu(normalise(layer(x)))
        found: Tensor = self.hidden(
            functional.adaptive_avg_pool2d(x, _PARTS).flatten(1)
        )
        return functional.relu(found)

    def forward(
        self, x: Float32[Tensor, "rows channels height width"]
    ) -> Float32[Tensor, "rows classes"]:
        """Return the score of each class."""
        scores: Tensor = self.out(self.features(x))
        return scores


def fit(
    images: Float32[Tensor, "rows channels height width"],
    labels: Int64[Tensor, " rows"],
    *,
    classes: int,
    training: Training,
) -> Convolutional:
    """Train a classifier; equal arguments give equal weights on one machine.

    Args:
        images: In [-1, 1]; at least two.
        labels: Their classes.
        classes: How many there are.
        training: How.

    Returns:
        The network after the epoch that did best on the images held back, in
        evaluation mode.

    Raises:
        DataError: There are fewer than two images.
    """
    if len(images) < 2:
        raise DataError(
            "a classifier cannot be trained on fewer than two images",
            hint="draw more samples, such as --count 1000",
        )
    height, width = images.shape[2:]
    with torch.random.fork_rng(devices=[]), threads_for(height, width):
        torch.manual_seed(training.seed)
        network = Convolutional(images.shape[1], classes, max(height, width))
        order = torch.randperm(len(images))
        back = min(int(len(images) * training.held_back), len(images) - 1)
        return _fitted(network, images, labels, (order[back:], order[:back]), training)


def _fitted(
    network: Convolutional,
    images: Tensor,
    labels: Tensor,
    split: tuple[Tensor, Tensor],
    training: Training,
) -> Convolutional:
    used, back = split
    steps = -(-len(used) // training.batch_size)
    epochs = max(min(training.epochs, training.most_steps // steps), 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    best, least = copy.deepcopy(network.state_dict()), float("inf")
    for _ in range(epochs):
        for rows in torch.split(used[torch.randperm(len(used))], training.batch_size):
            shown = images[rows]
            shown = shown + training.noise_std * torch.randn_like(shown)
            loss = functional.cross_entropy(network(shown), labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            falling.step()
        missed = _loss(network, images[back], labels[back]) if len(back) else 0.0
        if missed < least or not len(back):
            best, least = copy.deepcopy(network.state_dict()), missed
    network.load_state_dict(best)
    return network.eval()


@torch.no_grad()
def _loss(network: Convolutional, images: Tensor, labels: Tensor) -> float:
    return functional.cross_entropy(network(images), labels).item()


@torch.no_grad()
def accuracy(
    network: Convolutional,
    images: Float32[Tensor, "rows channels height width"],
    labels: Int64[Tensor, " rows"],
) -> float:
    """Return the share of images whose class the network finds."""
    with threads_for(*images.shape[2:]):
        found = [
            network(part).argmax(dim=1) for part in torch.split(images, _ROWS_AT_ONCE)
        ]
    return float((torch.cat(found) == labels).double().mean())
