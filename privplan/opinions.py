"""Second opinions: the same events, counted by other people's accountants.

A wrong epsilon is quiet. So a claim is recounted by two libraries that share neither
code nor method with ours, each with its own interval, and it stands only if all meet.

    dp-accounting     privacy loss distributions on a grid, rounded up and down
    prv-accountant    privacy random variables, long double, with its own error bounds
    rdp               Renyi divergences, by dp-accounting; an upper bound only

Discrete noise has no loss distribution in either, so there `rdp` recomputes the very
bound that is claimed, at whole orders, and must find the same number.

Where a library is known to be wrong or useless, its interval is widened to what still
holds, or it is not asked, and `left_out` says why; the tests pin those regimes. One
matters most: the n-th power of a spectrum in float64 has rounding noise of about
n 2^-53 in delta, and near it is wrong in either direction.

Source: Koskela et al. 2020, arXiv:1906.03049; Gopi et al. 2021, arXiv:2106.02848.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from privplan import checks, discrete_cost, events, foreign
from privplan.errors import CannotCertifyError
from privplan.events import Event, Phase
from privplan.silence import quiet

PLD = "PLD by dp-accounting"
SAME_BOUND = "RDP at whole orders, the same bound recomputed"
LARGEST_EPSILON = 300.0  # beyond it, a grid of losses does not fit in memory
_COARSE_GRID, _FINE_GRID = 1e-3, 1e-4
_FINE_STEPS = 20_000
_NOISE = 2.0**-53  # of delta, per step, in a float64 spectrum
_ALLOWANCE, _LEAST_DELTA = 10, 100  # as multiples of it
_LEAST_NOISE = 0.1
_PRV_ERROR = 0.01
_SAME = 1e-6  # how far the same bound, computed twice, may be apart by rounding
_PRV_MOST_STEPS = 20_000
_FAILURES = (OverflowError, ValueError, MemoryError, RuntimeError, TypeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What another accountant says: lower <= its epsilon <= upper.

    Attributes:
        name, version: Of the library, as installed.
        method: How it counts.
        lower: 0 where the library offers no lower end that holds.
        upper: Upper end; infinite where it offers none.
    """

    name: str
    version: str
    method: str
    lower: float
    upper: float


def second_opinions(event: Event, *, delta: float) -> tuple[Opinion, ...]:
    """Ask the other accountants about an event, under add-or-remove-one.

    A library that is known to be wrong in a regime is left out (`left_out` says why);
    nothing it prints or warns of escapes. If none is left, RDP answers: loose, valid.

    Raises:
        ParameterError: `delta` is not between 0 and 1.

    Example:
        >>> second_opinions(events.NoOpEvent(), delta=1e-5)[0].upper
        0.0
    """
    skipped = left_out(event, delta=delta)
    found = events.phases(event)
    asked = []
    for name, ask in (("dp-accounting", pld_bracket), ("prv-accountant", _prv)):
        if name in skipped:
            continue
        try:
            lower, upper = ask(found, delta) if found else (0.0, 0.0)
        except _FAILURES:
            continue
        if 0 <= lower <= upper < math.inf:
            method = "PLD" if ask is pld_bracket else "PRV"
            asked.append(_opinion(name, method, lower, upper))
    readable = not any(isinstance(p.event, events.NonPrivateEvent) for p in found)
    if not asked and readable:
        asked.append(rdp(event, delta=delta))
    return tuple(asked)


