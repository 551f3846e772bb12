"""From a folder of patients' scans to a trained, checked run; and what is refused."""

import json
import stat

import pytest

from privplan import plan as plans
from tests.diffusion import large_sets as sets

UNIT = ("--unit-column", "patient", "--max-records-per-unit", "2")
SMALL = ("--steps", "2", "--sample-rate", "0.5", "--noise-multiplicity", "2")


@pytest.fixture
def scans(tmp_path):
    contents = [sets.png(x) for x in sets.PIXELS.repeat(2, 1).repeat(2, 2)[:, :8, :8]]
    return sets.files(tmp_path / "scans", contents)


def planned(cli, scans, out):
    """A plan for four patients with two scans each."""
    code, _, err = cli(
        "plan", "--eps", "3", "--data", scans, "--image-size", "8", "--classes", "3",
        "--delta", "0.01", *UNIT, *SMALL, "--out", out,
    )  # fmt: skip
    assert code == 0, err
    return plans.read(out)


def test_a_plan_by_patient_counts_patients(cli, tmp_path, scans):
    made = planned(cli, scans, tmp_path / "plan.json")
    assert (made.data.records, made.data.unit_column) == (4, "patient")
    assert (made.budget.unit, made.budget.max_records_per_unit) == ("patient", 2)


@pytest.mark.slow
def test_a_plan_by_patient_is_trained_reported_and_verified(cli, tmp_path, scans):
    """The report names patients as those whom it protects, and with which bound."""
    planned(cli, scans, tmp_path / "plan.json")
    run, key = tmp_path / "run", tmp_path / "trainer.key"
    where = ("--data", scans, "--image-size", "8")
    for command in (
        ("train", tmp_path / "plan.json", *where, "--out", run),
        ("keys", "new", "--out", key),
        ("report", run, "--key", key),
    ):
        code, _, err = cli(*command)
        assert code == 0, err
    code, out, _ = cli("verify", run / "report.json")
    assert code == 0
    assert "VERIFIED" in out
    pages = [path.read_text() for path in run.glob("*.html")]
    assert any("one patient of up to 2 records" in page for page in pages)


def test_an_index_is_made_and_says_that_it_is_private(cli, tmp_path):
    source, out = sets.tar(tmp_path / "set"), tmp_path / "own.privplan-index"
    code, printed, _ = cli("index", source, "--out", out, "--json")
    assert (code, json.loads(printed)) == (0, {"path": str(out)})
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    code, _, talk = cli("index", source)
    assert code == 0
    assert "private like the data" in talk


def test_an_index_of_what_cannot_be_indexed_is_refused(refused, tmp_path, scans):
    """Each in two lines, with an exit code that a script can tell apart."""
    assert refused("index", tmp_path / "nowhere")[0] == 1
    (tmp_path / "notes.txt").write_text("x")
    assert refused("index", tmp_path / "notes.txt")[0] == 1
    assert refused("index", scans, "--out", tmp_path / "x.json")[0] == 2
    inside = scans / "x.privplan-index"
    code, message = refused("index", scans, "--out", inside)
    assert (code, inside.exists()) == (1, False)
    assert "would lie among the data" in message
    assert refused("index", scans, "--unit-column", "person")[0] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--max-records-per-unit", "2"), "without --unit-column"),
        (("--unit-column", "patient", "--max-records-per-unit", "0"), "max-records"),
        (("--unit-column", "record"), "means one record"),
        (("--unit-column", ""), "unit_column"),
        (UNIT, "no columns"),
    ],
    ids=str,
)
def test_a_unit_that_means_nothing_is_refused(refused, options, expected):
    code, message = refused("plan", "--eps", "1", *options)
    assert code == 2
    assert expected in message


@pytest.mark.parametrize("extra", [("--query", "labels:50"), ("--query", "count:50")])
def test_a_query_over_units_of_several_records_is_refused(refused, tmp_path, extra):
    """It adds up records, so one patient would weigh more than the plan charges."""
    code, message = refused(
        "plan", "--eps", "4", "--n", "5000", *UNIT, *SMALL, *extra,
        "--out", tmp_path / "plan.json",
    )  # fmt: skip
    assert code == 5
    assert "is charged for one" in message


def test_training_on_data_grouped_otherwise_is_refused(tmp_path, scans, cli, refused):
    """Else records would be sampled one by one under a claim about patients."""
    from diffusion.data import load_private
    from diffusion.data_checks import check_data
    from privplan.errors import PolicyError

    plan = tmp_path / "plan.json"
    made = planned(cli, scans, plan)
    ungrouped = load_private(str(scans), image_size=8, classes=3)
    with pytest.raises(PolicyError, match="not grouped into the units"):
        check_data(made, ungrouped)
    # the file without its column: a refusal, not a run by record
    table = scans / "labels.csv"
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    (path,) = tmp_path.glob(".scans.*.privplan-index")
    path.unlink()
    code, message = refused("train", plan, "--data", scans, "--out", tmp_path / "run")
    assert code == 1
    assert "no column 'patient'" in message
