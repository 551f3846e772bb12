"""What an office checks of a report: who signed, and which register paid."""

import shutil

import pytest

from privplan import (
    canonical,
    ledger,
    moments,
    oversight,
    register_run,
    report,
    signing,
    trust_file,
    verify,
)
from privplan.errors import ExitCode, PolicyError
from privplan.findings import Outcome
from privplan.keys import Role
from privplan.oversight import Office
from privplan.register import Register
from privplan.register_run import Charge
from privplan.report_schema import PREDICATE_TYPE, Surroundings
from privplan.trust import Trust
from tests.privplan import registers as make

AROUND = Surroundings(
    source_digest="c" * 64, versions={"privplan": "0"}, platform="somewhere"
)


@pytest.fixture(scope="module")
def made():
    return make.plan(steps=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory, made, asked_once):
    """A finished run that a register paid for, its report, and a trust file."""
    folder = tmp_path_factory.mktemp("office")
    path = make.begun(folder)
    run = make.run_of(folder, made, Charge(register=path, refundable=True))
    for phase in made.phases:
        make.train(run, made, phase.name, phase.steps)
    root, officer = make.signer(folder, Role.ROOT), make.signer(folder)
    trainer = make.signer(folder, Role.TRAINER)
    trust = folder / "trust.json"
    trust_file.new(trust, root, owner="office")
    trust_file.add(trust, officer.public, root, owner="Ada")
    trust_file.add(trust, trainer.public, root, owner="Bo")
    sign(folder, report.to_json(report.build(made, ledger.read(run), AROUND)), trainer)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    shutil.copytree(original, tmp_path / "office")
    return tmp_path / "office"


def sign(folder, predicate, *signers):
    statement = signing.statement(
        subjects={}, predicate_type=PREDICATE_TYPE, predicate=predicate
    )
    text = signing.sign(statement, signers[0])
    for key in signers[1:]:
        text = signing.add_signature(text, key)
    (folder / "report.json").write_bytes(text)


def predicate_of(folder):
    text = (folder / "report.json").read_bytes()
    trusted = [make.signer(folder, Role.TRAINER).public]
    return signing.open_envelope(text, trusted=trusted).statement["predicate"]


def check(folder, *, trust=None, require=None, book="register.sqlite"):
    known = trust or trust_file.read(folder / "trust.json")
    text = (folder / "report.json").read_bytes()
    found = verify.verify(text, folder=folder, trusted=known.public_keys())
    office = Office(
        trust=known,
        pinned=trust is None,
        require=require,
        register=None if book is None else folder / book,
        now=moments.now(),
    )
    return oversight.extend(found, office)


def step(found, number):
    return next(f for f in found.findings if f.number == number)


def revoke(folder, role, start=None):
    trust_file.revoke(
        folder / "trust.json",
        make.signer(folder, role).public.keyid,
        make.signer(folder, Role.ROOT),
        reason="laptop stolen",
        start=start,
    )


def test_an_honest_report_passes_before_an_office(folder):
    found = check(folder)
    assert found.passed
    assert [f.number for f in found.findings[-2:]] == ["V11", "V12"]
    assert "trainer" in step(found, "V11").text
    assert found.predicate.reservation.data_set == "digits"


def test_a_report_of_a_revoked_key_fails_from_the_revocation_on(folder):
    revoke(folder, Role.TRAINER, start="2999-01-01")
    assert check(folder).passed
    shutil.copy(folder / "trust.json", folder / "later.json")
    revoked = trust_file.read(folder / "trust.json")
    after = moments.parse("2999-01-01")
    text = (folder / "report.json").read_bytes()
    found = verify.verify(text, folder=folder, trusted=revoked.public_keys())
    found = oversight.extend(found, Office(trust=revoked, pinned=True, now=after))
    assert not found.passed
    assert found.exit_code == ExitCode.VERIFICATION
    said = step(found, "V11").text
    assert "revoked from 2999-01-01T00:00:00+00:00 on: laptop stolen" in said


def test_an_officer_vouches_for_a_report_whose_key_was_stolen_later(folder):
    """The thief has no officer; what the officer saw before still holds."""
    predicate = predicate_of(folder)
    officer = make.signer(folder)
    revoke(folder, Role.TRAINER)
    assert step(check(folder), "V11").outcome is Outcome.FAILED
    sign(folder, predicate, make.signer(folder, Role.TRAINER), officer)
    found = check(folder, require=Role.OFFICER)
    assert found.passed
    assert "vouches although" in step(found, "V11").text
    revoke(folder, Role.OFFICER)
    assert step(check(folder), "V11").outcome is Outcome.FAILED


def test_a_required_counter_signature_that_is_missing_fails(folder):
    found = check(folder, require=Role.OFFICER)
    assert step(found, "V11").outcome is Outcome.FAILED
    assert "no officer counter-signed" in step(found, "V11").text
    trainer = make.signer(folder, Role.TRAINER)
    sign(folder, predicate_of(folder), trainer, make.signer(folder))
    found = check(folder, require=Role.OFFICER)
    assert found.passed
    assert {"trainer", "officer"} <= set(step(found, "V11").text.split())


