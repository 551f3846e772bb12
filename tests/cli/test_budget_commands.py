"""`privplan budget ...` and `train --register`, from the command line."""

import contextlib
import io
import json
import shutil
import sqlite3

import pytest

from cli.__main__ import main


@pytest.fixture(scope="module")
def job(tmp_path_factory, asked_once):
    """Keys, a plan at epsilon 2, and a register that grants 3."""
    folder = tmp_path_factory.mktemp("budget")
    book = ["--register", folder / "register.sqlite"]
    commands = [
        ["keys", "new", "--role", "officer", "--out", folder / "officer.key"],
        ["keys", "new", "--out", folder / "trainer.key"],
        ["plan", "--eps", "2", "--stages", "--steps", "4", "--sample-rate", "0.1",
         "--noise-multiplicity", "2", "--synthetic-steps", "2",
         "--out", folder / "plan.json"],
        ["budget", "grant", "--data-set", "digits", "--data", "digits", "--eps", "3",
         "--delta", "1e-3", "--unit", "record", "--key", folder / "officer.key", *book],
    ]  # fmt: skip
    for command in commands:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([str(word) for word in command]) == 0, command
    return folder


@pytest.fixture
def folder(job, tmp_path, monkeypatch):
    shutil.copytree(job, tmp_path / "job")
    monkeypatch.chdir(tmp_path / "job")
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "job"


def shown(cli, name="digits"):
    code, out, _ = cli("budget", "show", "--json")
    assert code == 0
    return next(d for d in json.loads(out)["data_sets"] if d["name"] == name)


def test_a_run_is_paid_for_refused_and_reported(folder, cli, refused):
    """The whole way: train, show, refuse the second, report, verify."""
    charged = ("--register", "register.sqlite", "--data-set", "digits")
    assert cli("train", "plan.json", "--out", "run", *charged)[0] == 0
    after = shown(cli)
    assert float(after["taken"]["epsilon"]) == pytest.approx(2, abs=1e-3)
    assert [run["state"] for run in after["runs"]] == ["begun"]

    code, _, err = cli("train", "plan.json", "--out", "run2", *charged)
    assert code == 3
    assert "spent epsilon" in err.splitlines()[-2]
    assert not (folder / "run2" / "ledger.sqlite").exists()
    assert shown(cli) == after

    code, message = refused("train", "run", "--resume")
    assert (code, "none was given" in message) == (5, True)
    assert cli("train", "run", "--resume", *charged)[0] == 0
    assert shown(cli) == after

    assert cli("report", "run", "--key", "trainer.key")[0] == 0
    code, out, _ = cli(
        "verify", "run/report.json", "--register", "register.sqlite", "--json"
    )
    steps = {s["number"]: s for s in json.loads(out)["steps"]}
    assert code == 0
    assert steps["V12"]["outcome"] == "passed"


def test_an_interrupted_run_is_settled_once_and_is_over(
    folder, cli, refused, monkeypatch
):
    from cli.live import LiveView

    monkeypatch.setattr(LiveView, "should_stop", lambda _: True)
    charged = ("--register", "register.sqlite")
    train = ("train", "plan.json", "--out", "run", *charged)
    assert cli(*train, "--refundable")[0] != 0
    code, message = refused(*train[:4], "--refundable")
    assert (code, "--register" in message or "register" in message) == (2, True)
    before = float(shown(cli)["left"]["epsilon"])
    code, out, _ = cli("budget", "settle", "run", "--json")
    assert code == 0
    assert float(json.loads(out)["given_back"]["epsilon"]) > 0
    assert float(shown(cli)["left"]["epsilon"]) > before
    assert refused("budget", "settle", "run")[0] == 5
    code, message = refused("train", "run", "--resume", *charged)
    assert (code, "was settled" in message) == (5, True)


