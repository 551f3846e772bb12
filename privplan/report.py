"""The report: a claim, what it rests on, and everything needed to check it.

    in-toto statement
      subject     the files it speaks of, each with its SHA-256
      predicate   claim, scope, plan, accounting, realised, ledger, limitations

The whole plan is inside, so a stranger can recompute epsilon from the report alone.
The claim is the cost of the *reserved* steps; what was spent so far stands beside it,
and of a run that is not finished the claim itself says so.
If a hard rule fails the report is still written, and says `no-claim` and why.

This room is pure: it turns a plan and a ledger that were read elsewhere into a
document. Signing is `signing.sign`, checking is `verify`.

Source: the predicate follows in-toto Attestation v1; the items are those that NIST
SP 800-226 and Ponomareva et al. 2023 (arXiv:2303.00654, section 5.3) ask for.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from privplan import accounting, moments, opinions
from privplan import report_words as words
from privplan.ledger import LedgerContent, data_commitment
from privplan.plan import Plan, PlanOpinion
from privplan.register_run import reservation_of
from privplan.reliance import relied_on, trains
from privplan.report_mechanism import (
    arithmetic,
    charged_labels,
    clipping,
    covered,
    in_whole_numbers,
    noise,
    sampling,
)
from privplan.report_schema import (
    Claim,
    Code,
    DataPart,
    Epsilon,
    Exclusion,
    LedgerPart,
    Mechanism,
    PhaseCount,
    Predicate,
    Realised,
    Scope,
    Surroundings,
)
from privplan.run_rules import rules_of


def build(plan: Plan, ledger: LedgerContent, around: Surroundings) -> Predicate:
    """Build the predicate of a run's report.

    Args:
        plan: The plan the ledger belongs to.
        ledger: The run's ledger, read and verified.
        around: Versions, platform and public results.

    Returns:
        The predicate; its verdict is `no-claim` if a hard rule fails.
    """
    budget = plan.budget.as_budget()
    bracket = accounting.epsilon(
        plan.event, delta=budget.target_delta, adjacency=budget.adjacency
    )
    own = _own_opinion(plan, bracket)
    others = opinions.besides(
        bracket.method, opinions.second_opinions(plan.event, delta=budget.target_delta)
    )
    reasons = _reasons(plan, ledger, bracket, others) + _measured(plan, around)
    begun = realised(plan, ledger)
    return Predicate(
        schema_version="1",
        report_id=str(uuid.uuid4()),
        verdict="no-claim" if reasons else "dp-claim",
        reasons=reasons,
        claim=_claim(plan, bracket, begun),
        scope=_scope(plan),
        plan=plan,
        mechanism=_mechanism(plan, ledger),
        accounting=(own, *(opinion_part(opinion) for opinion in others)),
        assumptions=relied_on(plan),
        realised=begun,
        ledger=_ledger(ledger),
        data=_commitment(ledger),
        code=_code(around),
        utility=around.utility,
        limitations=words.limitations(in_whole_numbers=in_whole_numbers(plan)),
        reservation=reservation_of(ledger),
        written=moments.text(moments.now()),
        rules=rules_of(ledger),
        preflight=around.preflight,
        audits=around.audits,
    )


def _own_opinion(plan: Plan, bracket: accounting.Bracket) -> PlanOpinion:
    return PlanOpinion(
        name="privplan",
        version=plan.privplan_version,
        method=bracket.method,
        lower=bracket.lower,
        upper=bracket.upper,
    )


def opinion_part(opinion: opinions.Opinion) -> PlanOpinion:
    """Write another accountant's opinion as a document."""
    return PlanOpinion(
        name=opinion.name,
        version=opinion.version,
        method=opinion.method,
        lower=opinion.lower,
        upper=opinion.upper,
    )


def realised(plan: Plan, ledger: LedgerContent) -> Realised:
    """Sum up what a ledger says was begun, beside what was planned."""
    budget = plan.budget.as_budget()
    spent = accounting.epsilon(
        ledger.spent_event(), delta=budget.target_delta, adjacency=budget.adjacency
    )
    counts = tuple(
        PhaseCount(
            phase=phase.name, planned=phase.steps, counted=ledger.counted(phase.name)
        )
        for phase in plan.phases
    )
    return Realised(
        phases=counts,
        spent_epsilon_upper=spent.upper,
        sessions=ledger.sessions,
        processes=ledger.processes,
        finished=all(part.counted == part.planned for part in counts),
    )


