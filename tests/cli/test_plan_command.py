import json

import pytest

from privplan import plan as plans

BAD = [
    (["--eps", "0"], 2, "target_epsilon) is 0.0"),
    (["--eps", "-1"], 2, "target_epsilon) is -1.0"),
    (["--eps", "nan"], 2, "target_epsilon) is nan"),
    (["--eps", "inf"], 2, "target_epsilon) is inf"),
    (["--eps", "one"], 2, "must be a number"),
    ([], 2, "--eps"),
    (["--eps", "1", "--delta", "1"], 2, "target_delta) is 1.0"),
    (["--eps", "1", "--delta", "2"], 2, "target_delta) is 2.0"),
    (["--eps", "1", "--delta", "0"], 2, "target_delta) is 0.0"),
    (["--eps", "1", "--delta", "nan"], 2, "target_delta) is nan"),
    (["--eps", "1", "--delta", "0.01"], 2, "below 1/n"),
    (["--eps", "1", "--sample-rate", "1.5"], 2, "--sample-rate is 1.5"),
    (["--eps", "1", "--sample-rate", "0"], 2, "--sample-rate is 0.0"),
    (["--eps", "1", "--sample-rate", "nan"], 2, "--sample-rate is nan"),
    (["--eps", "1", "--steps", "0"], 2, "--steps is 0"),
    (["--eps", "1", "--steps", "-5"], 2, "--steps is -5"),
    (["--eps", "1", "--steps", "1.5"], 2, "must be a whole number"),
    (["--eps", "1", "--n", "0"], 2, "records) is 0"),
    (["--eps", "1", "--n", "1"], 2, "n is 1"),
    (["--eps", "1", "--n", "10", "--data", "digits"], 2, "both given"),
    (["--eps", "1", "--data", "no/such/folder"], 1, "no/such/folder"),
    (["--eps", "1", "--stages", "context=private,context=private"], 2, "twice"),
    (["--eps", "1", "--stages", "blur=private"], 2, "'blur' is unknown"),
    (
        ["--eps", "1", "--stages", "coarse=synthetic@0.1,context=private,"
         "cleaning=synthetic@2"],
        2,
        "overlap",
    ),
    (["--eps", "1", "--noise-multiplicity", "0"], 2, "--noise-multiplicity is 0"),
    (["--eps", "1", "--mixture", "1,6@2"], 2, "is no mixture"),
    (["--eps", "1", "--mixture", "1,6,nan@0.1,2"], 2, "is no mixture"),
    (["--eps", "1", "--mixture", "1,6,1@0.001,2"], 2, "do not rise"),
    (["--eps", "1", "--shift", "-1"], 2, "--shift is -1"),
    (["--eps", "1", "--share", "gated"], 2, "keeps public stages apart"),
    (["--eps", "1", "--stages", "dpdm", "--share", "mixture"], 2,
     "needs synthetic images"),
    (["--eps", "1", "--stages", "--share", "mixture", "--clipping", "adaptive"], 2,
     "has a fixed C"),
    (["--eps", "1", "--stages", "coarse=public,context=private"], 2, "none are named"),
    (["--eps", "1", "--query", "labels"], 2, "labels"),
    (["--eps", "1", "--query", "labels:nan"], 2, "labels:nan"),
    (["--eps", "1", "--query", "faces:3"], 2, "faces"),
    (["--eps", "1", "--spent", "0.5"], 2, "does not say what was spent"),
    (["--eps", "1", "--spent", "nan,0"], 2, "spent_epsilon) is nan"),
    (["--eps", "1", "--spent", "1.5,0"], 3, "nothing is left"),
    (["--eps", "1", "--compute", "10"], 2, "is no duration"),
    (["--eps", "1", "--compute", "10m", "--draws", "5"], 2, "both given"),
    (["--eps", "1", "--draws", "-5"], 2, "--draws is -5"),
    (["--eps", "1", "--prior-noise", "0", "--stages", "best"], 2, "--prior-noise is 0"),
    (["--eps", "1", "--stages", "dpdm", "--prior-noise", "5"], 2,
     "--prior-noise has nothing to act on"),
    (["--eps", "1", "--stages", "dpdm", "--synthetic-steps", "5"], 2,
     "--synthetic-steps has nothing"),
    (["--eps", "1", "--synthetic-weight", "2"], 2, "--synthetic-weight has nothing"),
    (["--eps", "1", "--stages", "--pretrain", "none"], 2, "--pretrain none has"),
    (["--eps", "1", "--draws", "1e5", "--steps", "9", "--sample-rate", "0.1",
      "--noise-multiplicity", "2"], 2, "has nothing to choose"),
    (["--eps", "1", "--public", "digits"], 5, "names the private images themselves"),
    (["--eps", "1", "--stages", "bset"], 2, "--stages has 'bset'"),
    (["--eps", "0.1", "--stages", "best", "--prior-noise", "1"], 3, "gaussian alone"),
    (["--eps", "1", "--out", "no/such/folder/plan.json"], 1, "cannot be written"),
    (["--eps", "1", "--colour", "red"], 2, "--colour"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "code", "says"), BAD, ids=lambda x: str(x)[:40])
