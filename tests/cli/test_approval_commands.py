"""`approve`, `countersign`, `trust ...` and `--policy`, from the command line."""

import contextlib
import io
import json
import shutil

import pytest

from cli import actions
from cli.__main__ import main
from privplan import plan as plans
from tests.privplan.registers import ledger_of

POLICY = """format = "privplan-policy/1"
max_epsilon = 4.0
require_approval = true
trust = "trust.json"
"""


def say(command):
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([str(word) for word in command]) == 0, command


@pytest.fixture(scope="module")
def job(tmp_path_factory, asked_once):
    """Keys, a trust file, a plan, a run with its report."""
    folder = tmp_path_factory.mktemp("approval")
    trust = ["--trust", folder / "trust.json", "--key", folder / "root.key"]
    commands = [
        *(["keys", "new", "--role", role, "--out", folder / f"{role}.key"]
          for role in ("root", "officer", "trainer")),
        ["trust", "new", *trust, "--owner", "Office"],
        ["trust", "add", folder / "officer.pub", *trust, "--owner", "Ada"],
        ["trust", "add", folder / "trainer.pub", *trust, "--owner", "Bo"],
        ["plan", "--eps", "3", "--stages", "--steps", "4", "--sample-rate", "0.1",
         "--noise-multiplicity", "2", "--synthetic-steps", "2",
         "--out", folder / "plan.json"],
    ]  # fmt: skip
    for command in commands:
        say(command)
    run = folder / "run"
    run.mkdir()
    plan = plans.read(folder / "plan.json")
    plans.write(plan, run / "plan.json")
    with ledger_of(run / "ledger.sqlite", plan) as book:
        for phase in plan.phases:
            book.reserve(phase.name, phase.steps)
    say(["report", run, "--key", folder / "trainer.key"])
    (folder / "policy.toml").write_text(POLICY)
    return folder


@pytest.fixture
def folder(job, tmp_path, monkeypatch):
    shutil.copytree(job, tmp_path / "job")
    monkeypatch.chdir(tmp_path / "job")
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "job"


def test_a_policy_lets_a_plan_run_only_when_an_officer_approved_it(
    folder, cli, refused, monkeypatch
):
    monkeypatch.setattr(actions, "run_training", lambda *_, **__: True)
    train = ("train", "plan.json", "--policy", "policy.toml", "--out", "new")
    code, message = refused(*train)
    assert (code, "requires an approval" in message) == (5, True)
    assert not (folder / "new").exists()
    assert refused("approve", "plan.json", "--key", "trainer.key")[0] == 5
    assert cli("approve", "plan.json", "--key", "officer.key")[0] == 0
    assert cli(*train)[0] == 0
    shutil.copy("plan.json", "new/plan.json")
    resume = ("train", "new", "--resume", "--policy", "policy.toml")
    assert cli(*resume)[0] == 0
    (folder / "new" / "plan.approval.json").unlink()
    assert refused(*resume)[0] == 5


def test_an_approval_of_another_plan_does_not_count(folder, cli, refused):
    cli("plan", "--eps", "2", "--steps", "4", "--out", "other.json")
    assert cli("approve", "other.json", "--key", "officer.key")[0] == 0
    shutil.copy("other.approval.json", "plan.approval.json")
    code, message = refused("train", "plan.json", "--policy", "policy.toml")
    assert (code, "another plan" in message) == (5, True)


def test_an_approval_keeps_the_policy_too(folder, refused):
    (folder / "policy.toml").write_text(POLICY.replace("4.0", "2.5"))
    code, message = refused(
        "approve", "plan.json", "--key", "officer.key", "--policy", "policy.toml"
    )
    assert (code, "the policy allows 2.5" in message) == (5, True)
    assert not (folder / "plan.approval.json").exists()