def left_out(event: Event, *, delta: float) -> dict[str, str]:
    """Say which libraries `second_opinions` does not ask about an event, and why.

    Raises:
        ParameterError: `delta` is not between 0 and 1.

    Example:
        >>> left_out(events.LaplaceEvent(noise_multiplier=3.0), delta=1e-5)
        {'prv-accountant': 'it is asked about Gaussian queries only'}
    """
    checks.probability(delta=delta)
    found = events.phases(event)
    if any(isinstance(phase.event, events.NonPrivateEvent) for phase in found):
        return dict.fromkeys(("dp-accounting", "prv-accountant"), "nothing to bound")
    if discrete_cost.occurs(found):
        loss = "it knows no losses of discrete noise"
        return dict.fromkeys(("dp-accounting", "prv-accountant"), loss)
    reasons = {}
    steps = sum(phase.count for phase in found)
    if not delta > _LEAST_DELTA * _NOISE * steps:
        reasons["dp-accounting"] = f"{delta:g} is near its rounding noise"
    elif not _least_noise(found) >= _LEAST_NOISE:
        reasons["dp-accounting"] = "losses as large as these outgrow its grid"
    gaussian = events.GaussianEvent | events.PoissonSampledGaussianEvent
    if not all(isinstance(phase.event, gaussian) for phase in found):
        reasons["prv-accountant"] = "it is asked about Gaussian queries only"
    elif steps > _PRV_MOST_STEPS or not _least_noise(found) >= _LEAST_NOISE:
        reasons["prv-accountant"] = f"{steps:,} such steps take it too long"
    return reasons


def _least_noise(found: Sequence[Phase]) -> float:
    plain = events.GaussianEvent | events.PoissonSampledGaussianEvent
    noises = [p.event.noise_multiplier for p in found if isinstance(p.event, plain)]
    return min(noises, default=math.inf)


def agree(
    bracket_lower: float, bracket_upper: float, opinions: Sequence[Opinion]
) -> bool:
    """Return whether our bracket and all opinions have a point in common.

    Example:
        >>> one = Opinion(name="x", version="1", method="y", lower=0.9, upper=1.1)
        >>> agree(1.0, 1.0, [one]), agree(1.2, 1.2, [one])
        (True, False)
    """
    whole = all(other.lower <= other.upper for other in opinions)  # NaN fails
    highest = max([bracket_lower, *(other.lower for other in opinions)])
    lowest = min([bracket_upper, *(other.upper for other in opinions)])
    return whole and bool(highest <= lowest * (1 + 1e-9))


def besides(method: str, found: Sequence[Opinion]) -> tuple[Opinion, ...]:
    """Leave out the library that gave the first answer: it would confirm itself.

    Args:
        method: Of the first answer, as `accounting.Bracket.method` says it.
        found: What `second_opinions` returned.
    """
    return tuple(o for o in found if not (method == PLD and o.method == "PLD"))


def rdp(event: Event, *, delta: float) -> Opinion:
    """Count by Renyi divergences: valid, and looser by some per cent.

    Raises:
        ParameterError: `delta` is not between 0 and 1.
    """
    checks.probability(delta=delta)
    found = events.phases(event)
    discrete = discrete_cost.occurs(found)
    method = SAME_BOUND if discrete else "RDP, for comparison"
    with quiet():
        import dp_accounting  # noqa: PLC0415 - slow import
        from dp_accounting.rdp import RdpAccountant  # noqa: PLC0415 - slow import

        orders = discrete_cost.WHOLE_ORDERS if discrete else None
        accountant = RdpAccountant(orders)
        try:
            for phase in found:
                accountant.compose(foreign.of(phase), phase.count)
            upper = float(accountant.get_epsilon(delta))
        except dp_accounting.UnsupportedEventError:
            upper, method = math.inf, "RDP cannot count this event"
    lower = max(upper - _SAME * (1 + upper), 0.0) if discrete else 0.0
    return _opinion("dp-accounting", method, lower if upper < math.inf else 0.0, upper)


def pld(found: Sequence[Phase], *, delta: float) -> Opinion:
    """Count by dp-accounting's loss distributions; infinite where they are no use."""
    try:
        lower, upper = pld_bracket(found, delta)
    except (CannotCertifyError, *_FAILURES):
        lower, upper = 0.0, math.inf
    return _opinion(PLD, "PLD", lower, upper)


def pld_delta(found: Sequence[Phase], *, epsilon: float) -> float | None:
    """Return an upper bound on delta by loss distributions; None if it is noise."""
    noise = _NOISE * sum(phase.count for phase in found)
    try:
        with quiet():
            total = _composed(found, _COARSE_GRID, pessimistic=True)
            answer = float(total.get_delta_for_epsilon(epsilon))
    except _FAILURES:
        return None
    return answer + _ALLOWANCE * noise if answer > _LEAST_DELTA * noise else None


