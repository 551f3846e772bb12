"""What else could have been planned: the same run with one thing changed.

    half epsilon, twice epsilon     same steps, batches and draws; other noise
    half the steps                  same batches and draws; less noise
    a tenth of the parameters       same noise; F grows by sqrt(10)
    twice the compute               chosen anew

and a row over epsilon. Noise multipliers here are estimates, good to a thousandth in
most plans (`rough_noise`): whoever wants one of these makes it a plan, and the plan is
calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from privplan.candidates import Candidate, ChoiceRequest, candidate
from privplan.choice import Choice, search
from privplan.efficiency import mu_left
from privplan.errors import InfeasibleBudgetError

if TYPE_CHECKING:
    from collections.abc import Sequence

EPSILONS = (0.1, 0.3, 1.0, 3.0, 10.0)
TWICE_THE_COMPUTE = "twice the compute"
_FEWER_PARAMETERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The plan with one thing changed.

    Attributes:
        name: What was changed, in words.
        target_epsilon: Of the changed plan.
        trained_parameters: Of the changed plan.
        candidate: Its numbers; None where the fixed events alone exceed the budget.
    """

    name: str
    target_epsilon: float
    trained_parameters: int
    candidate: Candidate | None


def alternatives(choice: Choice) -> tuple[Alternative, ...]:
    """Return the plan with one thing changed at a time.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.candidates import ChoiceRequest, Compute
        >>> from privplan.choice import choose
        >>> made = choose(
        ...     ChoiceRequest(
        ...         budget=PrivacyBudget(target_epsilon=1.0, target_delta=3e-4),
        ...         records=1437, trained_parameters=93_961,
        ...         compute=Compute(draws=72_000), steps=100,
        ...     )
        ... )
        >>> for other in alternatives(made):
        ...     print(f"{other.name}: F = {other.candidate.feasibility:.2f}")
        half epsilon: F = 0.82
        twice epsilon: F = 2.08
        half the steps: F = 1.21
        a tenth of the parameters: F = 4.32
        twice the compute: F = 1.52
    """
    request, chosen = pinned(choice), choice.chosen
    half = replace(request, steps=max(chosen.steps // 2, 1))
    parameters = max(request.trained_parameters // _FEWER_PARAMETERS, 1)
    compute = choice.request.compute
    more = replace(choice.request, compute=replace(compute, draws=2 * compute.draws))
    epsilon = request.budget.target_epsilon
    return (
        _same("half epsilon", at_epsilon(request, 0.5 * epsilon), chosen),
        _same("twice epsilon", at_epsilon(request, 2.0 * epsilon), chosen),
        _same("half the steps", half, chosen),
        _same(
            "a tenth of the parameters",
            replace(request, trained_parameters=parameters),
            chosen,
        ),
        _named(TWICE_THE_COMPUTE, more, _with_more(more, chosen)),
    )


def _with_more(more: ChoiceRequest, chosen: Candidate) -> Candidate:
    """Return what more compute brings: larger batches, or a new search if better.

    A search that gave up signal for more draws would look like a loss.
    """
    mu, found, _ = search(more)
    same = candidate(
        more, mu, steps=chosen.steps, noise_multiplicity=chosen.noise_multiplicity
    )
    better = found.gain > same.gain and found.feasibility >= chosen.feasibility
    return found if better else same


def over_epsilon(
    choice: Choice, epsilons: Sequence[float] = EPSILONS
) -> tuple[Alternative, ...]:
    """Return the same steps, batches and draws at other epsilons.

    Args:
        choice: The plan.
        epsilons: Target epsilons; each above 0.

    Raises:
        ParameterError: An epsilon is not a positive finite number.
    """
    request = pinned(choice)
    return tuple(
        _named(f"epsilon {epsilon:g}", request, choice.chosen)
        if epsilon == request.budget.target_epsilon
        else _same(f"epsilon {epsilon:g}", at_epsilon(request, epsilon), choice.chosen)
        for epsilon in epsilons
    )


def pinned(choice: Choice) -> ChoiceRequest:
    """Return the request with what was chosen fixed."""
    chosen = choice.chosen
    return replace(
        choice.request,
        steps=chosen.steps,
        sample_rate=chosen.sample_rate,
        noise_multiplicity=chosen.noise_multiplicity,
    )


def at_epsilon(request: ChoiceRequest, epsilon: float) -> ChoiceRequest:
    """Return the request with another target epsilon and the same delta."""
    return replace(request, budget=replace(request.budget, target_epsilon=epsilon))


def _same(name: str, request: ChoiceRequest, chosen: Candidate) -> Alternative:
    try:
        mu = mu_left(request.budget, request.fixed)
    except InfeasibleBudgetError:
        return _named(name, request, None)
    found = candidate(
        request,
        mu,
        steps=request.steps or chosen.steps,
        noise_multiplicity=chosen.noise_multiplicity,
    )
    return _named(name, request, found)


def _named(name: str, request: ChoiceRequest, found: Candidate | None) -> Alternative:
    return Alternative(
        name=name,
        target_epsilon=request.budget.target_epsilon,
        trained_parameters=request.trained_parameters,
        candidate=found,
    )
