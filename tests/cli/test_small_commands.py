import json

import pytest

from cli import paper
from privplan import plan as plans
from privplan.keys import load_key
from privplan.planner import PlanRequest, make_plan


@pytest.mark.parametrize(
    "wrong",
    [
        ("--noise-multiplier", "0"),
        ("--noise-multiplier", "nan"),
        ("--noise-multiplier", "-1"),
        ("--sample-rate", "1.1"),
        ("--sample-rate", "nan"),
        ("--steps", "0"),
        ("--delta", "1"),
        ("--delta", "0"),
        ("--delta", "nan"),
        ("--delta", "small"),
    ],
    ids=" ".join,
)
def test_epsilon_of_a_number_that_is_not_allowed_is_refused(wrong, refused):
    options = {
        "--noise-multiplier": "1.0",
        "--sample-rate": "0.1",
        "--steps": "100",
        "--delta": "1e-5",
    }
    options.update([wrong])
    code, _ = refused("epsilon", *(x for pair in options.items() for x in pair))
    assert code == 2


def test_epsilon_prints_a_bracket_that_dp_accounting_agrees_with(cli):
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    code, out, _ = cli(
        "epsilon", "--noise-multiplier", "1.1", "--sample-rate", "0.05",
        "--steps", "500", "--delta", "1e-5", "--json",
    )  # fmt: skip
    found = json.loads(out)["epsilon"]
    peer = PLDAccountant(value_discretization_interval=1e-3)
    event = dp_accounting.PoissonSampledDpEvent(
        0.05, dp_accounting.GaussianDpEvent(1.1)
    )
    peer.compose(event, 500)
    pessimistic = peer.get_epsilon(1e-5)
    assert code == 0
    assert found["lower"] <= found["upper"] <= pessimistic
    # 1e-3 grid over 500 steps: the pessimistic peer is above by under one per cent
    assert found["lower"] == pytest.approx(pessimistic, rel=0.01)


def test_calibrate_finds_noise_that_keeps_the_budget_and_wastes_none(cli):
    options = ("--delta", "1e-5", "--sample-rate", "0.05", "--steps", "500", "--json")
    _, out, _ = cli("calibrate", "--eps", "2", *options)
    noise = json.loads(out)["noise_multiplier"]
    _, out, _ = cli("epsilon", "--noise-multiplier", noise, *options)
    assert json.loads(out)["epsilon"]["upper"] <= 2
    _, out, _ = cli("epsilon", "--noise-multiplier", noise * 0.9999, *options)
    assert json.loads(out)["epsilon"]["lower"] > 2


@pytest.mark.parametrize("command", ["epsilon", "calibrate"])
def test_tables_are_for_people_and_json_is_for_programs(command, cli):
    what = ("--eps", "1") if command == "calibrate" else ("--noise-multiplier", "2")
    options = ("--delta", "1e-5", "--sample-rate", "0.1", "--steps", "10")
    code, out, err = cli(command, *what, *options)
    assert code == 0
    assert "epsilon" in out
    assert err == ""


def test_a_key_is_made_once_and_never_replaced(cli, refused, tmp_path):
    path = tmp_path / "keys" / "trainer.key"
    code, out, _ = cli("keys", "new", "--out", path, "--json")
    first = path.read_bytes()
    assert code == 0
    assert json.loads(out)["keyid"] == load_key(path).public.keyid
    assert path.stat().st_mode & 0o777 == 0o600
    assert refused("keys", "new", "--out", path)[0] == 5
    assert path.read_bytes() == first


def test_a_passphrase_from_a_file_locks_the_key(cli, refused, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("correct horse\nsecond line\n")
    path = tmp_path / "trainer.key"
    cli("keys", "new", "--out", path, "--passphrase-file", secret)
    assert load_key(path, passphrase="correct horse").public.role == "trainer"  # noqa: S106
    secret.write_text("")
    assert (
        "passphrase file"
        in refused(
            "keys", "new", "--out", tmp_path / "b.key", "--passphrase-file", secret
        )[1]
    )


@pytest.mark.parametrize("command", ["frobnicate", "--frobnicate", "ledger frob"])
def test_an_unknown_word_is_refused_in_two_lines(command, refused):
    assert refused(*command.split())[0] == 2


def test_no_command_shows_the_help(cli):
    code, _, err = cli()
    assert code == 2
    assert "Usage: privplan" in err


@pytest.mark.parametrize(
    "command",
    ["", "plan", "train", "sample", "evaluate", "report", "verify", "epsilon",
     "calibrate", "demo", "keys new", "ledger show", "ledger verify",
     "ledger export", "ledger anchor", "report write", "report explain",
     "plan show", "plan compare", "init", "config show", "doctor", "explain"],
)  # fmt: skip
def test_every_command_has_help_that_names_its_exit_codes(command, cli):
    code, out, _ = cli(*command.split(), "--help")
    assert code == 0
    assert "xit code" in out


def test_verify_and_ledger_refuse_what_is_not_there_or_not_theirs(refused, tmp_path):
    assert refused("verify", tmp_path / "none.json")[0] == 1
    text = tmp_path / "text"
    text.write_text("hello\n")
    assert refused("ledger", "show", text)[0] == 1
    assert refused("ledger", "show", tmp_path / "none")[0] == 1
    assert refused("ledger", "show", tmp_path)[0] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("plan", "--eps", "abc"), "--eps is 'abc', but it must be a number"),
        (("plan", "--eps=abc"), "--eps is 'abc', but it must be a number"),
        (("plan", "--n", "2.5"), "--n is '2.5', but it must be a whole number"),
        (
            ("train", "--device", "tpu"),
            "--device is 'tpu', but it must be one of 'cpu', 'cuda'",
        ),
        (
            ("plan", "--eps", "1", "--n", str(10**22)),
            f"--n (records) is {10**22}, but it must be a whole number below 2^53",
        ),
        (("sample", "--count", "0"), "--count is 0, but it must be"),
        (("plan", "--eps", "1", "--steps", "0"), "--steps is 0, but it must be"),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(
    given, said, refused, tmp_path, monkeypatch
):
    """The parser's own words leave out the value, or say 'Input should be'."""
    monkeypatch.chdir(tmp_path)
    if given[0] == "sample":
        plans.write(make_plan(PlanRequest(target_epsilon=1.0)), tmp_path / "plan.json")
        given = ("sample", tmp_path, *given[1:])
    assert said in refused(*given)[1]


def test_one_plan_is_not_compared(refused, tmp_path):
    path = tmp_path / "plan.json"
    plans.write(make_plan(PlanRequest(target_epsilon=1.0)), path)
    assert refused("plan", "compare", path)[0] == 2


def test_talk_keeps_to_the_width_that_is_set_and_leaves_commands_whole(
    cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    code, _, err = cli("keys", "new", "--role", "officer", "--out", "o.key")
    assert code == 0
    assert "Made an officer key" in err
    assert max(map(len, err.splitlines())) <= 60


def test_a_long_sentence_is_folded_and_a_long_command_is_not(capsys, monkeypatch):
    """A command that was folded cannot be copied."""
    monkeypatch.setenv("COLUMNS", "60")
    paper.talk("  " + "word " * 30 + "\nNext: privplan train " + "x y " * 20)
    *folded, command = capsys.readouterr().err.splitlines()
    assert len(folded) == 3
    assert all(line.startswith("  word") and len(line) <= 60 for line in folded)
    assert len(command) > 60
