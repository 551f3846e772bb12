"""Below a plan: is it enough, what else could be, and what would help."""

from __future__ import annotations

from rich.console import Console

from cli.columns import Column, print_fitted
from cli.durations import in_words
from privplan.advice import advice
from privplan.alternatives import Alternative, alternatives, over_epsilon
from privplan.choice import Choice


def outlook(out: Console, choice: Choice) -> None:
    """Print efficiency and feasibility, alternatives, and advice.

    Args:
        out: Where.
        choice: What the plan chose.
    """
    chosen = choice.chosen
    took = "" if chosen.seconds is None else f", about {in_words(chosen.seconds)} here"
    trained = choice.request.trained_parameters
    out.print(
        f"privacy efficiency {_percent(chosen.efficiency)}   feasibility F = "
        f"{_three_digits(chosen.feasibility)}   {trained:,} trained "
        f"parameters   {chosen.draws:,.0f} draws{took}"
    )
    others = alternatives(choice)
    columns = [
        Column(title="what if"),
        Column(title="noise", side="right"),
        Column(title="F", side="right"),
        Column(title="efficiency", side="right"),
        Column(title="steps", side="right", rank=2),
        Column(title="batch", side="right", rank=1),
    ]
    rows = [_row(other) for other in (*others, *over_epsilon(choice))]
    print_fitted(out, columns, rows)
    for found in advice(choice, others):
        out.print(f"- {found.text}.")


def _row(other: Alternative) -> list[str]:
    found = other.candidate
    if found is None:
        return [f"{other.name}: queries alone cost more", "-", "-", "-", "-", "-"]
    return [
        other.name,
        _three_digits(found.noise_multiplier),
        _three_digits(found.feasibility),
        _percent(found.efficiency),
        f"{found.steps:,}",
        f"{found.expected_batch_size:,.0f}",
    ]


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.01 else f"{100 * part:.1g} %"
