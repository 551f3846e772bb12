"""Who pays what: each phase alone, all jointly, and what each one adds.

Costs do not add up: phases that are counted jointly cost less than the sum of what they
cost alone, and what a phase adds depends on the company it is in. So two numbers are
shown for each: its cost alone, and what would be given back if it were dropped.

Source: leave-one-out shares; the composition is that of `accounting`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan.events import ComposedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privplan.accounting import Bracket
    from privplan.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one phase costs.

    Attributes:
        alone: Its cost if nothing else touched the data.
        given_back: How much less would be claimed without it; infinite if only its
            presence makes the claim infinite, NaN if the rest is infinite as well.
    """

    alone: Bracket
    given_back: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What several phases cost together.

    Attributes:
        jointly: Of all phases, composed.
        shares: One for each phase, in order.
    """

    jointly: Bracket
    shares: tuple[Share, ...]


def bill(parts: Sequence[Event], cost: Callable[[Event], Bracket]) -> Bill:
    """Count phases jointly, alone, and each one left out.

    Args:
        parts: The phases; the order does not matter to the total.
        cost: Epsilon at some delta or delta at some epsilon, as a bracket.

    Example:
        >>> from privplan import accounting
        >>> from privplan.events import GaussianEvent
        >>> query = GaussianEvent(noise_multiplier=10.0)
        >>> found = bill([query, query], lambda e: accounting.epsilon(e, delta=1e-5))
        >>> round(found.jointly.upper, 4), round(found.shares[0].alone.upper, 4)
        (0.497, 0.3407)
        >>> round(found.shares[0].given_back, 4)
        0.1563
    """
    jointly = cost(ComposedEvent(events=tuple(parts)))
    if len(parts) == 1:
        share = Share(alone=jointly, given_back=jointly.upper)
        return Bill(jointly=jointly, shares=(share,))
    shares = []
    for index, part in enumerate(parts):
        rest = cost(ComposedEvent(events=(*parts[:index], *parts[index + 1 :])))
        shares.append(Share(alone=cost(part), given_back=_less(jointly, rest)))
    return Bill(jointly=jointly, shares=tuple(shares))


def _less(jointly: Bracket, rest: Bracket) -> float:
    if math.isinf(rest.upper):
        return math.nan
    return max(0.0, jointly.upper - rest.upper)
