"""Mistakes and forgeries in reports, signatures, keys and trust files."""

import json
import random
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from privplan import (
    accounting,
    canonical,
    ledger,
    moments,
    opinions,
    oversight,
    report,
    signing,
    trust_file,
    verify,
)
from privplan import plan as plans
from privplan.errors import DocumentError, IntegrityError, ParameterError, PrivplanError
from privplan.keys import Role, load_key, load_public, new_key
from privplan.ledger import Ledger
from privplan.oversight import Office
from privplan.planner import PlanRequest, Wishes, make_plan
from tests.faults.catching import fault
from tests.privplan import test_signing as signatures
from tests.privplan import test_verify as reports
from tests.privplan.registers import signer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _asked_once():
    """Other accountants take seconds; about one event they say the same each time."""
    from functools import cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opinions, "second_opinions", cache(opinions.second_opinions))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    plan = make_plan(
        PlanRequest(target_epsilon=1.0, stages="", wishes=Wishes(steps=50))
    )
    plans.write(plan, folder / "plan.json")
    (folder / "model.bin").write_bytes(b"weights")
    with reports.open_ledger(folder, plan) as book:
        for phase in plan.phases:
            book.reserve(phase.name, phase.steps)
    new_key(folder / "trainer.key", role=Role.TRAINER, passphrase=None)
    content = ledger.read(folder / "ledger.sqlite")
    predicate = report.to_json(report.build(plan, content, reports.AROUND))
    key = load_key(folder / "trainer.key")
    (folder / "report.json").write_bytes(reports.signed(folder, predicate, key))
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    assert reports.check(tmp_path / "run").passed
    return tmp_path / "run"


def told(folder, change):
    """What verify says of a report that a liar with the right key changed."""
    reports.resign(folder, change)
    return reports.check(folder)


def key_of(folder):
    return load_public(folder / "trainer.pub")


def opened(text, folder):
    return lambda: signing.open_envelope(text, trusted=[key_of(folder)])


