r"""What a run costs a data set: in full when reserved, and less if it ended early.

A plan is fixed before the data is read, so its full cost is exact: epsilon of its
events at its delta. A run that ends early is another matter. *When* it ends may depend
on what it showed, and the epsilon of the steps done, at the plan's delta, is then too
small: whoever may stop at any of K moments has K chances of an accident.

So a refund is decided on beforehand. A refundable reservation pays delta twice, once
for the whole run and once for all its early ends together; and an early end costs

    epsilon of the steps counted, at delta / K          K = product of (steps + 1)

or the full epsilon, if that is less. Proof: let S be any set of outputs, S_t its part
with end t, which the steps up to t decide. P(S_t) <= e^epsilon_t Q(S_t) + delta / K for
each early end and P(S_full) <= e^epsilon Q(S_full) + delta for the rest; what follows
may spend the limit less epsilon_t in each branch, and the deltas add up to 2 delta.

Any other reservation keeps its full cost however it ends, except that a run that began
no private step at all costs nothing: nothing was read that could have told it to end.

Source: the branches are those of Rogers, Roth, Ullman, Vadhan 2016, arXiv:1605.08294;
the union over ends is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from privplan import accounting
from privplan.accounting import Bracket
from privplan.budget import Adjacency
from privplan.events import ComposedEvent, NoOpEvent, SelfComposedEvent
from privplan.register_entries import Reserve, ReservedPhase

_SAFETY = 1 + 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What something costs a data set.

    Attributes:
        epsilon: Never below the truth.
        delta: As charged.
        least: The truth is not below it; a cost written down must not be either.
    """

    epsilon: float
    delta: float
    least: float


NOTHING = Cost(epsilon=0.0, delta=0.0, least=0.0)


@lru_cache(maxsize=4096)
def _epsilon(event: ComposedEvent, delta: float, adjacency: Adjacency) -> Bracket:
    return accounting.epsilon(event, delta=delta, adjacency=adjacency)


def full(
    event: ComposedEvent, *, delta: float, adjacency: Adjacency, refundable: bool
) -> Cost:
    """Return what a whole plan costs.

    Args:
        event: Everything it may do to the records.
        delta: The plan's own.
        adjacency: The plan's own.
        refundable: Whether an early end may give back.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> query = ComposedEvent(events=(GaussianEvent(noise_multiplier=4.0),))
        >>> near = Adjacency.ADD_OR_REMOVE_ONE
        >>> found = full(query, delta=1e-5, adjacency=near, refundable=True)
        >>> round(found.epsilon, 4), found.delta
        (0.9263, 2e-05)
    """
    found = _epsilon(event, delta, adjacency)
    return Cost(
        epsilon=found.upper,
        delta=2 * delta if refundable else delta,
        least=found.least_claim,
    )


def of(entry: Reserve) -> Cost:
    """Return what a reservation costs until it is settled."""
    return full(
        entry.event,
        delta=entry.budget.target_delta,
        adjacency=entry.budget.adjacency,
        refundable=entry.refundable,
    )


def realised(entry: Reserve, counted: Mapping[str, int]) -> Cost:
    """Return what a reservation costs once its run has ended for good.

    Args:
        entry: The reservation.
        counted: Steps that count, for each of its phases.
    """
    private = [phase for phase in entry.phases if _reads(phase)]
    begun = [phase for phase in private if counted[phase.phase] > 0]
    if not begun:
        return NOTHING
    whole = of(entry)
    if not entry.refundable:
        return whole
    ends = math.prod(phase.steps + 1 for phase in private)
    event = ComposedEvent(
        events=tuple(
            SelfComposedEvent(event=phase.event, count=counted[phase.phase])
            for phase in begun
        )
    )
    share = entry.budget.target_delta / (ends * _SAFETY)
    found = _epsilon(event, share, entry.budget.adjacency)
    if found.upper < whole.epsilon:
        return Cost(epsilon=found.upper, delta=whole.delta, least=found.least_claim)
    return Cost(
        epsilon=whole.epsilon,
        delta=whole.delta,
        least=min(whole.least, found.least_claim),
    )


def _reads(phase: ReservedPhase) -> bool:
    return not isinstance(phase.event, NoOpEvent)
