"""The commands that answer questions of accounting: `epsilon` and `calibrate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from cli import accounting_view
from cli.options import AsJson, Eps
from privplan import accounting, batches, checks, phase_text, questions, shares
from privplan.batches import Sampling
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import ParameterError
from privplan.events import Event

Phases = Annotated[
    list[str] | None,
    typer.Option(
        "--phase",
        help="Repeat it. sgd:RATE,NOISE,STEPS, gaussian:NOISE,COUNT, "
        "laplace:NOISE,COUNT, pure:EPSILON,COUNT, synthetic, or raw.",
    ),
]
OneRate = Annotated[
    float | None, typer.Option("--sample-rate", help="Of one sgd phase.")
]
OneSteps = Annotated[int | None, typer.Option("--steps", help="Of one sgd phase.")]
Neighbours = Annotated[Adjacency, typer.Option(help="Which data sets are neighbours.")]
Batches = Annotated[
    Sampling, typer.Option(help="How batches are chosen; only poisson is counted.")
]


def epsilon(
    *,
    phase: Phases = None,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="Of one sgd phase.")
    ] = None,
    sample_rate: OneRate = None,
    steps: OneSteps = None,
    delta: Annotated[float | None, typer.Option(help="Failure probability.")] = None,
    at_epsilon: Annotated[
        float | None, typer.Option(help="Ask for the delta at this epsilon instead.")
    ] = None,
    adjacency: Neighbours = Adjacency.ADD_OR_REMOVE_ONE,
    sampling: Batches = Sampling.POISSON,
    as_json: AsJson = False,
) -> None:
    """Compute the epsilon of one or several phases, jointly, as a bracket.

    Exit code: 0 computed, 2 a number is not allowed, 5 not Poisson, or no epsilon
    under this adjacency.
    """
    shorthand = {
        "--sample-rate": sample_rate,
        "--noise-multiplier": noise_multiplier,
        "--steps": steps,
    }
    texts = _phases(phase, shorthand, sampling)
    batches.require_adjacency(sampling, adjacency)
    parts = [questions.as_event(text) for text in texts]
    if (delta is None) == (at_epsilon is None):
        raise ParameterError(
            "one of --delta and --at-epsilon is needed, and one only",
            hint="give --delta to ask for epsilon, or --at-epsilon to ask for delta",
        )
    if delta is not None:
        checks.probability(delta=delta)
    if at_epsilon is not None:
        checks.non_negative(at_epsilon=at_epsilon)

    def cost(event: Event) -> accounting.Bracket:
        if delta is not None:
            return accounting.epsilon(event, delta=delta, adjacency=adjacency)
        return accounting.delta(event, epsilon=at_epsilon or 0.0, adjacency=adjacency)

    answer = accounting_view.Answer(
        bill=shares.bill(parts, cost),
        phases=texts,
        adjacency=adjacency,
        delta=delta,
        epsilon=at_epsilon,
    )
    accounting_view.answer(answer, as_json=as_json)


def calibrate(
    eps: Eps,
    *,
    delta: Annotated[float, typer.Option(help="Failure probability.")],
    phase: Phases = None,
    sample_rate: OneRate = None,
    steps: OneSteps = None,
    adjacency: Neighbours = Adjacency.ADD_OR_REMOVE_ONE,
    sampling: Batches = Sampling.POISSON,
    as_json: AsJson = False,
) -> None:
    """Find the one number marked ? that keeps all phases inside a budget.

    The least noise, the highest rate or the most steps: --phase 'sgd:0.05,?,500'.
    Quote it, or the shell may read the ? itself.

    Exit code: 0 found, 2 a number is not allowed, 3 no value is enough, 5 not
    Poisson, or no epsilon under this adjacency.
    """
    budget = PrivacyBudget(target_epsilon=eps, target_delta=delta, adjacency=adjacency)
    shorthand = {
        "--sample-rate": sample_rate,
        "--noise-multiplier": "?",
        "--steps": steps,
    }
    texts = _phases(phase, shorthand, sampling)
    batches.require_adjacency(sampling, adjacency)
    found = questions.calibrate(texts, budget=budget)
    solved = [phase_text.parse(text).filled(found.value).text for text in texts]

    def cost(event: Event) -> accounting.Bracket:
        return accounting.epsilon(event, delta=delta, adjacency=adjacency)

    answer = accounting_view.Answer(
        bill=shares.bill(found.parts, cost),
        phases=solved,
        adjacency=adjacency,
        delta=delta,
        epsilon=None,
    )
    accounting_view.calibrated(found, answer, as_json=as_json)


def _phases(
    given: list[str] | None,
    shorthand: Mapping[str, float | str | None],
    sampling: Sampling,
) -> list[str]:
    """Return the texts of all phases: as given, or one from the short options.

    Raises:
        ParameterError: Both were given, or neither in full.
        PolicyError: A DP-SGD phase whose batches are not Poisson.
    """
    short = [name for name, value in shorthand.items() if value not in {None, "?"}]
    if given and short:
        raise ParameterError(
            f"{short[0]} and --phase were both given",
            hint="write everything as --phase; the short options are one sgd phase",
        )
    texts = given or []
    if not texts:
        missing = [name for name, value in shorthand.items() if value is None]
        if missing:
            raise ParameterError(
                f"there is no --phase, and {missing[0]} is not given either",
                hint="add --phase sgd:RATE,NOISE,STEPS, or give it",
            )
        texts = ["sgd:" + ",".join(str(value) for value in shorthand.values())]
    if any(phase_text.parse(text).kind == "sgd" for text in texts):
        batches.require_poisson(sampling)
    return texts