def test_a_counter_signature_is_required_given_and_found(folder, cli, refused):
    required = ("verify", "run/report.json", "--trust", "trust.json", "--require",
                "officer")  # fmt: skip
    assert cli(*required)[0] == 4
    sign = ("countersign", "run/report.json", "--trust", "trust.json", "--key")
    assert refused(*sign, "trainer.key")[0] == 5
    assert cli(*sign, "officer.key")[0] == 0
    code, out, _ = cli(*required, "--root", "root.pub", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["key_given"]
    assert len(found["keyids"]) == 2
    assert cli("verify", "run/report.json", "--key", "trainer.pub")[0] == 0
    code, message = refused(*sign, "officer.key")
    assert (code, "signed this envelope already" in message) == (5, True)


def test_what_does_not_verify_is_not_counter_signed(folder, refused):
    before = (folder / "run" / "report.json").read_bytes()
    (folder / "run" / "plan.json").write_text(
        (folder / "run" / "plan.json").read_text().replace('"seed": ', '"seed": 1')
    )
    code, message = refused("countersign", "run/report.json", "--key", "officer.key")
    assert (code, "does not verify" in message) == (4, True)
    assert (folder / "run" / "report.json").read_bytes() == before


def test_a_revoked_trainer_signs_nothing_more(folder, cli):
    assert cli("verify", "run/report.json", "--trust", "trust.json")[0] == 0
    code, out, _ = cli(
        "trust", "revoke", "trainer.pub", "--key", "root.key", "--reason", "stolen",
        "--json",
    )  # fmt: skip
    assert code == 0
    assert [k["revoked"] is None for k in json.loads(out)["keys"]] == [1, 1, 0]
    code, out, _ = cli("verify", "run/report.json", "--trust", "trust.json")
    assert code == 4
    assert "was revoked from" in out.replace("\n", " ")


def test_the_trust_table_fits_a_terminal_of_80_columns(folder, cli):
    cli("trust", "add", "officer.pub", "--key", "root.key", "--until", "2030-01-01",
        "--owner", "Dr Ada of the office for the protection of data")  # fmt: skip
    code, out, _ = cli("trust", "show")
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "2030-01-01" in out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("trust", "show", "none.json"), 1),
        (("trust", "show", "plan.json"), 1),
        (("trust", "show", "trust.json", "--root", "officer.pub"), 4),
        (("trust", "new", "--key", "root.key", "--owner", "x"), 5),
        (("trust", "new", "--key", "officer.key", "--owner", "x", "--trust", "t"), 5),
        (("trust", "add", "trainer.pub", "--key", "officer.key", "--owner", "x"), 5),
        (("trust", "add", "none.pub", "--key", "root.key", "--owner", "x"), 1),
        (("trust", "add", "trainer.pub", "--key", "root.key", "--owner", ""), 1),
        (("trust", "revoke", "abc", "--key", "root.key", "--reason", "x"), 1),
        (("trust", "revoke", "root.pub", "--key", "officer.key", "--reason", "x"), 5),
        (("approve", "none.json", "--key", "officer.key"), 1),
        (("approve", "plan.json", "--key", "officer.key", "--expires", "soon"), 2),
        (("approve", "plan.json", "--key", "officer.key", "--note", "x" * 2001), 2),
        (("countersign", "none.json", "--key", "officer.key"), 1),
        (("verify", "run/report.json", "--root", "root.pub"), 2),
        (("verify", "run/report.json", "--trust", "plan.json"), 1),
        (("verify", "run/report.json", "--require", "trainer"), 2),
        (("train", "plan.json", "--policy", "none.toml"), 1),
        (("train", "plan.json", "--policy", "plan.json"), 1),
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(folder, refused, arguments, code):
    before = (folder / "trust.json").read_bytes()
    assert refused(*arguments)[0] == code
    assert (folder / "trust.json").read_bytes() == before


def test_a_run_is_held_to_its_policy_and_its_anchor_when_it_is_verified(
    folder, cli, refused
):
    """From training under a policy to an officer who kept an anchor."""
    assert cli("approve", "plan.json", "--key", "officer.key")[0] == 0
    train = ("train", "plan.json", "--policy", "policy.toml", "--out", "new")
    assert cli(*train)[0] == 0
    assert cli("report", "new", "--key", "trainer.key")[0] == 0
    noted = ("ledger", "anchor", "new", "--out", "anchor.txt")
    assert cli(*noted)[0] == 0
    asked = ("verify", "new/report.json", "--anchor", "anchor.txt", "--policy")
    code, out, _ = cli(*asked, "policy.toml", "--json")
    steps = {s["number"]: s for s in json.loads(out)["steps"]}
    assert code == 0
    assert steps["V13"]["outcome"] == steps["V14"]["outcome"] == "passed"
    assert "began under this policy" in steps["V14"]["text"]
    (folder / "strict.toml").write_text(POLICY.replace("4.0", "0.5"))
    assert cli(*asked, "strict.toml")[0] == 4
    line = (folder / "anchor.txt").read_text().split()
    line[3] = "0" * 64
    (folder / "anchor.txt").write_text(" ".join(line))
    assert cli(*asked, "policy.toml")[0] == 4
    assert refused("verify", "new/report.json", "--policy", "nothing.toml")[0] == 1
