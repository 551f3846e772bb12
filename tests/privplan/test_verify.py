"""A run made of its documents alone: plan, ledger, two files, a signed report."""

import base64
import json
import shutil
import sqlite3

import pytest

from privplan import canonical, ledger, report, signing, verify
from privplan import plan as plans
from privplan import report_words as words
from privplan.errors import ExitCode
from privplan.findings import Finding, Outcome, Verdict
from privplan.keys import Role, load_key, load_public, new_key
from privplan.ledger import Allowance, Ledger
from privplan.measured import measure
from privplan.planner import PlanRequest, Wishes, make_plan
from privplan.preflight import PreflightPart
from privplan.report_schema import PREDICATE_TYPE, Surroundings

AROUND = Surroundings(
    source_digest="c" * 64, versions={"privplan": "0"}, platform="somewhere"
)


def flown(plan, *, value=0.5):
    return PreflightPart(
        format="privplan-preflight/1",
        plan_digest=plan.digest,
        source_digest="c" * 64,
        engine="auto",
        device="cpu",
        false_alarm=1e-9,
        checks=(measure("noise", value, (0.0, 1.0), "std"),),
        seconds=0.5,
    )


FILES = ("plan.json", "model.bin")


def open_ledger(folder, plan):
    return Ledger.create(
        folder / "ledger.sqlite",
        plan_digest=plan.digest,
        data_digest="d" * 64,
        code_digest="c" * 64,
        allowances=[
            Allowance(phase=p.name, event=p.event, steps=p.steps) for p in plan.phases
        ],
    )


