"""A plan as a person reads it: stages, phases, the total, who checked it.

Epsilon is rounded up and what remains is rounded down, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Console

from cli.columns import Column, print_fitted
from cli.durations import in_words
from cli.paper import console, table
from cli.plan_advice import outlook
from privplan import events, plan_size, plan_words, tuning
from privplan.budget_lines import ClippingQuantile
from privplan.canonical import text_down, text_up
from privplan.choice import Choice
from privplan.plan import Plan, PrivatePhase
from privplan.summary import PhaseCost, phase_costs, stage_costs

_BAR = 30


def plan(
    shown: Plan, choice: Choice | None, seconds: Mapping[str, float] | None = None
) -> None:
    """Print a plan.

    Args:
        shown: The plan.
        choice: What it chose, for alternatives and advice; None without private steps.
        seconds: What phases would take here, by name, where it was measured.
    """
    out = console()
    _head(out, shown)
    _stages(out, shown)
    costs = phase_costs(
        shown,
        trained_parameters=plan_size.trained_parameters(shown.data, shown.training),
    )
    _phases(out, costs, seconds or {})
    _total(out, shown, costs)
    _private_step(out, shown)
    if choice is not None:
        outlook(out, choice)
    _accountants(out, shown)


def _head(out: Console, shown: Plan) -> None:
    budget, data = shown.budget, shown.data
    out.print(
        f"Plan {shown.digest[:12]}  epsilon {budget.target_epsilon:g}, "
        f"delta {budget.target_delta:g}, {budget.adjacency.value}, unit {budget.unit}",
    )
    if budget.earlier_epsilon or budget.earlier_delta:
        out.print(
            f"Spent earlier: epsilon {budget.earlier_epsilon:g}, delta "
            f"{budget.earlier_delta:g}; with this plan the sum is the whole budget"
        )
    name = "" if data.embedded is None else f"{data.embedded}, "
    out.print(
        f"Data  {name}n = {data.records:,} (public by declaration), {data.channels} x "
        f"{data.height} x {data.width}, {_shown_with(shown)}",
    )


def _shown_with(shown: Plan) -> str:
    """Say what the network is told of a record beside the image."""
    text = shown.training.text
    if text is None:
        return f"{shown.data.classes} classes"
    return (
        f"captions from '{shown.data.caption_column}', {text.tokens} tokens read by "
        f"{text.name} ({text.encoder_digest[:12]})"
    )


def _stages(out: Console, shown: Plan) -> None:
    columns = [
        Column(title="stage"),
        Column(title="sigma", side="right"),
        Column(title="learns from"),
        Column(title="records"),
        Column(title="phase"),
    ]
    rows = [
        [
            cost.name.value,
            f"{cost.sigma_min:g} - {cost.sigma_max:g}",
            cost.source.value,
            "read" if cost.reads_private_records else "none",
            cost.phase,
        ]
        for cost in stage_costs(shown)
    ]
    print_fitted(out, columns, rows)


def _phases(
    out: Console, costs: tuple[PhaseCost, ...], seconds: Mapping[str, float]
) -> None:
    columns = [
        Column(title="phase"),
        Column(title="does", rank=4, folds=True),
        Column(title="rate", side="right", rank=2),
        Column(title="steps", side="right"),
        Column(title="noise", side="right"),
        Column(title="eps alone", side="right"),
        Column(title="so far", side="right", rank=1),
        Column(title="back*", side="right"),
        Column(title="noise/signal", side="right", rank=3),
    ]
    rows = [_phase_row(cost) for cost in costs]
    if seconds:
        columns.append(Column(title="time", side="right"))
        times = [seconds.get(cost.name) for cost in costs]
        rows = [
            [*row, "-" if took is None else in_words(took)]
            for row, took in zip(rows, times, strict=True)
        ]
    print_fitted(out, columns, rows)
    out.print("* epsilon given back if only this phase were dropped")


def _phase_row(cost: PhaseCost) -> list[str]:
    rate, noise = _mechanism(cost.event)
    ratio = cost.noise_to_signal
    reads = cost.reads_private_records
    return [
        cost.name,
        cost.what,
        rate,
        f"{cost.steps:,}",
        noise,
        text_up(cost.alone, 4) if reads else "0",
        text_up(cost.so_far, 4) if cost.so_far > 0 else "0",
        text_down(cost.given_back, 4) if reads else "0",
        "-" if ratio is None else f"{ratio:.3g}",
    ]


def _mechanism(event: events.Event) -> tuple[str, str]:
    match event:
        case (
            events.PoissonSampledGaussianEvent()
            | events.PoissonSampledDiscreteGaussianEvent()
        ):
            return f"{event.sample_rate:g}", f"{event.noise_multiplier:g}"
        case events.GaussianEvent():
            return "1", f"{event.noise_multiplier:g}"
        case _:
            return "-", "-"


def _total(out: Console, shown: Plan, costs: tuple[PhaseCost, ...]) -> None:
    upper, target = shown.accounting.epsilon_upper, shown.budget.target_epsilon
    full = min(math.ceil(_BAR * upper / target), _BAR)
    out.print(
        f"whole plan  epsilon {text_up(upper, 4)} of {target:g}  "
        f"{'█' * full}{'░' * (_BAR - full)}",
    )
    for sentence in (
        plan_words.why_not_add_up(shown, costs),
        plan_words.by_renyi(shown),
        plan_words.in_words(shown),
    ):
        if sentence is not None:
            out.print(sentence)


def _private_step(out: Console, shown: Plan) -> None:
    rows = []
    for phase in shown.private_phases:
        step = phase.mechanism
        rows = [
            ["noise multiplier", f"{step.noise_multiplier:g}"],
            ["sample rate", f"{step.sample_rate:g}"],
            ["private steps", f"{phase.steps:,}"],
            ["expected batch", f"{phase.expected_batch_size:,.1f}"],
            ["noise draws per record", str(phase.noise_multiplicity)],
            ["clipping norm", f"{phase.max_grad_norm:g}"],
            *_following(phase),
            *([["arithmetic", "whole numbers"]] if phase.in_whole_numbers else []),
        ]
    rows.append(["parameterisation", shown.training.parameterisation])
    rows.append(["sharing", shown.training.sharing.value])
    rows.append(["optimiser", shown.training.optimiser])
    rows += _tuned(shown)
    rows += _showing(shown)
    title = "private step" if shown.private_phases else "training"
    out.print(table([(title, "left"), ("", "right")], rows))


def _tuned(shown: Plan) -> list[list[str]]:
    """Say what private steps change, where it is not all."""
    data, training = shown.data, shown.training
    if training.tune == tuning.ALL:
        return []
    count = plan_size.trained_parameters(data, training)
    whole = plan_size.all_parameters(data, training)
    return [["tuned", training.tune], ["numbers tuned", f"{count:,} for {whole:,}"]]


def _showing(shown: Plan) -> list[list[str]]:
    """Say how records and sigmas are shown, where it is not plainly."""
    training, rows = shown.training, []
    if training.mixture is not None:
        shares = ", ".join(f"{share:g}" for share in training.mixture.shares)
        cuts = " and ".join(f"{cut:g}" for cut in training.mixture.cuts)
        rows.append([f"shares of sigma, cut at {cuts}", shares])
    if training.flip or training.shift:
        said = (["mirrored"] if training.flip else []) + (
            [f"moved by up to {training.shift}"] if training.shift else []
        )
        rows.append(["records also shown", ", ".join(said)])
    return rows


def _following(phase: PrivatePhase) -> list[list[str]]:
    """Say what it costs that C follows the gradients: more noise on them."""
    if phase.adaptive is None:
        return []
    votes = ClippingQuantile(votes_noise_std=phase.adaptive.count_noise)
    noise = votes.gradient_noise_multiplier(phase.mechanism.noise_multiplier)
    return [
        ["C follows the gradients, count noise", f"{phase.adaptive.count_noise:g}"],
        ["noise multiplier left for gradients", text_up(noise, 5)],
    ]


def _accountants(out: Console, shown: Plan) -> None:
    found = shown.accounting
    rows = [
        [
            f"privplan, {found.method}",
            text_down(found.epsilon_lower, 6),
            text_up(found.epsilon_upper, 6),
        ],
        *(
            [
                f"{other.name} {other.version}, {other.method}",
                text_down(other.lower, 6),
                text_up(other.upper, 6),
            ]
            for other in found.second_opinions
        ),
    ]
    columns = [("accountant", "left"), ("epsilon from", "right"), ("to", "right")]
    out.print(table(columns, rows))
    out.print("Exact for the plan as committed; later runs need budget of their own.")
    if not found.second_opinions and found.epsilon_upper > 0:
        out.print(
            "No second opinion yet: --verify asks now, train asks before it runs."
        )
