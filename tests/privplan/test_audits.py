"""Audits as signed statements: what holds, what is refused, what cannot be said."""

import json

import pytest

from privplan import audits, one_run, signing, tradeoff
from privplan.audit_schema import AUDIT_TYPE, AuditPredicate, CanaryBound
from privplan.errors import DocumentError
from privplan.events import GaussianEvent
from privplan.findings import Outcome
from privplan.keys import Role, load_key, load_public, new_key
from privplan.measured import measure
from privplan.one_run import Guesses
from privplan.report_schema import Code

CODE = Code(source_digest="c" * 64, versions={"privplan": "0"}, platform="somewhere")
EVENT = GaussianEvent(noise_multiplier=4.0)


def bound(correct, /, **changed):
    found = Guesses(canaries=400, guesses=100, correct=correct)

    def plain(guesses):
        return one_run.epsilon_lower(guesses, delta=1e-5, significance=0.05)

    curve = tradeoff.curve(EVENT, one_run.asked_rates(found, 0.05), tolerance=1e-4)
    fields = {
        "space": "gradients",
        "event": EVENT,
        "claimed_epsilon": 0.92635,
        "delta": 1e-5,
        "significance": 0.05,
        "canaries": 400,
        "guesses": 100,
        "correct": correct,
        "epsilon_lower": plain(found),
        "ceiling": plain(found.perfect()),
        "curve_epsilon_lower": 0.0,
        "curve_ceiling": 9.0,
        "curve_refuted": one_run.refutes(found, curve, significance=0.05),
    }
    return CanaryBound(**fields | changed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("keys")
    for name in ("one", "other"):
        new_key(place / f"{name}.key", role=Role.TRAINER, passphrase=None)
    return place


@pytest.fixture
def signed(folder, staged_plan):
    def make(*, measured=(), bounds=(), change=None):
        said = audits.build(
            "one-run" if bounds else "replay",
            staged_plan,
            code=CODE,
            settings={"engine": "auto"},
            measured=measured,
            bounds=bounds,
            seconds=1.0,
        )
        if change:
            said = said.model_copy(update=change)
        return audits.sign(said, load_key(folder / "one.key"))

    return make


@pytest.fixture
def check(folder, staged_plan):
    def run(text, **named):
        trusted = [load_public(folder / "one.pub")]
        given = {"plan": staged_plan, "source_digest": "c" * 64} | named
        return audits.verify(text, trusted=trusted, **given)

    return run


def failed(verdict):
    return {f.number for f in verdict.findings if f.outcome is Outcome.FAILED}


GOOD = measure("private: huge", 1.0, (0.0, 1.01), "share")
BAD = measure("private: huge", 3.0, (0.0, 1.01), "share")


def test_an_honest_audit_verifies_in_six_steps(signed, check):
    verdict = check(signed(measured=[GOOD], bounds=[bound(55)]))
    assert verdict.passed, verdict.findings
    assert [f.number for f in verdict.findings] == [f"A{i}" for i in range(1, 7)]


def test_a_violation_is_signed_and_does_not_verify(signed, check):
    """An audit that found something must not read as a clean bill."""
    for text in (signed(measured=[BAD]), signed(bounds=[bound(95)])):
        verdict = check(text)
        assert failed(verdict) == {"A6"}
        assert verdict.exit_code == 4


def test_an_audit_that_measured_nothing_is_no_clean_bill(signed, check):
    assert failed(check(signed())) == {"A6"}


@pytest.mark.parametrize(
    "lie",
    [
        {"claimed_epsilon": 3.0},
        {"epsilon_lower": 0.0},
        {"ceiling": 1.0},
        {"correct": 60},
        {"curve_refuted": False},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_numbers_that_do_not_follow_from_the_counts_are_found(signed, check, lie):
    verdict = check(signed(bounds=[bound(95, **lie)]))
    assert "A5" in failed(verdict)


def test_a_verdict_that_does_not_follow_from_the_numbers_is_found(signed, check):
    lie = {"verdict": "no-violation", "reasons": ()}
    assert failed(check(signed(measured=[BAD], change=lie))) == {"A6"}


def test_another_key_plan_or_code_is_told(signed, check, folder, small_other_plan):
    text = signed(measured=[GOOD])
    other = [load_public(folder / "other.pub")]
    assert failed(audits.verify(text, trusted=other)) == {"A1"}
    assert failed(check(text, plan=small_other_plan)) == {"A3"}
    elsewhere = check(text, source_digest="e" * 64)
    assert elsewhere.passed
    assert elsewhere.findings[3].outcome is Outcome.NOT_TAKEN


@pytest.fixture(scope="module")
def small_other_plan():
    from privplan.planner import PlanRequest, Wishes, make_plan

    return make_plan(PlanRequest(target_epsilon=2.0, wishes=Wishes(steps=2)))


def test_a_training_report_is_no_audit_and_noise_is_neither(signed, folder):
    assert audits.is_audit(signed(measured=[GOOD]))
    other = signing.statement(
        subjects={}, predicate_type="https://example.org/x", predicate={"a": 1}
    )
    assert not audits.is_audit(signing.sign(other, load_key(folder / "one.key")))
    assert not audits.is_audit(b"{}")


def test_an_unknown_field_is_refused(signed, folder, check):
    opened = json.loads(json.dumps(audits._peek(signed(measured=[GOOD]))))
    opened["predicate"]["extra"] = 1
    text = signing.sign(opened, load_key(folder / "one.key"))
    assert failed(check(text)) == {"A2"}
    assert opened["predicateType"] == AUDIT_TYPE


def test_a_report_names_the_audits_of_its_own_plan(
    signed, tmp_path, staged_plan, small_other_plan
):
    (tmp_path / "audit-replay.json").write_bytes(signed(measured=[GOOD]))
    (tmp_path / "audit-x.json").write_bytes(signed(measured=[BAD]))
    found = audits.beside(tmp_path, staged_plan)
    assert [part.verdict for part in found] == ["no-violation", "violation"]
    assert audits.beside(tmp_path, small_other_plan) == ()
    (tmp_path / "audit-y.json").write_text("{}")
    with pytest.raises(DocumentError):
        audits.beside(tmp_path, staged_plan)


def test_every_kind_says_what_it_cannot_show():
    kinds = AuditPredicate.model_fields["kind"].annotation.__args__
    assert set(audits.LIMITS) == set(kinds)
    assert any("absence of evidence" in line for line in audits.LIMITS["one-run"])
