"""Privacy events: what touched the data, as values.

A ledger that kept epsilons could only add them up, which overstates the loss of a
long run many times over. So privplan keeps *events*, the mechanisms themselves, and
any accountant, today's or a better one's, can count them again.

The set is closed. The meaning of an event never changes; a new mechanism is a new
class, and the type checker then lists every `match` that must learn it. An event read
from a document is looked up in a table here: no name in a file is ever imported.

    GaussianEvent(z)                     sum with L2 sensitivity C, noise N(0, (zC)^2 I)
    PoissonSampledGaussianEvent(q, z)    each record in with probability q, then that
    PoissonSampledDiscreteGaussianEvent(q, z)
                                         the same in whole numbers, with discrete noise
    LaplaceEvent(b)                      sum with L1 sensitivity C, Laplace noise bC
    RandomizedResponseEvent(e)           one pure query of epsilon e, at its worst
    SelfComposedEvent(event, count)      the same event `count` times
    ComposedEvent(events)                several events on the same records
    NoOpEvent()                          reads no private record: costs nothing
    NonPrivateEvent()                    reads private records without noise: epsilon is
                                         infinite

Units: noise multipliers are in units of the L2 sensitivity of one unit of privacy
being added or removed. Source: the vocabulary follows google/differential-privacy,
dp_accounting; the classes are our own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from privplan import canonical, checks
from privplan.errors import DocumentError
from privplan.mechanisms import (
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledDiscreteGaussianEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
)

__all__ = [
    "ChargedEvent",
    "ComposedEvent",
    "Event",
    "GaussianEvent",
    "LaplaceEvent",
    "LeafEvent",
    "NoOpEvent",
    "NonPrivateEvent",
    "Phase",
    "PoissonSampledDiscreteGaussianEvent",
    "PoissonSampledGaussianEvent",
    "RandomizedResponseEvent",
    "SelfComposedEvent",
    "StepEvent",
    "from_json",
    "phases",
    "to_json",
]

_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfComposedEvent:
    """The same event several times, each with fresh randomness.

    Attributes:
        event: What happens.
        count: How often; at least 1.
    """

    event: Event
    count: int

    def __post_init__(self) -> None:
        checks.count(count=self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedEvent:
    """Several events on the same records; the order does not matter.

    Attributes:
        events: What happens; empty means nothing.
    """

    events: tuple[Event, ...]


StepEvent = PoissonSampledGaussianEvent | PoissonSampledDiscreteGaussianEvent
ChargedEvent = (
    GaussianEvent
    | PoissonSampledGaussianEvent
    | PoissonSampledDiscreteGaussianEvent
    | LaplaceEvent
    | RandomizedResponseEvent
    | NonPrivateEvent
)
LeafEvent = ChargedEvent | NoOpEvent
Event = LeafEvent | SelfComposedEvent | ComposedEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One kind of leaf event and how often it occurs in all.

    Attributes:
        event: A leaf: never composed, never a no-op.
        count: How often; at least 1.
    """

    event: ChargedEvent
    count: int


def phases(event: Event) -> tuple[Phase, ...]:
    """Flatten an event tree into its distinct leaves and their total counts.

    Composition ignores order, so equal leaves are added up. No-ops vanish, and a
    Poisson-sampled Gaussian at rate 1 is the plain Gaussian. The result is sorted, so
    two trees that mean the same flatten to the same tuple.

    Example:
        >>> step = GaussianEvent(noise_multiplier=2.0)
        >>> phases(ComposedEvent(events=(step, NoOpEvent(), step)))
        (Phase(event=GaussianEvent(noise_multiplier=2.0), count=2),)
    """
    totals: dict[ChargedEvent, int] = {}
    _gather(event, 1, totals)
    found = [Phase(event=leaf, count=total) for leaf, total in totals.items()]
    return tuple(
        sorted(found, key=lambda phase: canonical.digest(to_json(phase.event)))
    )


