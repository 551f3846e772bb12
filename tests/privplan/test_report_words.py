"""What a report says of a plan is true of that plan, queries and mixtures included."""

import pytest

from privplan import ledger, report
from privplan.ledger import Allowance, Ledger
from privplan.plan_phases import query_phases
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.report_schema import Surroundings
from privplan.stages import Sharing

ALL_GAUSSIAN = "coarse=gaussian,context=gaussian,cleaning=gaussian"
ALL_DRAWN = "coarse=synthetic,context=synthetic,cleaning=synthetic"


def query(asks):
    return query_phases([f"{asks}:30"])[0]


@pytest.fixture
def said(tmp_path):
    """Builds the predicate of a plan's report, with nothing begun."""

    def build(stages, *, queries=(), **wanted):
        plan = make_plan(
            PlanRequest(
                target_epsilon=2.0,
                stages=stages,
                wishes=Wishes(steps=20, queries=queries),
                training=TrainingWishes(**wanted),
            )
        )
        with Ledger.create(
            tmp_path / "ledger.sqlite",
            plan_digest=plan.digest,
            data_digest="d" * 64,
            code_digest="c" * 64,
            allowances=[
                Allowance(phase=p.name, event=p.event, steps=p.steps)
                for p in plan.phases
            ],
        ):
            pass
        around = Surroundings(source_digest="c" * 64, versions={}, platform="x")
        return report.build(plan, ledger.read(tmp_path / "ledger.sqlite"), around)

    return build


def labels_of(predicate):
    (found,) = (
        part for part in predicate.scope.excludes if part.what == "label-distribution"
    )
    return found


def test_label_counts_that_were_asked_for_are_said_to_be_charged(said):
    """'Labels are drawn uniformly' would be untrue of such a run."""
    predicate = said("", queries=(query("labels"),))
    found = labels_of(predicate)
    assert (found.accounted, found.touches_private) == ("charged", "yes")
    assert "follow the noisy counts" in found.note
    assert any("how many records have each label" in c for c in predicate.scope.covers)
    assert predicate.mechanism.sampling == "poisson; every record once per query"
    assert predicate.verdict == "dp-claim"


def test_a_gaussian_query_holds_label_counts_and_says_so(said):
    predicate = said(ALL_GAUSSIAN)
    found = labels_of(predicate)
    assert found.accounted == "charged"
    assert "drawn uniformly" in found.note
    assert len(predicate.scope.covers) == 1
    assert "second moments" in predicate.scope.covers[0]
    assert predicate.mechanism.sampling == "every record once per query"
    assert "query's sum" in predicate.mechanism.noise
    assert "noise draws" not in predicate.mechanism.clipping


def test_dp_sgd_alone_asks_nothing_of_labels(said):
    predicate = said("", queries=(query("count"),))
    assert labels_of(predicate).accounted == "by-construction"
    assert any("how many records there are" in c for c in predicate.scope.covers)


def test_a_plan_that_reads_nothing_claims_no_mechanism(said):
    predicate = said(ALL_DRAWN)
    assert predicate.scope.covers == ("nothing private was read",)
    assert predicate.mechanism.sampling == "none"
    assert predicate.mechanism.noise == "none is needed"


def test_a_mixture_says_what_is_added_after_the_noise(said):
    predicate = said("", sharing=Sharing.MIXTURE)
    assert "synthetic gradient of length 1.0 * C" in predicate.mechanism.noise
    assert predicate.mechanism.sampling == "poisson"