def test_a_root_alone_cannot_sign_reports(folder):
    sign(folder, predicate_of(folder), make.signer(folder, Role.ROOT))
    assert "has the role root" in step(check(folder), "V11").text


def test_keys_given_one_by_one_have_the_roles_of_their_files(folder):
    trainer, officer = make.signer(folder, Role.TRAINER), make.signer(folder)
    chosen = Trust.of([trainer.public, officer.public])
    assert check(folder, trust=chosen, book=None).passed
    assert not check(folder, trust=chosen, book=None, require=Role.OFFICER).passed
    sign(folder, predicate_of(folder), trainer, officer)
    assert check(folder, trust=chosen, book=None, require=Role.OFFICER).passed


def lie(folder, change):
    predicate = predicate_of(folder)
    change(predicate)
    sign(folder, predicate, make.signer(folder, Role.TRAINER))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.update(reservation=None), "names no reservation"),
        (lambda p: p.pop("reservation"), "names no reservation"),
        (lambda p: p["reservation"].update(register_id="x"), "another register"),
        (lambda p: p["reservation"].update(sequence=2), "entry 2"),
        (lambda p: p["reservation"].update(sequence=99), "entry 99"),
        (lambda p: p["reservation"].update(hash="0" * 64), "rewritten, shortened"),
        (lambda p: p["reservation"].update(reservation="x"), "does not know"),
        (lambda p: p["reservation"].update(data_set="x"), "another plan or data set"),
    ],
)
def test_a_report_that_names_no_payment_or_another_one_fails(folder, change, says):
    lie(folder, change)
    found = step(check(folder), "V12")
    assert found.outcome is Outcome.FAILED
    assert says in found.text


def test_a_report_cannot_borrow_the_reservation_of_another_run(folder, made):
    other = make.variant(made, 1)
    run = make.run_of(
        folder / "other", other, Charge(register=folder / "register.sqlite")
    )
    borrowed = register_run.reservation_of(ledger.read(run))
    lie(folder, lambda p: p.update(reservation=borrowed.model_dump(mode="json")))
    assert "another plan" in step(check(folder), "V12").text


def test_a_run_that_was_settled_for_less_than_its_report_counts_fails(folder, made):
    """A report of 4 steps, and a refund for the 3 that 'never' happened."""
    path = folder / "register.sqlite"
    run = make.run_of(
        folder / "other", make.variant(made, 2), Charge(register=path, refundable=True)
    )
    plan = make.variant(made, 2)
    make.train(run, plan, "private", 1)
    content = ledger.read(run)
    register_run.settle(run, Charge(register=path))
    predicate = report.to_json(report.build(plan, content, AROUND))
    for part in predicate["realised"]["phases"]:
        part["counted"] = part["planned"]
    sign(folder, predicate, make.signer(folder, Role.TRAINER))
    assert "settled for fewer steps" in step(check(folder), "V12").text


def test_the_grant_of_a_revoked_officer_pays_for_nothing(folder, made):
    revoke(folder, Role.OFFICER)
    found = check(folder)
    assert step(found, "V11").outcome is Outcome.PASSED
    assert "counts no more" in step(found, "V12").text
    known = trust_file.read(folder / "trust.json")
    with (
        Register.open(folder / "register.sqlite", trust=known) as book,
        pytest.raises(PolicyError, match=r"does not count.*laptop stolen"),
    ):
        book.reserve(make.variant(made, 3), make.DATA)


def test_a_new_officer_takes_over_a_register(folder, made):
    """The trust file knows the new key, the register's first entry does not."""
    root, heir = make.signer(folder, Role.ROOT), make.signer(folder, name="heir")
    path, trust = folder / "register.sqlite", folder / "trust.json"
    trust_file.add(trust, heir.public, root, owner="Eve")
    revoke(folder, Role.OFFICER)
    with Register.open(path, trust=trust_file.read(trust)) as book:
        book.grant(make.request(epsilon=6.0, amend=True), heir)
        book.reserve(make.variant(made, 3), make.DATA)
    assert check(folder).passed


def test_a_report_that_never_heard_of_a_register_is_still_read(folder):
    """Reports written before there were registers must stay verifiable."""

    def older(predicate):
        del predicate["reservation"], predicate["written"]

    lie(folder, older)
    assert check(folder, book=None).passed


def test_nothing_of_the_register_key_or_commitment_is_in_a_report(folder):
    """A commitment in two documents would say that the data did not change."""
    with Register.open(folder / "register.sqlite") as book:
        key = book._writer.key.hex()
        data_set = book._writer.tally.data_sets["digits"]
    text = canonical.canonical_bytes(predicate_of(folder)).decode()
    assert key not in text
    assert not any(commitment in text for commitment in data_set.commitments)