def _gather(event: Event, times: int, totals: dict[ChargedEvent, int]) -> None:
    match event:
        case NoOpEvent():
            pass
        case SelfComposedEvent():
            _gather(event.event, times * event.count, totals)
        case ComposedEvent():
            for part in event.events:
                _gather(part, times, totals)
        case PoissonSampledGaussianEvent(sample_rate=1.0):
            plain = GaussianEvent(noise_multiplier=event.noise_multiplier)
            totals[plain] = totals.get(plain, 0) + times
        case _:
            totals[event] = totals.get(event, 0) + times


_LEAVES: dict[str, type[LeafEvent]] = {
    "gaussian": GaussianEvent,
    "poisson-sampled-gaussian": PoissonSampledGaussianEvent,
    "poisson-sampled-discrete-gaussian": PoissonSampledDiscreteGaussianEvent,
    "laplace": LaplaceEvent,
    "randomized-response": RandomizedResponseEvent,
    "no-op": NoOpEvent,
    "non-private": NonPrivateEvent,
}
_TAGS = {leaf: tag for tag, leaf in _LEAVES.items()}
_FIELDS: dict[str, frozenset[str]] = {
    **{tag: frozenset(f.name for f in fields(leaf)) for tag, leaf in _LEAVES.items()},
    "self-composed": frozenset({"event", "count"}),
    "composed": frozenset({"events"}),
}


def to_json(event: Event) -> dict[str, Any]:
    """Write an event as JSON; numbers that matter become decimal text.

    Example:
        >>> to_json(GaussianEvent(noise_multiplier=2.0))
        {'type': 'gaussian', 'noise_multiplier': '2.0'}
    """
    match event:
        case SelfComposedEvent():
            return {
                "type": "self-composed",
                "event": to_json(event.event),
                "count": event.count,
            }
        case ComposedEvent():
            return {
                "type": "composed",
                "events": [to_json(part) for part in event.events],
            }
        case _:
            numbers = {
                field.name: canonical.decimal_text(getattr(event, field.name))
                for field in fields(event)
            }
            return {"type": _TAGS[type(event)], **numbers}


def from_json(value: object) -> Event:
    """Read an event that `to_json` wrote.

    Raises:
        DocumentError: An unknown type, a missing, extra or malformed field.
        ParameterError: A number is outside its range.

    Example:
        >>> from_json({"type": "gaussian", "noise_multiplier": "2.0"})
        GaussianEvent(noise_multiplier=2.0)
    """
    return _read(value, 0)


def _read(value: object, depth: int) -> Event:
    found = _checked_fields(value, depth)
    match found.pop("type"):
        case "self-composed":
            inner = _read(found["event"], depth + 1)
            return SelfComposedEvent(event=inner, count=_whole(found, "count"))
        case "composed":
            parts = found["events"]
            if not isinstance(parts, list):
                raise _malformed("'events' is not a list")
            return ComposedEvent(events=tuple(_read(part, depth + 1) for part in parts))
        case tag:
            return _LEAVES[tag](**{name: _number(found, name) for name in found})


def _checked_fields(value: object, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        raise _malformed("an event is a JSON object, nested at most 16 deep")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise _malformed(f"{str(kind)[:40]!r} is not a type of event")
    wrong = set(value) ^ (_FIELDS[kind] | {"type"})
    if wrong:
        raise _malformed(f"'{kind}' has a missing or unknown field {min(wrong)[:40]!r}")
    return dict(value)


def _number(found: dict[str, Any], name: str) -> float:
    text = found[name]
    if not isinstance(text, str):
        raise _malformed(f"'{name}' must be decimal text, such as \"1.5\"")
    return canonical.read_decimal(text)


def _whole(found: dict[str, Any], name: str) -> int:
    value = found[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise _malformed(f"'{name}' must be a whole number")
    return value


def _malformed(problem: str) -> DocumentError:
    known = ", ".join(sorted(_FIELDS))
    return DocumentError(
        f"this is not a privacy event: {problem}", hint=f"known types are {known}"
    )
