"""Flag > environment > project file > default, and where each value came from."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from privplan import plan as plans

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder, text):
    (folder / "privplan.toml").write_text(text)


def shown(cli):
    _, out, _ = cli("config", "show", "--json")
    return {(s["command"], s["option"]): s for s in json.loads(out)["settings"]}


def steps_of(cli, *arguments):
    code, out, err = cli("plan", *arguments, "--json", "--force")
    assert code == 0, err
    return json.loads(out)["steps"]


def test_each_source_wins_over_the_next(cli, here, monkeypatch):
    assert steps_of(cli, "--eps", "1") == 100
    written(here, "[plan]\neps = 1\nsteps = 11\n")
    assert steps_of(cli) == 11
    monkeypatch.setenv("PRIVPLAN_PLAN_STEPS", "12")
    assert steps_of(cli) == 12
    assert steps_of(cli, "--steps", "13") == 13


def test_config_show_says_where_each_value_came_from(cli, here, monkeypatch):
    written(here, "[plan]\neps = 1.5\nsteps = 11\n[train]\ndevice = 'cpu'\n")
    monkeypatch.setenv("PRIVPLAN_PLAN_STEPS", "12")
    found = shown(cli)
    assert found["plan", "eps"]["source"] == "privplan.toml"
    assert found["plan", "eps"]["value"] == 1.5
    assert found["plan", "steps"]["source"] == "PRIVPLAN_PLAN_STEPS"
    assert found["train", "device"]["source"] == "privplan.toml"
    assert found["plan", "clipping"]["source"] == "default"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[plan]\nepz = 1\n", "'epz' in [plan]"),
        ("[plam]\neps = 1\n", "'plam' in"),
        ("eps = 1\n", "'eps' in"),
        ("[plan]\neps = [1]\n", "is not one value"),
        ("[plan]\nflip = 'yes'\n", "is not true or false"),
        ("[plan]\nsteps = true\n", "is not one value"),
        ("[plan]\nquery = 'labels:5'\n", "is not a list of texts"),
        ("[plan]\nforce = true\n", "'force' in [plan]"),
        ("[train]\nallow-code-change = true\n", "'allow-code-change' in"),
        ("[train]\nresume = true\n", "'resume' in"),
    ],
)
def test_what_means_nothing_in_the_file_is_refused(text, says, refused, here):
    """A misspelt budget would be a forgotten one."""
    written(here, text)
    code, message = refused("plan", "--eps", "1")
    assert code == 2
    assert says in message


def test_a_file_that_is_no_toml_is_refused_where_it_matters(cli, refused, here):
    written(here, "eps = = 1")
    assert refused("plan", "--eps", "1")[0] == 1
    assert refused("config", "show")[0] == 1
    assert cli("explain", "epsilon")[0] == 0


def test_an_unknown_variable_is_refused(refused, here, monkeypatch):
    monkeypatch.setenv("PRIVPLAN_PLAN_STEP", "5")
    code, message = refused("plan", "--eps", "1")
    assert code == 2
    assert "PRIVPLAN_PLAN_STEP" in message


def test_a_bad_value_names_where_it_came_from(cli, here):
    written(here, "[plan]\neps = -1\n")
    code, _, err = cli("plan")
    assert code == 2
    assert "privplan.toml" in err


def test_a_file_elsewhere_can_be_named(cli, refused, here, monkeypatch):
    (here / "other.toml").write_text("[plan]\neps = 1\nsteps = 21\n")
    monkeypatch.setenv("PRIVPLAN_CONFIG", "other.toml")
    assert steps_of(cli) == 21
    monkeypatch.setenv("PRIVPLAN_CONFIG", "nowhere.toml")
    assert refused("plan")[0] == 1


def test_init_writes_a_file_that_changes_nothing(cli, refused, here):
    before = shown(cli)
    assert cli("init")[0] == 0
    assert tomllib.loads((here / "privplan.toml").read_text()) == {
        "plan": {}, "train": {},
    }  # fmt: skip
    assert shown(cli) == before
    assert refused("init")[0] == 5


def test_every_line_init_offers_is_one_the_program_takes(cli, here):
    """An example that is refused teaches nothing."""
    cli("init")
    text = (here / "privplan.toml").read_text()
    names = [name for _, name in shown(cli)]
    lines = [
        line.removeprefix("# ")
        if line.removeprefix("# ").split(" = ")[0] in names
        else line
        for line in text.splitlines()
    ]
    written(here, "\n".join(lines))
    found = shown(cli)
    assert {s["source"] for s in found.values()} == {"privplan.toml"}
    assert len(found) > 40


def test_a_repeated_option_and_a_flag_come_from_the_file(cli, here):
    written(here, "[plan]\neps = 2\nflip = true\nquery = ['labels:50', 'count:90']\n")
    assert cli("plan")[0] == 0
    made = plans.read(here / "plan.json")
    assert [p.name for p in made.phases][:2] == ["labels", "count"]
    assert made.training.flip


def completed(words, tmp_path):
    """Ask for completions as a shell would."""
    environment = os.environ | {
        "_PRIVPLAN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "cli"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.split()


def test_a_shell_can_complete_commands_and_options(tmp_path):
    assert "--what-if" in completed("privplan plan --wh", tmp_path)
    assert "compare" in completed("privplan plan com", tmp_path)


def test_every_example_init_offers_is_of_the_kind_its_option_takes(here, cli):
    """`learning-rate = "learning-rate"` would be refused by whoever uncomments it."""
    cli("init")
    offered = (here / "privplan.toml").read_text().splitlines()
    lines = [x.removeprefix("# ") for x in offered if re.match(r"# [\w-]+ = ", x)]
    values = dict(next(iter(tomllib.loads(line).items())) for line in lines)
    assert len(values) > 30
    assert not [name for name, value in values.items() if name == value]
    numbers = {"eps", "delta", "sample-rate", "learning-rate", "prior-noise", "draws"}
    assert all(isinstance(values[name], float) for name in numbers)
