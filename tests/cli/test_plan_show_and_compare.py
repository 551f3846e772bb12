"""`plan show`, `plan compare`, `--what-if`, and saving where another plan is."""

import json
import re

import pytest

from privplan import plan as plans

BASE = ("plan", "--eps", "1", "--steps", "50", "--sample-rate", "0.2")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two(cli, here):
    cli(*BASE, "--out", "a.json")
    cli("plan", "--eps", "2", "--stages", "--out", "b.json")
    return here


def numbers(text):
    """Every number with a decimal point, as printed."""
    return set(re.findall(r"\d+\.\d+", text))


def test_a_plan_that_is_shown_reads_as_when_it_was_made(cli, here):
    _, made, _ = cli(*BASE)
    code, shown, _ = cli("plan", "show")
    assert code == 0
    assert shown == made


def test_a_run_folder_can_be_shown(cli, two):
    (two / "run").mkdir()
    (two / "a.json").rename(two / "run" / "plan.json")
    code, shown, _ = cli("plan", "show", "run", "--json")
    assert code == 0
    assert json.loads(shown)["epsilon"]["target"] == 1


def test_comparing_prints_the_exact_digits_of_both_plans(cli, two):
    """Two plans that differ in the last digit are two plans."""
    code, out, _ = cli("plan", "compare", "a.json", "b.json")
    assert code == 0
    for name in ("a.json", "b.json"):
        step = plans.read(two / name).private_phases[0].mechanism
        assert repr(step.noise_multiplier) in out
        assert name in out


def test_what_differs_is_marked_and_what_does_not_is_said_once(cli, two):
    _, out, _ = cli("plan", "compare", "a.json", "b.json", "--json")
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert rows["target epsilon"]["differs"]
    assert rows["gaussian: steps"]["values"] == ["1", "-"]
    assert rows["synthetic: steps"]["values"] == ["600", "600"]
    assert not rows["n"]["differs"]
    _, text, _ = cli("plan", "compare", "a.json", "b.json")
    assert "≠ target epsilon" in text
    assert text.count("1,437") == 1


def test_a_plan_does_not_differ_from_itself(cli, two):
    _, out, _ = cli("plan", "compare", "a.json", "a.json")
    assert "≠" not in out
    assert "0 of" in out


@pytest.mark.parametrize("width", [60, 80, 104, 140])
def test_no_comparison_crops_a_number_at_any_width(width, cli, two, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    _, whole, _ = cli("plan", "compare", *["a.json", "b.json"] * 3)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = cli("plan", "compare", *["a.json", "b.json"] * 3)
    assert max(len(line) for line in out.splitlines()) <= width
    assert "…" not in out
    assert numbers(out) == numbers(whole)
    assert all(out.count(n) >= whole.count(n) for n in numbers(whole))


@pytest.mark.parametrize("width", [60, 80, 104, 140])
def test_the_whole_plan_view_keeps_every_number_it_shows(width, cli, two, monkeypatch):
    """A cut number still looks like one: 1.25 for 11.25."""
    monkeypatch.setenv("COLUMNS", "400")
    _, whole, _ = cli("plan", "show", "b.json")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = cli("plan", "show", "b.json")
    assert max(len(line) for line in out.splitlines()) <= width
    assert "…" not in out
    assert "\x1b" not in out
    assert numbers(out) <= numbers(whole)


def test_a_what_if_is_the_plan_it_would_be_and_is_not_written(cli, here):
    code, out, _ = cli(*BASE, "--what-if", "eps=3,steps=70", "--json")
    assert code == 0
    assert list(here.iterdir()) == []
    rows = {row["name"]: row["values"] for row in json.loads(out)["rows"]}
    cli("plan", "--eps", "3", "--steps", "70", "--sample-rate", "0.2")
    made = plans.read(here / "plan.json")
    assert rows["private: noise"][1] == repr(
        made.private_phases[0].mechanism.noise_multiplier
    )
    assert json.loads(out)["plans"][1]["digest"] == made.digest


def test_each_what_if_stands_beside_the_plan_as_asked(cli, here):
    given = ("steps=70", "n=20000", "stages=best", "draws=1e5,noise-multiplicity=2")
    options = [word for text in given for word in ("--what-if", text)]
    code, out, _ = cli("plan", "--eps", "1", *options, "--json")
    assert code == 0
    assert [p["title"] for p in json.loads(out)["plans"]] == ["as asked", *given]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("colour=red", 2, "names nothing that a what-if can change"),
        ("steps", 2, "names nothing"),
        ("steps=", 2, "is no value for steps"),
        ("steps=ten", 2, "is no value for steps"),
        ("steps=5,steps=6", 2, "names steps twice"),
        ("eps=nan", 2, "target_epsilon) is nan"),
        ("eps=-1", 2, "target_epsilon) is -1.0"),
        ("stages=bset", 2, "bset"),
    ],
)
def test_a_what_if_that_means_nothing_is_refused(text, code, says, refused, here):
    found, message = refused(*BASE, "--what-if", text)
    assert found == code
    assert says in message