def test_tables_fit_a_terminal_of_80_columns(folder, cli):
    cli("budget", "grant", "--data-set", "a hospital's x-rays of 2025, anonymous",
        "--data", "digits", "--image-size", "4", "--eps", "12.345678",
        "--delta", "1.2345e-07", "--key", "officer.key")  # fmt: skip
    for command in (("show",), ("history",)):
        code, out, _ = cli("budget", *command)
        assert code == 0
        lines = [x for x in out.splitlines() if ":" not in x or len(x) <= 80]
        assert all(len(line) <= 80 for line in lines)
        assert "12.3457" in out or "12.3456" in out


def test_the_head_an_officer_noted_must_still_be_there(folder, cli, refused):
    _, out, _ = cli("budget", "show", "--json")
    head = json.loads(out)["head"]
    assert cli("budget", "show", "--head", f"{head['sequence']}:{head['hash']}")[0] == 0
    assert refused("budget", "show", "--head", f"{head['sequence']}:{'0' * 64}")[0] == 4
    assert refused("budget", "show", "--head", f"99:{head['hash']}")[0] == 4
    for wrong in ("x", "1", ":", "-1:ab", "9" * 40 + ":ab", "²:ab"):
        assert refused("budget", "show", "--head", wrong)[0] == 2


GRANT = {
    "--data-set": "digits", "--data": "digits", "--eps": "4", "--delta": "1e-3",
    "--key": "officer.key",
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--eps", "0", 2),
        ("--eps", "nan", 2),
        ("--eps", "inf", 2),
        ("--delta", "1", 2),
        ("--delta", "nan", 2),
        ("--max-records", "0", 2),
        ("--expires", "soon", 2),
        ("--adjacency", "close", 2),
        ("--composition", "zcdp", 2),
        ("--order", "8", 2),
        ("--key", "trainer.key", 5),
        ("--key", "nothing.key", 1),
        ("--key", "officer.pub", 1),
        ("--data", "nowhere", 1),
        ("--data-set", "", 2),
        ("--data-set", "x" * 201, 2),
        ("--data-set", "two\nlines", 2),
        ("--unit", "", 2),
        ("--data-set", "other", 5),
        ("--eps", "4", 5),
    ],
)
def test_bad_input_is_refused_in_two_lines_and_alters_no_register(
    folder, cli, option, value, code
):
    before = (folder / "register.sqlite").read_bytes()
    options = GRANT | {option: value}
    found, out, err = cli(
        "budget", "grant", *(word for pair in options.items() for word in pair)
    )
    assert found == code, err
    assert out == ""
    assert err.splitlines()[-2].startswith("error ")
    assert err.splitlines()[-1].startswith("  To fix: ")
    assert "Traceback" not in err
    assert (folder / "register.sqlite").read_bytes() == before


@pytest.mark.parametrize(("option", "value"), [("--eps", "nan"), ("--data", "nowhere")])
def test_a_grant_that_is_refused_begins_no_register(folder, cli, option, value):
    options = GRANT | {option: value, "--register": "new.sqlite"}
    code, _, _ = cli(
        "budget", "grant", *(word for pair in options.items() for word in pair)
    )
    assert code != 0
    assert not (folder / "new.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("budget", "show", "--register", "none.sqlite"), 1),
        (("budget", "show", "--register", "plan.json"), 1),
        (("budget", "show", "people"), 5),
        (("budget", "history", "--last", "0"), 2),
        (("budget", "settle", "nowhere"), 1),
        (("train", "plan.json", "--register", "none.sqlite", "--out", "x"), 1),
        (("train", "plan.json", "--data-set", "digits", "--out", "x"), 2),
    ],
)
def test_what_is_not_there_is_said_in_two_lines(folder, refused, arguments, code):
    assert refused(*arguments)[0] == code


def test_a_changed_register_is_refused_everywhere(folder, refused):
    with sqlite3.connect("register.sqlite") as raw:
        raw.execute("DROP TRIGGER entries_no_update")
        raw.execute("UPDATE entries SET body = replace(body, '3', '4')")
    raw.close()
    for command in (
        ("budget", "show"),
        ("budget", "history"),
        ("train", "plan.json", "--register", "register.sqlite", "--out", "x"),
    ):
        assert refused(*command)[0] == 4
