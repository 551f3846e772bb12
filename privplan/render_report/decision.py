"""The first page: everything an officer needs to say yes or no, and where to sign.

One sheet of A4. It holds what is claimed, in one sentence; the unit; the budget; what
is released; what is assumed; what is left out; and a box for the decision. Every value
is a field of the signed report, or recomputed from the plan inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import events, plan_words
from privplan.canonical import decimal_text, text_down, text_up
from privplan.render_report.parts import Badge, Cell, Tone
from privplan.render_report.source import Source
from privplan.report_schema import Exclusion, Predicate

_RELEASED = {
    "all-iterates": "Everything that leaves training: the weights of every step, the "
    "final weights, and whatever is computed from them without the records, such as "
    "images."
}
_NOTHING = (
    "Nothing is claimed about this run. What its plan would have claimed stands in the "
    "signed report, and must not be quoted."
)
_SETTLED = {
    "no": "Not covered by the claim",
    "by-construction": "Settled by how the trainer works",
    "charged": "Charged: paid for inside epsilon",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusions:
    """Exclusions that are accounted for in the same way."""

    title: str
    names: tuple[str, ...]
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The content of the first page.

    Attributes:
        claims: Whether a claim is made.
        verdict: The same in words.
        signers: Who signed, so the envelope says.
        written: When, so the report says.
        reasons: Why not, if none is made.
        unfinished: Said of a run that is not finished, else empty.
        statement: The sentence of the claim; that there is none, if there is none.
        in_words: What an attacker can do at most, in a sentence; empty if nothing was
            read, or nothing is claimed.
        figures: Large numbers: value, name, what it means.
        budget: Rows of the budget.
        released: What is released.
        covers: What the claim covers.
        files: Names of the files that are released and signed for.
        assumptions: What must hold.
        exclusions: What is left out, in groups.
        plan: Digest of the plan.
        digest: SHA-256 of the signed bytes.
        command: How to check the page.
    """

    claims: bool
    verdict: str
    signers: str
    written: str
    reasons: tuple[str, ...]
    unfinished: str
    statement: str
    in_words: str
    figures: tuple[tuple[str, str, str], ...]
    budget: tuple[tuple[str, Cell], ...]
    released: str
    covers: tuple[str, ...]
    files: tuple[str, ...]
    assumptions: tuple[tuple[str, str], ...]
    exclusions: tuple[Exclusions, ...]
    plan: str
    digest: str
    command: str = "privplan verify report.html"


def decision(source: Source) -> Decision:
    """Fill the first page.

    Args:
        source: The signed report.

    Raises:
        PrivplanError: The plan inside it cannot be accounted for.
    """
    said = source.predicate
    claims = said.verdict == "dp-claim"
    reads = claims and bool(events.phases(said.plan.event))
    return Decision(
        claims=claims,
        verdict="Privacy claim" if claims else "No privacy claim is made",
        signers=", ".join(f"{keyid[:16]}…" for keyid in source.keyids) or "nobody",
        written=_written(said.written),
        reasons=said.reasons,
        unfinished="" if said.realised.finished else _unfinished(said),
        statement=said.claim.statement if claims else _NOTHING,
        in_words=plan_words.in_words(said.plan) if reads else "",
        figures=_figures(said),
        budget=_budget(said),
        released=_RELEASED.get(said.claim.released, said.claim.released),
        covers=said.scope.covers,
        files=tuple(name for name, _ in source.subjects),
        assumptions=tuple(said.assumptions.items()),
        exclusions=_exclusions(said.scope.excludes),
        plan=said.plan.digest,
        digest=source.digest,
    )


def _unfinished(said: Predicate) -> str:
    begun = sum(part.counted for part in said.realised.phases)
    planned = sum(part.planned for part in said.realised.phases)
    return f"The run is not finished: {begun:,} of {planned:,} steps had begun."


def _written(said: str | None) -> str:
    if said is None:
        return "at an unknown time"
    return said.replace("T", " ").replace("+00:00", " UTC")


def _figures(said: Predicate) -> tuple[tuple[str, str, str], ...]:
    claim = said.claim
    most = claim.max_records_per_unit
    records = "1 record" if most == 1 else f"{most:,} records"
    claims = said.verdict == "dp-claim"
    epsilon = text_up(claim.epsilon.upper, 4) if claims else "none"
    delta = decimal_text(claim.delta) if claims else "none"
    return (
        (epsilon, "epsilon", "upper bound, rounded up"),
        (delta, "delta", "chance that epsilon does not hold"),
        (claim.unit, "unit of privacy", f"each with at most {records}"),
        (
            claim.adjacency.value.replace("-", " "),
            "neighbours",
            "which data sets are hard to tell apart",
        ),
    )


def _budget(said: Predicate) -> tuple[tuple[str, Cell], ...]:
    claim, budget, paid = said.claim, said.plan.budget, said.reservation
    rows: list[tuple[str, Cell]] = [
        (
            "allowed for this run",
            f"epsilon {claim.epsilon.target:g}, delta {decimal_text(claim.delta)}",
        ),
        (
            "claimed for the whole plan"
            if said.verdict == "dp-claim"
            else "planned, not claimed",
            f"epsilon {text_up(claim.epsilon.upper, 4)}",
        ),
        ("left of it", f"epsilon {text_down(_left(said), 4)}"),
        (
            "begun when this was written",
            f"epsilon {text_up(said.realised.spent_epsilon_upper, 4)}",
        ),
    ]
    if budget.earlier_epsilon or budget.earlier_delta:
        rows.append(
            (
                "spent on these data earlier",
                f"epsilon {text_up(budget.earlier_epsilon, 4)}, delta "
                f"{decimal_text(budget.earlier_delta)}",
            )
        )
    rows.append(
        (
            "paid by a register",
            Badge(tone=Tone.CARE, text="no register named")
            if paid is None
            else f"data set '{paid.data_set}', entry {paid.sequence:,}",
        )
    )
    return tuple(rows)


def _left(said: Predicate) -> float:
    return max(said.claim.epsilon.target - said.claim.epsilon.upper, 0.0)


def _exclusions(found: tuple[Exclusion, ...]) -> tuple[Exclusions, ...]:
    tones = {"no": Tone.BAD, "by-construction": Tone.GOOD, "charged": Tone.CHARGED}
    groups = []
    for accounted, title in _SETTLED.items():
        names = tuple(
            part.what.replace("-", " ") for part in found if part.accounted == accounted
        )
        if names:
            groups.append(Exclusions(title=title, names=names, tone=tones[accounted]))
    return tuple(groups)
