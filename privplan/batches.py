"""How a batch is chosen, and what that lets anybody claim.

Amplification by sampling is proved for Poisson batches: each record is in or out by a
coin of its own. A loader that shuffles the data and walks through it has other odds,
and its epsilon can be far above the Poisson one: at noise 2.380, 15 batches and 300
epochs no less than 12.13, where Poisson batches cost 9.86. So the word is asked for,
and only Poisson batches get a Poisson epsilon.

What may be claimed instead. Under zero-out adjacency, one epoch over a shuffled and
partitioned data set is one Gaussian query: a record is in exactly one of its batches,
and what the others release does not depend on it. Batches of a fixed size, drawn anew
each step, may all hold the same record: every step is one Gaussian query.

Source: Chua et al. 2024, arXiv:2403.17673 and arXiv:2411.04205 (shuffling is not
Poisson); Lebeda, Regehr, Kamath, Steinke 2024, arXiv:2405.20769 (fixed batches).
"""

from __future__ import annotations

from enum import StrEnum

from privplan.budget import Adjacency
from privplan.errors import PolicyError
from privplan.events import (
    Event,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)


class Sampling(StrEnum):
    """How the batches of DP-SGD are chosen."""

    POISSON = "poisson"
    SHUFFLED = "shuffled"
    FIXED_SIZE = "fixed-size"


def require_poisson(sampling: Sampling) -> None:
    """Refuse every way of choosing batches but Poisson sampling.

    Raises:
        PolicyError: Batches are shuffled or of a fixed size.

    Example:
        >>> require_poisson(Sampling.POISSON)
        >>> require_poisson(Sampling.SHUFFLED)
        Traceback (most recent call last):
        privplan.errors.PolicyError: a shuffled loader has no Poisson epsilon: its own \
can be more than twice as large. To fix: draw Poisson batches, or count each epoch as \
gaussian:NOISE,EPOCHS under zero-out adjacency
    """
    match sampling:
        case Sampling.POISSON:
            return
        case Sampling.SHUFFLED:
            raise PolicyError(
                "a shuffled loader has no Poisson epsilon: its own can be more than "
                "twice as large",
                hint="draw Poisson batches, or count each epoch as "
                "gaussian:NOISE,EPOCHS under zero-out adjacency",
            )
        case Sampling.FIXED_SIZE:
            raise PolicyError(
                "batches of a fixed size have no Poisson epsilon: their worst data "
                "sets are others, and can cost several times as much",
                hint="draw Poisson batches, or count each step as "
                "gaussian:NOISE,STEPS under zero-out adjacency",
            )


def require_adjacency(sampling: Sampling, adjacency: Adjacency) -> None:
    """Refuse a claim about one record more or less where batches are not Poisson.

    Without that record, a shuffled loader fills every later batch with others, so more
    than one batch changes. Blanking it or putting another in its place changes one.

    Raises:
        PolicyError: Such a claim, for shuffled batches or batches of a fixed size.

    Example:
        >>> require_adjacency(Sampling.SHUFFLED, Adjacency.ZERO_OUT)
        >>> require_adjacency(Sampling.POISSON, Adjacency.ADD_OR_REMOVE_ONE)
    """
    one_more_or_less = adjacency is Adjacency.ADD_OR_REMOVE_ONE
    if sampling is not Sampling.POISSON and one_more_or_less:
        raise PolicyError(
            f"with {sampling.value} batches one record more or less changes the "
            "others' batches too",
            hint="state the claim under zero-out adjacency",
        )


def dp_sgd(
    *,
    sample_rate: float,
    noise_multiplier: float,
    steps: int,
    sampling: Sampling = Sampling.POISSON,
) -> Event:
    """Return the event of a run of DP-SGD, if its batches are Poisson.

    Args:
        sample_rate: Probability that a record is in a batch; above 0, at most 1.
        noise_multiplier: Noise standard deviation over clipping norm; above 0.
        steps: How many; at least 1.
        sampling: How the batches are really chosen.

    Raises:
        ParameterError: A number is outside its range.
        PolicyError: The batches are not Poisson.

    Example:
        >>> from privplan import accounting
        >>> run = dp_sgd(sample_rate=0.02, noise_multiplier=1.1, steps=1000)
        >>> round(accounting.epsilon(run, delta=1e-5).upper, 6)
        3.250074
    """
    require_poisson(sampling)
    step = PoissonSampledGaussianEvent(
        sample_rate=sample_rate, noise_multiplier=noise_multiplier
    )
    return SelfComposedEvent(event=step, count=steps)
