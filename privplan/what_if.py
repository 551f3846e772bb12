"""The same request with something changed, as people type it: `steps=50,eps=2`.

A what-if is planned like any other plan, to the last digit, and is not written down.

    eps, delta                   the promise
    n                            how many records are declared
    steps, sample-rate,          pinned, as by the options of the same names
    noise-multiplicity,
    synthetic-steps, prior-noise
    draws                        what may be computed; steps and rate are then chosen
    stages                       a preset: dpdm, best, syngen-coarse, ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from privplan.candidates import Compute
from privplan.errors import ParameterError
from privplan.planner import PlanRequest

Change = Callable[[PlanRequest, str], PlanRequest]


def changed(request: PlanRequest, text: str) -> PlanRequest:
    """Return a request with the named things changed.

    Args:
        request: What was asked.
        text: NAME=VALUE, joined by commas.

    Raises:
        ParameterError: A name is unknown or named twice, or a value is not one.

    Example:
        >>> found = changed(PlanRequest(target_epsilon=1.0), "steps=50,eps=2")
        >>> found.target_epsilon, found.wishes.steps
        (2.0, 50)
    """
    named: set[str] = set()
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in _CHANGES or not equals:
            raise ParameterError(
                f"'{part.strip()[:40]}' names nothing that a what-if can change",
                hint=f"write NAME=VALUE with a name of {', '.join(_CHANGES)}",
            )
        if name in named:
            raise ParameterError(
                f"a what-if names {name} twice", hint="name each thing once"
            )
        named.add(name)
        try:
            request = _CHANGES[name](request, value)
        except ValueError as error:
            raise ParameterError(
                f"'{value[:40]}' is no value for {name} in a what-if",
                hint="write a number, as in --what-if steps=50,eps=2",
            ) from error
    return request


def _eps(request: PlanRequest, value: str) -> PlanRequest:
    return replace(request, target_epsilon=float(value))


def _delta(request: PlanRequest, value: str) -> PlanRequest:
    return replace(request, target_delta=float(value))


def _records(request: PlanRequest, value: str) -> PlanRequest:
    data = replace(request.data, records=_whole(value), embedded=None)
    return replace(request, data=data)


def _draws(request: PlanRequest, value: str) -> PlanRequest:
    return replace(request, compute=Compute(draws=float(value)))


def _stages(request: PlanRequest, value: str) -> PlanRequest:
    return replace(request, stages=value)


def _wish(field: str, read: Callable[[str], float]) -> Change:
    def change(request: PlanRequest, value: str) -> PlanRequest:
        wishes = replace(request.wishes, **{field: read(value)})  # type: ignore[arg-type]
        return replace(request, wishes=wishes)

    return change


def _whole(text: str) -> int:
    return int(text.replace("_", ""))


_CHANGES: dict[str, Change] = {
    "eps": _eps,
    "delta": _delta,
    "n": _records,
    "steps": _wish("steps", _whole),
    "sample-rate": _wish("sample_rate", float),
    "noise-multiplicity": _wish("noise_multiplicity", _whole),
    "synthetic-steps": _wish("synthetic_steps", _whole),
    "prior-noise": _wish("prior_noise", float),
    "draws": _draws,
    "stages": _stages,
}