def test_a_bad_plan_option_is_refused_in_two_lines_and_writes_nothing(
    options, code, says, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found, message = refused("plan", *options)
    assert found == code
    assert says in message
    assert list(tmp_path.iterdir()) == []


def test_plan_with_stages_alone_prints_a_table_and_writes_a_plan(
    cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("plan", "--eps", "1", "--stages")
    made = plans.read(tmp_path / "plan.json")
    assert code == 0
    for word in ("coarse", "context", "cleaning", "synthetic", "private", "whole plan"):
        assert word in out
    for word in ("noise multiplier", "sample rate", "steps", "delta", "add-or-remove"):
        assert word in out
    assert "No second opinion yet" in out
    assert f"{made.private_phases[0].mechanism.noise_multiplier:g}" in out
    assert made.accounting.epsilon_upper <= 1


def test_plan_asks_the_other_accountants_when_told_to(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("plan", "--eps", "1", "--stages", "--verify")
    assert code == 0
    assert "dp-accounting" in out
    assert "prv-accountant" in out
    assert len(plans.read(tmp_path / "plan.json").accounting.second_opinions) == 2


def test_stages_that_read_no_record_cost_exactly_nothing(cli, tmp_path):
    _, out, _ = cli(
        "plan", "--eps", "1", "--stages", "--out", tmp_path / "p.json", "--json"
    )
    found = json.loads(out)
    costs = {stage["name"]: stage["epsilon"] for stage in found["stages"]}
    assert costs["coarse"] == costs["cleaning"] == 0
    assert 0.99 < costs["context"] <= 1
    assert costs["context"] == pytest.approx(found["epsilon"]["upper"], rel=1e-12)


def test_an_allocation_without_private_stages_costs_nothing_at_all(cli, tmp_path):
    drawn = "coarse=synthetic,context=synthetic,cleaning=synthetic"
    code, out, _ = cli(
        "plan", "--eps", "1", "--stages", drawn, "--out", tmp_path / "p.json", "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert found["epsilon"]["upper"] == 0
    assert found["noise_multiplier"] is None


@pytest.mark.parametrize("width", [60, 80, 104, 140])
def test_no_number_of_a_plan_is_cropped_at_any_width(width, cli, tmp_path, monkeypatch):
    """A cropped epsilon is a wrong epsilon."""
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = cli("plan", "--eps", "1", "--stages", "--out", tmp_path / "p.json")
    made = plans.read(tmp_path / "p.json")
    step = made.private_phases[0].mechanism
    assert "…" not in out.split("Data")[1]
    for number in (f"{step.noise_multiplier:g}", f"{step.sample_rate:g}", "1.0000"):
        assert number in out
    assert max(len(line) for line in out.splitlines()) <= max(width, 60)


def test_the_same_request_gives_the_same_plan(cli, tmp_path):
    """A saved plan can be made again and compared by its digest."""
    for name in ("a", "b"):
        cli("plan", "--eps", "2", "--stages", "--out", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_number_written_otherwise_in_a_plan_is_an_edit(cli, refused, tmp_path):
    """'1.12580' for '1.12587' is a changed plan, whatever else it is."""
    path = tmp_path / "plan.json"
    cli("plan", "--eps", "1", "--stages", "--out", path)
    noise = plans.read(path).private_phases[0].mechanism.noise_multiplier
    path.write_text(path.read_text().replace(str(noise), str(noise)[:-1] + "0"))
    code, message = refused("train", path, "--out", tmp_path / "run")
    assert code == 4
    assert "changed after it was written" in message


def test_options_that_would_have_no_effect_are_refused(refused, tmp_path):
    out = ("--out", tmp_path / "plan.json")
    assert refused("plan", "--eps", "1", "--classes", "3", *out)[0] == 2
    assert refused("plan", "--eps", "1", "--image-size", "16", *out)[0] == 2


def test_a_declared_shape_is_the_shape_of_the_plan(cli, tmp_path):
    path = tmp_path / "plan.json"
    cli("plan", "--eps", "1", "--n", "60000", "--image-size", "32", "--classes", "7",
        "--out", path)  # fmt: skip
    data = plans.read(path).data
    assert (data.records, data.height, data.width, data.classes) == (60000, 32, 32, 7)


def test_without_stages_the_plan_is_the_best_we_know(cli, tmp_path, monkeypatch):
    """Whoever names nothing should not get the weakest allocation."""
    monkeypatch.chdir(tmp_path)
    found = {}
    for name, more in {
        "open": [],
        "best": ["--stages", "best"],
        "pinned": ["--parameterisation", "v"],
        "dpdm": ["--stages", "dpdm", "--parameterisation", "v"],
    }.items():
        code, _, _ = cli("plan", "--eps", "3", *more, "--out", f"{name}.json")
        assert code == 0
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())["digest"]
    assert found["open"] == found["best"] != found["pinned"] == found["dpdm"]
