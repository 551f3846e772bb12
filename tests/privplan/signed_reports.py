"""Signed reports for tests of pages, made of documents alone: nothing was trained."""

import json

from privplan import canonical, ledger, report, signing
from privplan.keys import Role, load_key, new_key
from privplan.ledger import Allowance, Ledger
from privplan.planner import PlanRequest, Wishes, make_plan
from privplan.report_schema import PREDICATE_TYPE, Surroundings, Utility

AROUND = Surroundings(
    source_digest="c" * 64,
    versions={"privplan": "0.1.0", "torch": "2.13.0+cpu"},
    platform="somewhere",
    utility=(Utility(name="accuracy", value=0.7312, data="public by declaration"),),
)


def plan_of(stages="best"):
    wishes = Wishes(steps=50, sample_rate=0.1, synthetic_steps=3)
    return make_plan(PlanRequest(target_epsilon=1.0, stages=stages, wishes=wishes))


def predicate_of(folder, plan, *, begun=None, unsafe=False):
    """The predicate of a run that began `begun` private steps, default all."""
    allowances = [
        Allowance(phase=p.name, event=p.event, steps=p.steps) for p in plan.phases
    ]
    path = folder / "ledger.sqlite"
    with Ledger.create(
        path,
        plan_digest=plan.digest,
        data_digest="d" * 64,
        code_digest="c" * 64,
        allowances=allowances,
    ) as book:
        if unsafe:
            book.record_unsafe("unsafe_seed")
        for phase in plan.phases:
            steps = phase.steps if phase.name != "private" or begun is None else begun
            book.reserve(phase.name, steps)
    return report.to_json(report.build(plan, ledger.read(path), AROUND))


def key_in(folder):
    path = folder / "own.key"
    if not path.exists():
        new_key(path, role=Role.TRAINER, passphrase=None)
    return load_key(path)


def signed(predicate, key, subjects=None):
    statement = signing.statement(
        subjects={"plan.json": "a" * 64} if subjects is None else subjects,
        predicate_type=PREDICATE_TYPE,
        predicate=predicate,
    )
    return signing.sign(statement, key)


def copied(predicate):
    return json.loads(canonical.canonical_bytes(predicate))
