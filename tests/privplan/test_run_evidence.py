"""What an anchor and a policy show of a report: rollbacks, broken rules, late notes."""

import shutil

import pytest

from privplan import (
    approval,
    canonical,
    ledger,
    ledger_anchor,
    ledger_export,
    moments,
    oversight,
    report,
    verify,
)
from privplan import plan as plans
from privplan.errors import ExitCode
from privplan.findings import Outcome
from privplan.keys import Role
from privplan.ledger import Ledger
from privplan.oversight import Office
from privplan.run_rules import APPROVAL_NAME, RunRules
from privplan.trust import Trust
from tests.privplan import registers as make
from tests.privplan.test_oversight import AROUND, sign

POLICY = 'format = "privplan-policy/1"\nmax_epsilon = 2.0\nrequire_approval = true\n'
BOUND = {"data_digest": make.DATA, "code_digest": "c" * 64}


@pytest.fixture(scope="module")
def made():
    return make.plan(steps=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory, made, asked_once):
    """A run that began under a policy and an approval, with its report."""
    folder = tmp_path_factory.mktemp("run")
    officer, trainer = make.signer(folder), make.signer(folder, Role.TRAINER)
    (folder / "policy.toml").write_text(POLICY + 'officers = ["officer.pub"]\n')
    _, envelope = approval.approve(made, officer)
    (folder / APPROVAL_NAME).write_bytes(envelope)
    rules = RunRules(
        policy=canonical.file_digest(folder / "policy.toml"),
        approval=canonical.file_digest(folder / APPROVAL_NAME),
    )
    write(folder, made, trainer, rules)
    return folder


def write(folder, made, trainer, rules, *, late=False):
    """Carry a plan out in a ledger, and sign the report of it."""
    path = folder / "ledger.sqlite"
    with make.ledger_of(path, made) as run:
        if not late:
            rules.bind(run, ledger.read(path))
        for phase in made.phases:
            run.reserve(phase.name, phase.steps)
        if late:
            rules.bind(run, ledger.read(path))
    said = report.build(made, ledger.read(path), AROUND)
    sign(folder, report.to_json(said), trainer)


@pytest.fixture
def folder(original, tmp_path):
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


def check(folder, *, anchor=None, policy="policy.toml", book=None):
    trust = Trust.of([make.signer(folder, Role.TRAINER).public])
    found = verify.verify(
        (folder / "report.json").read_bytes(),
        folder=folder,
        trusted=trust.public_keys(),
        ledger_path=book,
    )
    office = Office(
        trust=trust,
        pinned=False,
        now=moments.now(),
        anchor=anchor,
        policy=None if policy is None else folder / policy,
        folder=folder,
        ledger=book,
    )
    return oversight.extend(found, office)


def last(verdict):
    return verdict.findings[-1]


def test_a_run_that_kept_its_policy_is_found_to_have_kept_it(folder):
    found = check(folder)
    assert found.passed
    assert (last(found).number, last(found).outcome) == ("V14", Outcome.PASSED)
    assert "began under this policy" in last(found).text


def test_a_policy_written_afterwards_is_told_from_the_one_it_began_under(folder):
    """Even if every rule of it happens to be kept."""
    with (folder / "policy.toml").open("a") as file:
        file.write("min_records = 5\n")
    found = check(folder)
    assert found.passed
    assert "another policy, or none" in last(found).text


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("max_epsilon = 0.1", "allows 0.1"),
        ("min_records = 1000000", "1,000,000 records at least"),
        ("require_register = true", "requires a register"),
        ("max_delta_factor = 0.001", "delta"),
    ],
)
def test_a_broken_rule_fails_and_is_named(folder, rules, says):
    text = f'format = "privplan-policy/1"\n{rules}\n'
    (folder / "policy.toml").write_text(text)
    found = check(folder)
    assert last(found).outcome is Outcome.FAILED
    assert says in last(found).text
    assert found.exit_code == ExitCode.VERIFICATION


def test_another_or_a_missing_approval_fails(folder, made):
    """An approval that was asked for after the run is not the one it began under."""
    _, later = approval.approve(made, make.signer(folder), note="after all")
    (folder / APPROVAL_NAME).write_bytes(later)
    assert "not the approval the run began under" in last(check(folder)).text
    (folder / APPROVAL_NAME).unlink()
    assert last(check(folder)).outcome is Outcome.FAILED


def test_an_approval_that_ended_after_the_run_began_still_counts(folder, made):
    """It is judged at the moment the ledger noted it."""
    folder = _again(folder)
    _, envelope = approval.approve(made, make.signer(folder), expires="2999-01-01")
    (folder / APPROVAL_NAME).write_bytes(envelope)
    rules = RunRules(approval=canonical.file_digest(folder / APPROVAL_NAME))
    write(folder, made, make.signer(folder, Role.TRAINER), rules)
    assert check(folder).passed