def test_options_before_a_subcommand_are_not_swallowed(refused, two):
    code, message = refused("plan", "--eps", "3", "show", "a.json")
    assert code == 2
    assert "--eps has no effect before 'show'" in message


def test_planning_twice_is_planning_once(cli, here):
    cli(*BASE)
    before = (here / "plan.json").stat().st_mtime_ns, (here / "plan.json").read_bytes()
    code, _, err = cli(*BASE)
    assert code == 0
    assert "Replaced" not in err
    assert (here / "plan.json").read_bytes() == before[1]


def test_a_plan_that_takes_the_place_of_another_says_so(cli, here):
    cli(*BASE)
    old = plans.read(here / "plan.json")
    _, _, err = cli("plan", "--eps", "2")
    assert f"Replaced the plan {old.digest[:12]} (epsilon 1)" in err
    _, out, _ = cli("plan", "--eps", "3", "--json")
    assert "epsilon 2" in json.loads(out)["replaced"]


@pytest.mark.parametrize("kind", ["run", "approved", "other"])
def test_what_somebody_relies_on_is_replaced_by_force_only(kind, cli, refused, here):
    """An approved plan that is gone takes its approval with it."""
    cli(*BASE)
    old = plans.read(here / "plan.json")
    if kind == "run":
        (here / "runs" / old.digest[:12]).mkdir(parents=True)
    elif kind == "approved":
        (here / "plan.approval.json").write_text("{}")
    else:
        (here / "plan.json").write_text("my thesis")
    before = (here / "plan.json").read_bytes()
    assert refused("plan", "--eps", "2")[0] == 5
    assert (here / "plan.json").read_bytes() == before
    assert cli("plan", "--eps", "2", "--force")[0] == 0
    assert plans.read(here / "plan.json").budget.target_epsilon == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("plan", "--eps", "-1"), 2),
        (("plan", "--colour", "red"), 2),
        (("plan", "--eps", "1", "--spent", "2,0"), 3),
        (("plan", "show", "nowhere.json"), 1),
        (("verify", "nowhere.json"), 1),
    ],
)
def test_with_json_an_error_is_one_object_too(arguments, code, cli, here):
    found, out, err = cli(*arguments, "--json")
    said = json.loads(err)["error"]
    assert (found, out) == (code, "")
    assert said["code"] == code
    assert said["message"]
    assert said["hint"]


def test_times_are_shown_where_they_were_measured(cli, two, monkeypatch):
    from diffusion import plan_speed

    monkeypatch.setattr(plan_speed, "phase_seconds", lambda _: {"private": 600.0})
    _, text, _ = cli("plan", "show", "b.json", "--time")
    assert re.search(r"^ private .* 10 min", text, re.MULTILINE)
    assert re.search(r"^ synthetic .* - ", text, re.MULTILINE)
    _, out, _ = cli("plan", "compare", "a.json", "b.json", "--time", "--json")
    rows = {row["name"]: row["values"] for row in json.loads(out)["rows"]}
    assert rows["private: seconds"] == ["600.0", "600.0"]