def to_json(predicate: Predicate) -> dict[str, Any]:
    """Write a predicate as JSON values."""
    return predicate.model_dump(mode="json")


def _reasons(
    plan: Plan,
    ledger: LedgerContent,
    bracket: accounting.Bracket,
    others: Sequence[opinions.Opinion],
) -> tuple[str, ...]:
    reasons = []
    if not bracket.upper <= plan.budget.target_epsilon:
        reasons.append("the events of the plan cost more than its budget")
    if not opinions.agree(bracket.lower, bracket.upper, others):
        reasons.append("the accountants disagree")
    if ledger.plan_digest != plan.digest:
        reasons.append("the ledger belongs to another plan")
    if any(ledger.counted(phase.name) > phase.steps for phase in plan.phases):
        reasons.append("more steps were begun than planned")
    if ledger.unsafe:
        reasons.append("the noise was drawn from a seed, so it can be predicted")
    return tuple(reasons)


def _code(around: Surroundings) -> Code:
    return Code(
        source_digest=around.source_digest,
        versions=around.versions,
        platform=around.platform,
    )


def _measured(plan: Plan, around: Surroundings) -> tuple[str, ...]:
    """Say which checks on made-up pictures speak against a claim."""
    reasons = []
    flown = around.preflight
    if flown is not None and not (flown.passed and flown.plan_digest == plan.digest):
        reasons.append("the preflight failed, or is of another plan")
    if any(audit.verdict == "violation" for audit in around.audits):
        reasons.append("an audit found a violation")
    return tuple(reasons)


def _claim(plan: Plan, bracket: accounting.Bracket, begun: Realised) -> Claim:
    budget = plan.budget
    return Claim(
        statement=words.statement(
            epsilon=bracket.upper,
            delta=budget.target_delta,
            adjacency=budget.adjacency.value,
            unit=budget.unit,
            max_records=budget.max_records_per_unit,
            phases=[(p.phase, p.counted, p.planned) for p in begun.phases],
        ),
        definition="approximate-dp",
        epsilon=Epsilon(
            target=budget.target_epsilon, upper=bracket.upper, lower=bracket.lower
        ),
        delta=budget.target_delta,
        adjacency=budget.adjacency,
        unit=budget.unit,
        max_records_per_unit=budget.max_records_per_unit,
        n_status=plan.data.records_status,
        released="all-iterates",
    )


def _scope(plan: Plan) -> Scope:
    covers = tuple(text for p in plan.phases if (text := covered(p)) is not None)
    charged = {"label-distribution": note} if (note := charged_labels(plan)) else {}
    excludes = tuple(
        _exclusion(what, meaning, charged.get(what))
        for what, meaning in words.EXCLUSIONS.items()
    )
    return Scope(covers=covers or ("nothing private was read",), excludes=excludes)


def _exclusion(what: str, meaning: str, charged: str | None) -> Exclusion:
    if charged is not None:
        return Exclusion(
            what=what,
            meaning=meaning,
            touches_private="yes",
            accounted="charged",
            note=charged,
        )
    settled = what in words.BY_CONSTRUCTION
    return Exclusion(
        what=what,
        meaning=meaning,
        touches_private="no" if settled else "unknown",
        accounted="by-construction" if settled else "no",
        note=words.BY_CONSTRUCTION.get(what, "Not covered by this claim."),
    )


def _mechanism(plan: Plan, ledger: LedgerContent) -> Mechanism:
    return Mechanism(
        event=plan.event,
        trains=trains(plan),
        sampling=sampling(plan),
        clipping=clipping(plan),
        noise=noise(plan),
        denominator=words.DENOMINATOR,
        non_finite_gradients="count as zero",
        empty_batch="a step of noise only",
        randomness=words.SEEDED if ledger.unsafe else words.RANDOMNESS,
        arithmetic=arithmetic(plan),
    )


def _ledger(ledger: LedgerContent) -> LedgerPart:
    return LedgerPart(
        ledger_id=ledger.ledger_id,
        head_sequence=ledger.head.sequence,
        head_hash=ledger.head.hash,
        assurance="A0 the one who trains holds ledger and key",
    )


def _commitment(ledger: LedgerContent) -> DataPart:
    nonce = secrets.token_bytes(32)
    return DataPart(
        algorithm="HMAC-SHA256",
        nonce=nonce.hex(),
        value=data_commitment(ledger, nonce),
    )