@fault("P1")
def test_no_flipped_bit_of_a_report_is_another_claim(caught, folder):
    text = (folder / "report.json").read_bytes()
    payload = opened(text, folder)().payload
    generator, refused = random.Random(23), 0  # noqa: S311 - which bits, no secret
    for _ in range(300):
        bit = generator.randrange(8 * len(text))
        damaged = bytearray(text)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert opened(bytes(damaged), folder)().payload == payload
        except PrivplanError:
            refused += 1
    assert refused > 150
    middle = bytearray(text)
    middle[len(text) // 2] ^= 1
    found = verify.verify(bytes(middle), folder=folder, trusted=[key_of(folder)])
    caught.finding(found, "V1")


@fault("P2")
def test_an_edited_epsilon_in_a_rebuilt_envelope_is_refused(caught, folder):
    import base64

    envelope = json.loads((folder / "report.json").read_bytes())
    payload = base64.b64decode(envelope["payload"])
    said = json.loads(payload)["predicate"]["claim"]["epsilon"]["upper"].encode()
    edited = payload.replace(b'"upper":"' + said, b'"upper":"0.1')
    assert edited != payload
    envelope["payload"] = base64.b64encode(edited).decode()
    (folder / "report.json").write_text(json.dumps(envelope))
    caught.finding(reports.check(folder), "V1")


@fault("P3")
def test_a_swapped_type_is_refused(caught, folder):
    text = (folder / "report.json").read_bytes()
    swapped = signatures.change(text, payloadType="application/json")
    (folder / "report.json").write_bytes(swapped)
    caught.finding(reports.check(folder), "V1")
    statement = signing.statement(
        subjects={}, predicate_type="https://x/y", predicate={}
    )
    text = signing.sign(statement, load_key(folder / "trainer.key"))
    (folder / "report.json").write_bytes(text)
    caught.finding(reports.check(folder), "V2")


@fault("P4")
def test_a_borrowed_keyid_decides_nothing(caught, folder, tmp_path):
    """The keyid is not signed; whoever trusts it trusts the forger."""
    new_key(tmp_path / "other.key", role=Role.TRAINER, passphrase=None)
    statement = opened((folder / "report.json").read_bytes(), folder)().statement
    text = json.loads(signing.sign(statement, load_key(tmp_path / "other.key")))
    text["signatures"][0]["keyid"] = key_of(folder).keyid
    (folder / "report.json").write_text(json.dumps(text))
    caught.finding(reports.check(folder), "V1")


@fault("P5")
def test_one_signature_twice_is_one(caught, folder):
    text = json.loads((folder / "report.json").read_bytes())
    text["signatures"] *= 2
    caught.refusal(
        PrivplanError,
        lambda: signing.open_envelope(
            json.dumps(text).encode(), trusted=[key_of(folder)], threshold=2
        ),
    )


@fault("P6")
def test_keys_that_are_revoked_expired_or_of_another_role_do_not_count(
    caught, folder, tmp_path
):
    root, officer = signer(tmp_path, Role.ROOT), signer(tmp_path, Role.OFFICER)
    trainer, now = load_key(folder / "trainer.key"), moments.now()

    def asked(change):
        path = tmp_path / "trust.json"
        path.unlink(missing_ok=True)
        trust_file.new(path, root, owner="office")
        change(path)
        known = trust_file.read(path)
        found = verify.verify(
            (folder / "report.json").read_bytes(),
            folder=folder,
            trusted=known.public_keys(),
        )
        office = Office(trust=known, pinned=True, now=now + timedelta(days=1))
        return oversight.extend(found, office)

    def revoked(path):
        trust_file.add(path, trainer.public, root, owner="Bo")
        trust_file.revoke(path, trainer.public.keyid, root, reason="stolen")

    def expired(path):
        trust_file.add(path, trainer.public, root, owner="Bo", until="2020-01-01")

    def wrong_role(path):
        trust_file.add(path, officer.public, root, owner="Ada")

    caught.finding(asked(revoked), "V11")
    caught.finding(asked(expired), "V11")
    reports.resign(folder, lambda predicate: None)
    caught.finding(asked(wrong_role), "V1")  # the trainer's key is not in the file


@fault("P7")
def test_the_report_of_one_model_with_another_is_found(caught, folder):
    (folder / "model.bin").write_bytes(b"other weights")
    caught.finding(reports.check(folder), "V4")


@fault("P8")
def test_an_old_report_does_not_pass_for_a_ledger_that_was_rewritten(caught, folder):
    """It still holds for a ledger that merely grew; a fork or a copy it denounces."""
    plan = plans.read(folder / "plan.json")
    bound = {"data_digest": "d" * 64, "code_digest": "c" * 64}
    Ledger.resume(folder / "ledger.sqlite", plan_digest=plan.digest, **bound).close()
    assert reports.check(folder).passed
    (folder / "ledger.sqlite").unlink()
    with reports.open_ledger(folder, plan) as book:
        book.reserve(plan.phases[0].name, plan.phases[0].steps)
    caught.finding(reports.check(folder), "V5")


@fault("P9")
def test_epsilon_twice_is_refused_even_when_signed(caught, folder):
    payload = opened((folder / "report.json").read_bytes(), folder)().payload
    double = payload.replace(b'"delta":', b'"delta":"1e-9","delta":', 1)
    assert double != payload
    text = signatures.forge(double, load_key(folder / "trainer.key"))
    caught.refusal(DocumentError, opened(text, folder))


@fault("P10")
def test_an_unknown_field_is_refused(caught, folder):
    """What one reader ignores, another may take for the claim."""
    found = told(folder, lambda p: p["claim"].update(epsilon_really="0.1"))
    caught.finding(found, "V2")


@fault("P11")
def test_what_is_no_number_is_refused(caught, folder):
    for text in ("nan", "inf", "1e400", "8,0", "0x8", " 8", "8.0e", "٨"):
        caught.refusal(PrivplanError, lambda text=text: canonical.read_decimal(text))
    found = told(folder, lambda p: p["claim"]["epsilon"].update(upper="1e400"))
    caught.finding(found, "V2")


@fault("P12")
def test_an_envelope_beyond_the_limit_is_refused_unread(caught, folder):
    """The limit stands before the parser: a gigabyte costs no more than this."""
    text = (folder / "report.json").read_bytes()
    caught.refusal(
        DocumentError, opened(text + b" " * 4_300_000, folder), match="more than"
    )


@fault("P13")
def test_a_dropped_exclusion_is_found(caught, folder):
    caught.finding(told(folder, reports.no_exclusion), "V9")


@fault("P14")
def test_a_record_count_in_free_text_is_found(caught, folder):
    """The one sentence a reader believes is generated; another one is not accepted."""

    def smuggled(predicate):
        predicate["claim"]["statement"] += " There were 1,436 records."

    caught.finding(told(folder, smuggled), "V10")


@fault("P15")
def test_a_claim_below_what_is_recomputed_is_found(caught, folder):
    caught.finding(told(folder, reports.lower_epsilon), "V7")
    assert reports.check(folder).exit_code == 4


@fault("P16")
def test_the_digest_of_another_plan_is_found(caught, folder):
    def other(predicate):
        predicate["plan"]["digest"] = "0" * 64

    caught.finding(told(folder, other), "V3")


@fault("P17")
def test_a_trust_file_rolled_back_is_refused_by_whoever_saw_it_longer(caught, tmp_path):
    """Cutting a revocation off leaves a whole file; its head is another one."""
    root, bo = signer(tmp_path, Role.ROOT), signer(tmp_path, Role.TRAINER)
    path = tmp_path / "trust.json"
    trust_file.new(path, root, owner="office")
    trust_file.add(path, bo.public, root, owner="Bo")
    trust_file.revoke(path, bo.public.keyid, root, reason="stolen")
    seen = trust_file.read(path)

    def head_is_the_one_seen():
        found = trust_file.read(path)
        assert (found.head, found.links) == (seen.head, seen.links)

    def put_in():
        document = json.loads(path.read_text())
        document["links"].pop()
        path.write_text(json.dumps(document))

    caught.check(head_is_the_one_seen, put_in, "head of the trust file")
    document = json.loads(path.read_text())
    document["links"].pop(0)
    path.write_text(json.dumps(document))
    caught.refusal(IntegrityError, lambda: trust_file.read(path))


ALONE = """
import builtins, socket, sys
from pathlib import Path
sys.path.insert(0, {root!r})

def refused(*_, **__):
    raise RuntimeError("no network here")

socket.socket = socket.create_connection = socket.getaddrinfo = refused
right = builtins.__import__
def without(name, *rest, **named):
    if name.split(".")[0] in {{"torch", "opacus", "diffusion", {absent}}}:
        raise ImportError(name)
    return right(name, *rest, **named)
builtins.__import__ = without
from cli.__main__ import main
sys.exit(main(["verify", {report!r}, "--key", {key!r}]))
"""


@fault("P18")
@pytest.mark.slow
def test_verify_works_without_torch_and_network(caught, folder):
    """And the harness would notice: without numpy, which verify needs, it fails."""

    def verifies(absent=""):
        code = ALONE.format(
            root=str(ROOT),
            absent=absent,
            report=str(folder / "report.json"),
            key=str(folder / "trainer.pub"),
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()[-500:]

    needs = []
    caught.check(
        lambda: verifies(*needs),
        lambda: needs.append("'numpy'"),
        "verify runs with neither",
    )


def test_a_document_cannot_name_its_own_accuracy(folder):
    """The recomputation is ours: with a wrong accountant every report fails."""
    found = reports.check(folder)
    said = found.predicate
    again = accounting.epsilon(said.plan.event, delta=said.claim.delta)
    assert again.upper <= said.claim.epsilon.upper
    with pytest.raises(ParameterError):
        accounting.epsilon(said.plan.event, delta=float("nan"))