def signed(folder, predicate, key):
    subjects = {name: canonical.file_digest(folder / name) for name in FILES}
    statement = signing.statement(
        subjects=subjects, predicate_type=PREDICATE_TYPE, predicate=predicate
    )
    return signing.sign(statement, key)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report; copied for each test that changes something."""
    folder = tmp_path_factory.mktemp("run")
    plan = make_plan(
        PlanRequest(target_epsilon=1.0, stages="", wishes=Wishes(steps=50))
    )
    plans.write(plan, folder / "plan.json")
    (folder / "model.bin").write_bytes(b"weights")
    with open_ledger(folder, plan) as book:
        for phase in plan.phases:
            book.reserve(phase.name, phase.steps)
    new_key(folder / "trainer.key", role=Role.TRAINER, passphrase=None)
    content = ledger.read(folder / "ledger.sqlite")
    around = AROUND.model_copy(update={"preflight": flown(plan)})
    predicate = report.to_json(report.build(plan, content, around))
    text = signed(folder, predicate, load_key(folder / "trainer.key"))
    (folder / "report.json").write_bytes(text)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    return folder


def check(folder, **named):
    trusted = named.pop("trusted", None)
    if trusted is None:
        trusted = [load_public(folder / "trainer.pub")]
    text = (folder / "report.json").read_bytes()
    return verify.verify(text, folder=folder, trusted=trusted, **named)


def failed(verdict):
    return {f.number for f in verdict.findings if f.outcome is Outcome.FAILED}


def resign(folder, change):
    """Change the predicate as a liar with the right key would, and sign it again."""
    opened = signing.open_envelope(
        (folder / "report.json").read_bytes(),
        trusted=[load_public(folder / "trainer.pub")],
    )
    predicate = opened.statement["predicate"]
    change(predicate)
    text = signed(folder, predicate, load_key(folder / "trainer.key"))
    (folder / "report.json").write_bytes(text)


def test_an_honest_report_verifies_in_eleven_steps(run):
    verdict = check(run)
    assert verdict.passed
    assert verdict.exit_code == ExitCode.OK
    assert [f.number for f in verdict.findings] == [
        *(f"V{i}" for i in range(1, 11)),
        "V15",
    ]
    assert all(f.outcome is Outcome.PASSED for f in verdict.findings)


def test_a_report_written_before_there_were_preflights_still_verifies(run):
    """Its readers are told what is missing, and the claim stands."""

    def as_it_was(predicate):
        del predicate["preflight"]
        del predicate["audits"]

    resign(run, as_it_was)
    verdict = check(run)
    assert verdict.passed
    assert verdict.not_taken == ("V15",)


def no_number(predicate):
    predicate["preflight"]["checks"][0]["value"] = None


def out_of_range(predicate):
    predicate["preflight"]["checks"][0]["value"] = "1.5"


def nothing_checked(predicate):
    predicate["preflight"]["checks"] = []


def other_plan(predicate):
    predicate["preflight"]["plan_digest"] = "e" * 64


def violated(predicate):
    predicate["audits"] = [
        {"name": "audit-replay.json", "kind": "replay", "digest": "e" * 64,
         "verdict": "violation"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lie", [no_number, out_of_range, nothing_checked, other_plan, violated]
)
def test_a_claim_over_a_failed_preflight_or_audit_is_refused(run, lie):
    resign(run, lie)
    verdict = check(run)
    assert failed(verdict) == {"V15"}
    assert verdict.exit_code == ExitCode.VERIFICATION


def test_a_report_says_itself_that_its_preflight_failed(finished):
    plan = plans.read(finished / "plan.json")
    around = AROUND.model_copy(update={"preflight": flown(plan, value=2.0)})
    content = ledger.read(finished / "ledger.sqlite")
    said = report.build(plan, content, around)
    assert said.verdict == "no-claim"
    assert "preflight" in said.reasons[0]


def test_an_empty_verdict_does_not_pass():
    assert not Verdict(findings=(), predicate=None, keyids=()).passed
    only = Finding(number="V1", name="x", outcome=Outcome.PASSED, text="x")
    assert not Verdict(findings=(only,), predicate=None, keyids=()).passed


def test_a_stranger_with_the_report_and_the_key_alone_is_told_what_was_not_taken(
    run, tmp_path
):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "report.json", alone)
    verdict = check(alone, trusted=[load_public(run / "trainer.pub")])
    missing = {f.number for f in verdict.findings if f.outcome is Outcome.NOT_TAKEN}
    assert verdict.passed
    assert missing == {"V4", "V5", "V6"}


def test_every_changed_byte_of_the_report_is_noticed_or_changes_nothing(run):
    """Bytes that carry no meaning, such as spaces, may change; a claim may not."""
    path = run / "report.json"
    text = path.read_bytes()
    trusted = [load_public(run / "trainer.pub")]
    honest = signing.open_envelope(text, trusted=trusted).payload
    for place in range(0, len(text), max(len(text) // 400, 1)):
        changed = bytearray(text)
        changed[place] ^= 1
        verdict = verify.verify(bytes(changed), folder=run, trusted=trusted)
        if verdict.passed:
            opened = signing.open_envelope(bytes(changed), trusted=trusted)
            assert opened.payload == honest
        else:
            assert failed(verdict) == {"V1"}
            assert verdict.exit_code == ExitCode.VERIFICATION


@pytest.mark.parametrize(
    ("name", "step", "says"),
    [("plan.json", "V3", "plan"), ("model.bin", "V4", "model.bin")],
)
def test_one_changed_byte_of_a_file_is_named(run, name, step, says):
    content = bytearray((run / name).read_bytes())
    place = content.rindex(b"0") if name == "plan.json" else 3
    content[place] ^= 1
    (run / name).write_bytes(content)
    verdict = check(run)
    assert step in failed(verdict)
    assert verdict.exit_code == ExitCode.VERIFICATION
    assert any(says in f.text for f in verdict.findings if f.number == step)


def test_a_changed_row_of_the_ledger_is_named(run):
    with sqlite3.connect(run / "ledger.sqlite") as raw:
        names = [
            row[0]
            for row in raw.execute(
                "SELECT name FROM sqlite_master WHERE type='trigger'"
            )
        ]
        kept = raw.execute("SELECT sql FROM sqlite_master WHERE type='trigger'")
        sources = [row[0] for row in kept]
        for name in names:
            raw.execute(f"DROP TRIGGER {name}")
        table = raw.execute(
            "SELECT name FROM sqlite_master WHERE type='table' AND sql LIKE '%body%'"
        ).fetchone()[0]
        raw.execute(
            f"UPDATE {table} SET body = replace(body, 'private', 'privatf') "  # noqa: S608
            "WHERE body LIKE '%intent%' AND body LIKE '%private%'"
        )
        for source in sources:
            raw.execute(source)
    raw.close()
    verdict = check(run)
    assert failed(verdict) == {"V5"}
    assert any("entry" in f.text for f in verdict.findings if f.number == "V5")


def test_the_ledger_of_another_run_is_noticed(run, tmp_path):
    plan = plans.read(run / "plan.json")
    other = tmp_path / "other"
    other.mkdir()
    with open_ledger(other, plan) as book:
        for phase in plan.phases:
            book.reserve(phase.name, phase.steps)
    verdict = check(run, ledger_path=other / "ledger.sqlite")
    assert failed(verdict) == {"V5"}


def test_a_signature_by_another_key_counts_for_nothing(run, tmp_path):
    new_key(tmp_path / "other.key", role=Role.TRAINER, passphrase=None)
    verdict = check(run, trusted=[load_public(tmp_path / "other.pub")])
    assert failed(verdict) == {"V1"}
    assert len(verdict.findings) == 1
    assert not check(run, trusted=[]).passed


def lower_epsilon(predicate):
    predicate["claim"]["epsilon"]["upper"] = "0.5"


def higher_target(predicate):
    predicate["claim"]["epsilon"]["target"] = "2.0"


def smaller_delta(predicate):
    predicate["claim"]["delta"] = "1e-09"


def fewer_steps(predicate):
    predicate["realised"]["phases"][1]["counted"] = 10**6


def no_exclusion(predicate):
    del predicate["scope"]["excludes"][3]


def changed_plan(predicate):
    predicate["plan"]["phases"][1]["steps"] = 1


def own_verdict(predicate):
    predicate["reasons"] = ["the noise was drawn from a seed"]


def other_data(predicate):
    predicate["data"]["value"] = "0" * 64


def bolder_sentence(predicate):
    predicate["claim"]["statement"] = "Nothing whatever can leak."


def larger_unit(predicate):
    """The sentence fits the lie: only the plan knows better."""
    claim = predicate["claim"]
    claim["max_records_per_unit"] = 5
    claim["statement"] = claim["statement"].replace(
        "with one record as", "with one record of up to 5 records as"
    )


def finished_sooner(predicate):
    predicate["realised"]["finished"] = False


@pytest.mark.parametrize(
    ("lie", "steps"),
    [
        (bolder_sentence, {"V10"}),
        (finished_sooner, {"V6"}),
        (lower_epsilon, {"V7"}),
        (higher_target, {"V7"}),
        (larger_unit, {"V7"}),
        (smaller_delta, {"V7"}),
        (fewer_steps, {"V6"}),
        (no_exclusion, {"V9"}),
        (changed_plan, {"V3", "V6", "V7"}),
        (own_verdict, {"V10"}),
        (other_data, {"V5"}),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_liar_with_the_right_key_is_found_out_by_recomputing(run, lie, steps):
    """A signature says who lies, not that he does not."""
    resign(run, lie)
    verdict = check(run)
    assert failed(verdict) & steps
    assert not verdict.passed


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(extra=1),
        lambda p: p.pop("limitations"),
        lambda p: p.update(verdict="certainly"),
        lambda p: p["claim"].update(delta=1e-5),
        lambda p: p["claim"]["epsilon"].update(upper="nan"),
    ],
)
def test_a_report_that_is_not_of_the_schema_is_refused(run, change):
    resign(run, change)
    assert failed(check(run)) == {"V2"}


def test_a_report_that_names_a_file_outside_its_folder_is_refused(run):
    predicate = signing.open_envelope(
        (run / "report.json").read_bytes(),
        trusted=[load_public(run / "trainer.pub")],
    ).statement["predicate"]
    statement = signing.statement(
        subjects={"../secret": "0" * 64},
        predicate_type=PREDICATE_TYPE,
        predicate=predicate,
    )
    text = signing.sign(statement, load_key(run / "trainer.key"))
    (run / "report.json").write_bytes(text)
    (run.parent / "secret").write_text("x")
    assert "V4" in failed(check(run))


def test_another_kind_of_statement_is_not_a_report(run):
    statement = signing.statement(
        subjects={"model.bin": "0" * 64}, predicate_type="https://x/y", predicate={}
    )
    text = signing.sign(statement, load_key(run / "trainer.key"))
    (run / "report.json").write_bytes(text)
    assert failed(check(run)) == {"V2"}


def test_a_ledger_that_ran_on_after_the_report_still_holds_it(run):
    """Resuming a finished run adds entries; the report's head stays in the chain."""
    plan = plans.read(run / "plan.json")
    Ledger.resume(
        run / "ledger.sqlite",
        plan_digest=plan.digest,
        data_digest="d" * 64,
        code_digest="c" * 64,
    ).close()
    assert check(run).passed