def pld_bracket(found: Sequence[Phase], delta: float) -> tuple[float, float]:
    """Bound epsilon by dp-accounting's loss distributions; the last resort.

    The library's own bounds take no account of its rounding noise, so it is asked
    about a delta that is smaller, and for the lower end larger, by ten times that.

    Raises:
        CannotCertifyError: delta is near the rounding noise of the library's FFT.
    """
    steps = sum(phase.count for phase in found)
    if not delta > _LEAST_DELTA * _NOISE * steps:
        raise CannotCertifyError(
            f"delta = {delta:g} over {steps:,} steps is near the rounding noise of "
            "loss distributions in float64",
            hint="use a larger delta or fewer steps",
        )
    grid = _FINE_GRID if steps <= _FINE_STEPS else _COARSE_GRID
    if not _least_noise(found) >= _LEAST_NOISE:
        raise CannotCertifyError("losses fill the memory", hint="use more noise")
    allowance = _ALLOWANCE * _NOISE * steps
    with quiet():
        total = _composed(found, grid, pessimistic=True)
        upper = float(total.get_epsilon_for_delta(delta - allowance))
        total = _composed(found, grid, pessimistic=False)
        lower = float(total.get_epsilon_for_delta(delta + allowance))
    return min(max(lower, 0.0), upper), upper


def _opinion(name: str, method: str, lower: float, upper: float) -> Opinion:
    version = metadata.version("dp-accounting" if name == PLD else name)
    return Opinion(name=name, version=version, method=method, lower=lower, upper=upper)


def _composed(found: Sequence[Phase], grid: float, *, pessimistic: bool) -> Any:  # noqa: ANN401 - the library has no types
    from dp_accounting.pld import privacy_loss_distribution as loss  # noqa: PLC0415

    rounded = {
        "pessimistic_estimate": pessimistic,
        "value_discretization_interval": grid,
    }
    total: Any = None
    for phase in found:
        one: Any
        match phase.event:
            case events.GaussianEvent(noise_multiplier=noise):
                one = loss.from_gaussian_mechanism(noise, **rounded)
            case events.PoissonSampledGaussianEvent(
                sample_rate=rate, noise_multiplier=noise
            ):
                one = loss.from_gaussian_mechanism(noise, sampling_prob=rate, **rounded)
            case events.LaplaceEvent(noise_multiplier=noise):
                one = loss.from_laplace_mechanism(noise, **rounded)
            case events.RandomizedResponseEvent(epsilon=epsilon):
                flip = 2 / (1 + math.exp(epsilon))
                one = loss.from_randomized_response(flip, 2, **rounded)
            case events.NonPrivateEvent():
                raise ValueError("no loss distribution is that bad")
            case events.PoissonSampledDiscreteGaussianEvent():
                raise ValueError("it knows no losses of discrete noise")
        many = one.self_compose(phase.count)
        total = many if total is None else total.compose(many)
    return total


def _prv(found: Sequence[Phase], delta: float) -> tuple[float, float]:
    with quiet():
        import prv_accountant as prv  # noqa: PLC0415 - slow import

        variables: list[Any] = []
        for phase in found:
            match phase.event:
                case events.PoissonSampledGaussianEvent(
                    sample_rate=rate, noise_multiplier=noise
                ):
                    one = prv.PoissonSubsampledGaussianMechanism(rate, noise)
                case events.GaussianEvent(noise_multiplier=noise):
                    one = prv.GaussianMechanism(noise)
                case _:
                    raise TypeError("not asked about this event")
            variables.append(one)
        counts = [phase.count for phase in found]
        accountant = prv.PRVAccountant(
            prvs=variables,
            eps_error=_PRV_ERROR,
            delta_error=delta / 1000,
            max_self_compositions=counts,
        )
        low, _, high = accountant.compute_epsilon(delta, counts)
    return max(float(low), 0.0), float(high)
