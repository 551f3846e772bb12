"""The questions most people ask, in one line each; `import privplan` offers them.

    epsilon("sgd:0.02,1.1,1000", delta=1e-5)
    delta(["sgd:0.02,1.1,1000", "gaussian:20"], epsilon=2.0)
    calibrate("sgd:0.02,?,1000", budget=Budget(target_epsilon=2.0, target_delta=1e-5))

Something asked about is an event, the text of a phase (`phase_text`), or several of
them, which are composed jointly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan import accounting, phase_text, solve_for
from privplan.budget import Adjacency
from privplan.events import ComposedEvent, Event
from privplan.phase_text import Unknown

if TYPE_CHECKING:
    from privplan.accounting import Bracket
    from privplan.budget import PrivacyBudget

Asked = Event | str | Iterable[Event | str]
Open = Event | str | Callable[[float], Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The answer to a calibration.

    Attributes:
        unknown: What was asked for.
        value: The least noise multiplier, the highest rate or the most steps.
        event: Everything, with the value in place.
        parts: The same, phase by phase, in the order given.
        epsilon: What it costs; its upper end is inside the budget.
    """

    unknown: Unknown
    value: float
    event: Event
    parts: tuple[Event, ...]
    epsilon: Bracket


def epsilon(
    asked: Asked, *, delta: float, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE
) -> Bracket:
    """Bound the epsilon of one or several phases, composed jointly.

    Raises:
        ParameterError: A phase is malformed, or `delta` is not between 0 and 1.
        PolicyError: No route is right for these events under this adjacency.

    Example:
        >>> found = epsilon(["sgd:0.02,1.1,1000", "gaussian:20"], delta=1e-5)
        >>> round(found.upper, 6)
        3.2572
    """
    return accounting.epsilon(as_event(asked), delta=delta, adjacency=adjacency)


def delta(
    asked: Asked, *, epsilon: float, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE
) -> Bracket:
    """Bound the delta of one or several phases, composed jointly.

    Raises:
        ParameterError: A phase is malformed, or `epsilon` is negative or not finite.
        PolicyError: No route is right for these events under this adjacency.

    Example:
        >>> round(delta("gaussian:1", epsilon=1.0).upper, 6)
        0.126937
    """
    return accounting.delta(as_event(asked), epsilon=epsilon, adjacency=adjacency)


def calibrate(phases: Open | Iterable[Open], *, budget: PrivacyBudget) -> Calibrated:
    """Find the one number that is left open, so that everything keeps a budget.

    Args:
        phases: Events and texts; one text has a `?`, or one phase is a function from
            a noise multiplier to its event.
        budget: What may be spent on all of it.

    Raises:
        ParameterError: Nothing is open, or more than one number is.
        InfeasibleBudgetError: No value keeps the budget; the message says why.
        PolicyError: No route is right for these events under this adjacency.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> budget = PrivacyBudget(target_epsilon=2.0, target_delta=1e-5)
        >>> calibrate(["sgd:0.05,?,500", "gaussian:20"], budget=budget).value
        2.41332
    """
    parts = [_part(given) for given in _listed(phases)]
    index, which = phase_text.the_unknown([part.unknown for part in parts])
    others = tuple(part.event(0.0) for part in parts[:index] + parts[index + 1 :])
    make = parts[index].event
    value = solve_for.unknown(
        make, which=which, fixed=ComposedEvent(events=others), budget=budget
    )
    found = (*others[:index], make(value), *others[index:])
    event = ComposedEvent(events=found)
    cost = accounting.epsilon(
        event, delta=budget.target_delta, adjacency=budget.adjacency
    )
    return Calibrated(
        unknown=which, value=value, event=event, parts=found, epsilon=cost
    )


def as_event(asked: Asked) -> Event:
    """Turn an event, a text, or several of them into one event.

    Raises:
        ParameterError: A text is not a phase, or has a `?`.

    Example:
        >>> as_event("gaussian:20")
        GaussianEvent(noise_multiplier=20.0)
    """
    if isinstance(asked, str):
        return phase_text.parse(asked).event()
    if isinstance(asked, Iterable):
        return ComposedEvent(events=tuple(as_event(part) for part in asked))
    return asked


def _listed(phases: Open | Iterable[Open]) -> list[Open]:
    if isinstance(phases, str) or not isinstance(phases, Iterable):
        return [phases]
    return list(phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    unknown: Unknown | None
    event: Callable[[float], Event]  # what it is given matters only if unknown


def _part(given: Open) -> _Part:
    if isinstance(given, str):
        read = phase_text.parse(given)
        if read.unknown is not None:
            return _Part(
                unknown=read.unknown, event=lambda value: read.filled(value).event()
            )
        given = read.event()
    if callable(given):
        return _Part(unknown=Unknown.NOISE_MULTIPLIER, event=given)
    event = given
    return _Part(unknown=None, event=lambda _: event)