def test_all_eleven_exclusions_are_in_every_report(run):
    predicate = check(run).predicate
    assert [e.what for e in predicate.scope.excludes] == list(words.EXCLUSIONS)
    assert len(words.EXCLUSIONS) == 11


def test_a_report_tells_nothing_of_the_data_but_a_fresh_commitment(run):
    """Equal data must not give equal values, nor a digest anyone can test."""
    plan = plans.read(run / "plan.json")
    content = ledger.read(run / "ledger.sqlite")
    first, second = (report.build(plan, content, AROUND) for _ in range(2))
    assert first.data.value != second.data.value
    text = json.dumps(report.to_json(first))
    assert "d" * 64 not in text
    assert content.entries[0].body["data_commitment"] not in text


def test_a_report_about_an_unfinished_run_says_so(run, tmp_path):
    plan = plans.read(run / "plan.json")
    half = tmp_path / "half"
    half.mkdir()
    with open_ledger(half, plan) as book:
        book.reserve("private", 7)
    found = report.build(plan, ledger.read(half / "ledger.sqlite"), AROUND)
    assert not found.realised.finished
    assert found.realised.spent_epsilon_upper < found.claim.epsilon.upper
    assert found.verdict == "dp-claim"
    assert "7 of 50 steps of phase 'private' had begun" in found.claim.statement


def test_a_seeded_run_makes_no_claim_and_does_not_call_itself_unseeded(run, tmp_path):
    """Predictable noise is no noise; the report has to say so in every place."""
    plan = plans.read(run / "plan.json")
    seeded = tmp_path / "seeded"
    seeded.mkdir()
    with open_ledger(seeded, plan) as book:
        book.record_unsafe("unsafe_seed")
        book.reserve("private", 7)
    found = report.build(plan, ledger.read(seeded / "ledger.sqlite"), AROUND)
    assert found.verdict == "no-claim"
    assert "seed" in found.reasons[0]
    assert "never seeded" not in found.mechanism.randomness


def test_the_payload_of_a_report_is_plain_json_anyone_can_read(run):
    envelope = json.loads((run / "report.json").read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["predicateType"] == PREDICATE_TYPE
    assert statement["predicate"]["claim"]["epsilon"]["target"] == "1.0"