def test_rules_noted_after_records_were_read_bind_nobody(folder, made):
    """Whoever may choose the policy afterwards chooses one that was kept."""
    folder = _again(folder)
    rules = RunRules(
        policy=canonical.file_digest(folder / "policy.toml"),
        approval=canonical.file_digest(folder / APPROVAL_NAME),
    )
    write(folder, made, make.signer(folder, Role.TRAINER), rules, late=True)
    found = check(folder)
    assert last(found).outcome is Outcome.FAILED
    assert "after records had been read" in last(found).text


def test_a_report_cannot_name_rules_its_ledger_does_not(folder, made):
    said = report.build(made, ledger.read(folder / "ledger.sqlite"), AROUND)
    lie = report.to_json(said)
    lie["rules"]["policy"] = "0" * 64
    sign(folder, lie, make.signer(folder, Role.TRAINER))
    assert "does not say what the report says" in last(check(folder)).text


def test_a_run_without_rules_has_none_and_old_reports_are_still_read(folder, made):
    folder = _again(folder)
    (folder / "policy.toml").write_text('format = "privplan-policy/1"\n')
    write(folder, made, make.signer(folder, Role.TRAINER), RunRules())
    said = report.build(made, ledger.read(folder / "ledger.sqlite"), AROUND)
    assert said.rules is None
    older = report.to_json(said)
    del older["rules"]
    sign(folder, older, make.signer(folder, Role.TRAINER))
    found = check(folder)
    assert found.passed
    assert "another policy, or none" in last(found).text


def test_a_note_is_made_once_however_often_a_run_goes_on(folder, made):
    path = folder / "ledger.sqlite"
    before = len(ledger.read(path).entries)
    rules = RunRules(
        policy=canonical.file_digest(folder / "policy.toml"),
        approval=canonical.file_digest(folder / APPROVAL_NAME),
    )
    with Ledger.resume(path, plan_digest=made.digest, **BOUND) as run:
        rules.bind(run, ledger.read(path))
    assert len(ledger.read(path).entries) == before + 1  # the opening alone


def _again(folder):
    """Forget the run, keep its keys, policy and approval."""
    (folder / "ledger.sqlite").unlink()
    return folder


@pytest.fixture
def noted(folder, tmp_path):
    """An anchor of the ledger as the report saw it."""
    path = tmp_path / "anchor.txt"
    content = ledger.read(folder / "ledger.sqlite")
    ledger_anchor.write(ledger_anchor.of(content), path)
    return path


def test_a_ledger_that_grew_since_the_anchor_passes(folder, made, noted):
    path = folder / "ledger.sqlite"
    Ledger.resume(path, plan_digest=made.digest, **BOUND).close()
    found = check(folder, anchor=noted, policy=None)
    assert found.passed
    assert last(found).number == "V13"
    assert "1 entries since" in last(found).text


def test_an_export_serves_as_well_and_a_missing_ledger_is_said(folder, noted, tmp_path):
    lines = tmp_path / "ledger.jsonl"
    ledger_export.write(ledger.read(folder / "ledger.sqlite"), lines)
    (folder / "ledger.sqlite").unlink()
    found = check(folder, anchor=noted, policy=None, book=lines)
    assert found.passed
    assert last(found).outcome is Outcome.PASSED
    found = check(folder, anchor=noted, policy=None)
    assert last(found).outcome is Outcome.NOT_TAKEN
    assert found.passed


def test_a_ledger_written_anew_fails_against_the_anchor_with_or_without_it(
    folder, made, noted
):
    """The forger signs a new report about a new ledger; the anchor remembers."""
    folder = _again(folder)
    write(folder, made, make.signer(folder, Role.TRAINER), RunRules())
    for _ in range(2):
        found = check(folder, anchor=noted, policy=None)
        assert last(found).outcome is Outcome.FAILED
        assert "another ledger than the report's" in last(found).text
        (folder / "ledger.sqlite").unlink(missing_ok=True)


def test_a_report_that_counts_less_than_the_anchor_saw_fails(folder, made, noted):
    """Even from the report alone: the ledger it speaks of had counted more."""
    said = report.build(made, ledger.read(folder / "ledger.sqlite"), AROUND)
    lie = report.to_json(said)
    lie["realised"]["phases"][-1]["counted"] = 1
    sign(folder, lie, make.signer(folder, Role.TRAINER))
    (folder / "ledger.sqlite").unlink()
    found = check(folder, anchor=noted, policy=None)
    assert "fewer steps than the anchor" in last(found).text
    assert plans.seal(made) == made
