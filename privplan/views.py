"""What an officer's objects look like in a notebook: ledger, report, verdict, register.

Tables of public facts, as the commands print them. A view opens nothing that a document
keeps to itself: no key, no commitment, no envelope is shown. Every text is escaped.
"""

from __future__ import annotations

from dataclasses import replace

from privplan import events, svg
from privplan.canonical import short_down, short_up, text_down, text_up
from privplan.findings import Outcome, Verdict
from privplan.ledger_content import LedgerContent
from privplan.plan_plot import Figure
from privplan.register_data_sets import DataSet, Reservation
from privplan.register_file import RegisterContent
from privplan.report_schema import Predicate
from privplan.tables import Table

_SHOWN = 12  # digits of a digest that tell two apart on one screen


def ledger(content: LedgerContent) -> Table:
    """Return what a ledger counts, phase by phase."""
    rows = tuple(
        (
            allowance.phase,
            _event(allowance.event),
            f"{allowance.steps:,}",
            f"{content.begun[allowance.phase]:,}",
            f"{content.settled[allowance.phase]:,}",
        )
        for allowance in content.allowances
    )
    notes = [f"entry {content.head.sequence}: {content.head.hash}"]
    notes += [f"VOID: {what}" for what in content.unsafe]
    return Table(
        caption=f"Ledger {content.ledger_id[:_SHOWN]} of plan "
        f"{content.plan_digest[:_SHOWN]}: {len(content.entries):,} entries, chain "
        f"whole, sessions: {content.sessions}",
        titles=("phase", "one step", "allowed", "begun", "known to be done"),
        rows=rows,
        notes=tuple(notes),
        words=2,
    )


def predicate(said: Predicate) -> Table:
    """Return what a report claims; whoever shows it has not verified it by that."""
    claim, begun = said.claim, said.realised
    steps = "; ".join(f"{p.phase} {p.counted:,} of {p.planned:,}" for p in begun.phases)
    paid = said.reservation
    open_ = [part.what for part in said.scope.excludes if part.accounted == "no"]
    rows = (
        ("says", "a claim" if said.verdict == "dp-claim" else "NO CLAIM"),
        ("epsilon, at most", text_up(claim.epsilon.upper, 4)),
        ("of a target of", f"{claim.epsilon.target:g}"),
        ("delta", f"{claim.delta:g}"),
        ("neighbours", claim.adjacency.value),
        ("unit", claim.unit),
        ("records per unit, at most", f"{claim.max_records_per_unit}"),
        ("steps begun", steps),
        ("spent so far", text_up(begun.spent_epsilon_upper, 4)),
        ("finished", "yes" if begun.finished else "no"),
        ("paid by", "no register" if paid is None else f"data set '{paid.data_set}'"),
        ("not covered", ", ".join(open_) or "nothing"),
        ("plan", said.plan.digest[:_SHOWN]),
        ("ledger", f"entry {said.ledger.head_sequence} of {said.ledger.ledger_id}"),
    )
    return Table(
        caption=f"Report {said.report_id[:8]}, as its writer says it",
        titles=("what", "says"),
        rows=rows,
        notes=(claim.statement, *said.reasons),
        words=2,
    )


def verdict(found: Verdict) -> Table:
    """Return the findings of a verification, step by step."""
    return Table(
        caption=_in_words(found),
        titles=("step", "looks at", "outcome", "found"),
        rows=tuple(
            (one.number, one.name, _loud(one.outcome), one.text)
            for one in found.findings
        ),
        words=4,
    )


def failures(found: Verdict) -> Table:
    """Return the verdict in a line, and only the steps that failed."""
    whole = verdict(found)
    loud = _loud(Outcome.FAILED)
    return replace(whole, rows=tuple(row for row in whole.rows if loud in row))


def register(content: RegisterContent) -> Table:
    """Return what each data set of a register was granted, lost and has left."""
    head = content.tally.head
    return Table(
        caption=f"Register: {len(content.entries):,} entries, chain whole, costs "
        "computed again",
        titles=("data set", "", "granted", "taken", "left", "runs"),
        rows=tuple(
            row for known in content.tally.data_sets.values() for row in _totals(known)
        ),
        notes=(f"entry {head.sequence}: {head.hash}",),
        words=2,
    )


def data_set(known: DataSet) -> Table:
    """Return what the runs of a data set took, one by one."""
    epsilon, delta = known.left
    notes = [f"left: epsilon {text_down(epsilon, 4)}, delta {short_down(delta, 4)}"]
    if known.void is not None:
        notes.append(f"VOID: {known.void}")
    return Table(
        caption=f"Data set '{known.name}': granted epsilon {known.grant.epsilon:g}, "
        f"delta {known.grant.delta:g} over all runs, per {known.grant.unit}, "
        f"{known.grant.adjacency.value}; runs add up by {known.grant.composition}",
        titles=("entry", "plan", "state", "epsilon", "delta"),
        rows=tuple(_run(one) for one in known.reservations.values()),
        notes=tuple(notes),
        words=3,
    )


def spending(known: DataSet) -> Figure:
    """Draw what each run took of a data set, and what is left of its grant."""
    bars = [
        (f"entry {one.head.sequence}", float(one.cost[0]), _run(one)[3])
        for one in known.reservations.values()
    ]
    left = known.left[0]
    bars += [
        ("left", left, text_down(left, 4)),
        ("granted", known.grant.epsilon, f"{known.grant.epsilon:g}"),
    ]
    chart = svg.bar_chart(f"epsilon of data set '{known.name}'", rows=bars)
    alt = f"Of epsilon {known.grant.epsilon:g}, {text_down(left, 4)} is left"
    high = svg.bars_height(len(bars))
    return Figure(svg=svg.alone(chart, alt=alt, wide=svg.WIDTH, high=high))


def _totals(known: DataSet) -> tuple[tuple[str, ...], ...]:
    taken, left, grant = known.taken, known.left, known.grant
    return (
        (
            known.name,
            "epsilon",
            f"{grant.epsilon:g}",
            text_up(taken[0], 4),
            text_down(left[0], 4),
            f"{len(known.reservations):,}",
        ),
        (
            "",
            "delta",
            f"{grant.delta:g}",
            short_up(taken[1], 4),
            short_down(left[1], 4),
            "",
        ),
    )


def _run(one: Reservation) -> tuple[str, ...]:
    epsilon, delta = one.cost
    return (
        str(one.head.sequence),
        one.entry.plan_digest[:_SHOWN],
        one.state,
        text_up(float(epsilon), 4),
        short_up(float(delta), 4),
    )


def _in_words(found: Verdict) -> str:
    if found.passed:
        end = "" if found.finished else "; the run is not finished"
        lacking = (
            f"; not taken: {', '.join(found.not_taken)}" if found.not_taken else ""
        )
        return f"VERIFIED{lacking}{end}"
    failed = [f.number for f in found.findings if f.outcome is Outcome.FAILED]
    return f"NOT VERIFIED: {', '.join(failed) or 'a step was not taken'}"


def _loud(outcome: Outcome) -> str:
    return outcome.upper() if outcome is Outcome.FAILED else outcome.value


def _event(event: events.Event) -> str:
    match event:
        case events.PoissonSampledGaussianEvent():
            return (
                f"each record with probability {event.sample_rate:g}, noise "
                f"{event.noise_multiplier:g}"
            )
        case events.GaussianEvent():
            return f"all records once, noise {event.noise_multiplier:g}"
        case events.NoOpEvent():
            return "no record"
        case _:
            return type(event).__name__
