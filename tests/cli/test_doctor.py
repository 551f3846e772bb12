"""`privplan doctor` finds what is broken, and says so by its exit code."""

import json

import pytest

from cli import health
from cli.health import State
from privplan import keys
from privplan.keys import Role

PHRASE = "long enough"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys.new_key(tmp_path / "k.key", role=Role.TRAINER, passphrase=PHRASE)
    return tmp_path


@pytest.fixture
def run_folder(cli, here):
    cli("plan", "--eps", "3", "--stages", "dpdm", "--steps", "2",
        "--sample-rate", "0.05",
        "--noise-multiplicity", "1")  # fmt: skip
    assert cli("train", "--out", "runs/one")[0] == 0
    return here / "runs" / "one"


def looked(cli, *arguments):
    code, out, err = cli("doctor", "--key", "k.key", *arguments, "--json")
    return code, json.loads(out)["findings"], err


def test_a_sound_machine_is_found_sound(cli, here):
    code, found, _ = looked(cli)
    assert code == 0
    areas = {one["area"] for one in found}
    assert areas == {"versions", "machine", "self-test", "configuration", "key"}
    assert {one["name"] for one in found if one["area"] == "self-test"} == {
        "accountant", "noise", "engine folded", "engine vmap", "clipping",
    }  # fmt: skip
    assert not [one for one in found if one["state"] == "broken"]


def test_a_run_is_looked_at_and_one_that_was_changed_is_broken(cli, run_folder):
    code, found, _ = looked(cli, "--quick")
    ledgers = [one for one in found if one["area"] == "ledger"]
    assert (code, [one["state"] for one in ledgers]) == (0, ["ok"])
    plan = run_folder / "plan.json"
    plan.write_text(plan.read_text().replace('"steps": 2', '"steps": 1'))
    assert looked(cli, "--quick")[0] == 4


def test_a_damaged_ledger_is_broken(cli, run_folder):
    (run_folder / "ledger.sqlite").write_bytes(b"not a ledger")
    code, found, _ = looked(cli, "--quick", "runs/one")
    assert code == 4
    assert [one["state"] for one in found if one["area"] == "ledger"] == ["broken"]


def test_other_sources_than_those_that_ran_are_said(cli, run_folder, monkeypatch):
    monkeypatch.setattr(health, "source_digest", lambda: "a" * 64)
    code, found, _ = looked(cli, "--quick")
    assert code == 0
    assert any("--allow-code-change" in one["text"] for one in found)


@pytest.mark.parametrize(
    ("requirement", "state"),
    [("numpy>=1", "ok"), ("numpy<1", "broken"), ("nosuchthing>=1", "broken")],
)
def test_a_library_that_does_not_fit_is_broken(requirement, state, monkeypatch):
    monkeypatch.setattr(health.metadata, "requires", lambda _: [requirement])
    assert list(health.versions())[-1].state == State(state)


def test_a_key_that_others_may_read_is_broken_and_a_bare_one_is_said(cli, here):
    keys.new_key(here / "bare.key", role=Role.TRAINER, passphrase=None)
    assert health.key(here / "bare.key").state is State.LOOK
    assert health.key(here / "none.key").state is State.LOOK
    assert health.key(here / "k.key").state is State.OK
    (here / "k.key").chmod(0o644)
    assert looked(cli, "--quick")[0] == 1


def test_a_wrong_accountant_is_broken(monkeypatch):
    right = health.accounting.epsilon

    def half(*arguments, **named):
        found = right(*arguments, **named)
        return type(found)(
            lower=found.lower / 2, upper=found.upper / 2, method=found.method
        )

    assert health._accountant().state is State.OK
    monkeypatch.setattr(health.accounting, "epsilon", half)
    assert health._accountant().state is State.BROKEN


@pytest.mark.parametrize("width", [60, 80, 104, 140])
def test_no_finding_is_cut_at_any_width(width, cli, run_folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(health, "source_digest", lambda: "a" * 64)
    monkeypatch.setattr(health, "machine", lambda: iter(()))
    _, found, _ = looked(cli, "--quick")
    _, text, _ = cli("doctor", "--key", "k.key", "--quick")
    said = " ".join(text.split())
    for one in found:
        assert " ".join(one["text"].split()) in said


def test_a_run_that_was_named_and_is_not_there_is_broken(cli, tmp_path, monkeypatch):
    """A path with a slip in it must not pass for a run in good order."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("doctor", "--quick", "--key", "k.key", "runs/typo", "--json")
    about = {f["name"]: f["state"] for f in json.loads(out)["findings"]}
    assert code != 0
    assert about["runs/typo"] == "broken"
