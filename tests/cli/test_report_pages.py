"""`report render`, the page beside every report, and `verify` of a page."""

import json
import shutil

import pytest

from cli import actions
from privplan import keys, signing
from privplan import plan as plans
from privplan.keys import Role
from tests.privplan.signed_reports import key_in, plan_of, predicate_of


@pytest.fixture(scope="module")
def written(tmp_path_factory, asked_once):
    """A run as its documents show it, with a report and its page."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    folder.mkdir()
    plan = plan_of()
    plans.write(plan, folder / "plan.json")
    predicate_of(folder, plan)
    signer = key_in(folder)
    actions.write_report(plan, folder, signer, folder / "report.json")
    return folder


@pytest.fixture
def run(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def steps(out):
    return {s["number"]: s for s in json.loads(out)["steps"]}


def test_a_page_verifies_as_the_report_does_and_is_compared(run, cli, asked_once):
    """A page that is not compared would be believed for the signature inside it."""
    code, out, err = cli("verify", run / "report.html", "--json")
    assert (code, err) == (0, "")
    found = steps(out)
    assert found.pop("P1")["outcome"] == "passed"
    _, out, _ = cli("verify", run / "report.json", "--json")
    assert found == steps(out)


def test_a_page_whose_number_was_edited_ends_in_exit_code_4(run, cli, asked_once):
    page = run / "report.html"
    page.write_text(page.read_text().replace("<dd>1.0000</dd>", "<dd>0.1000</dd>"))
    code, out, _ = cli("verify", page, "--json")
    found = steps(out)
    assert code == 4
    assert [n for n, s in found.items() if s["outcome"] == "failed"] == ["P1"]
    assert "0.1000" in found["P1"]["text"]
    code, out, _ = cli("verify", page)
    assert code == 4
    assert "NOT VERIFIED" in out


def test_a_page_whose_signed_report_was_edited_ends_in_exit_code_4(run, cli):
    page = run / "report.html"
    text = page.read_text()
    place = text.index('"payload": "') + 400
    other = "A" if text[place] != "A" else "B"
    page.write_text(text[:place] + other + text[place + 1 :])
    code, out, _ = cli("verify", page)
    assert code == 4
    assert "no sound report to compare" in " ".join(out.split())


def test_a_page_of_another_report_does_not_pass_under_its_name(run, cli, asked_once):
    """Numbers of one page around the signed report of another."""
    page = run / "report.html"
    text = page.read_text()
    actions.write_report(
        plans.read(run / "plan.json"), run, key_in(run), run / "report.json"
    )
    fresh = page.read_text()
    start, end = text.index("<script"), text.index("</script>")
    other = fresh[fresh.index("<script") : fresh.index("</script>")]
    page.write_text(text[:start] + other + text[end:])
    code, out, _ = cli("verify", page, "--json")
    assert code == 4
    assert steps(out)["P1"]["outcome"] == "failed"


def test_a_page_without_its_report_is_refused(run, refused):
    page = run / "report.html"
    text = page.read_text()
    page.write_text(text[: text.index("<script")] + "</body></html>")
    code, message = refused("verify", page)
    assert code == 1
    assert "no signed report" in message


@pytest.mark.parametrize(
    ("form", "name", "says"),
    [
        ("html", "report.html", "<!DOCTYPE html>"),
        ("md", "report.md", "# Privacy claim"),
        ("model-card", "MODEL_CARD.md", "differential_privacy:"),
        ("data-card", "DATA_CARD.md", "differential_privacy:"),
    ],
)
def test_each_format_is_made_beside_the_report_from_report_or_page(
    run, cli, form, name, says
):
    made = []
    for report in ("report.json", "report.html"):
        code, out, err = cli("report", "render", run / report, "--format", form)
        assert (code, out) == (0, "")
        assert "no signature was checked" in err
        made.append((run / name).read_text())
    assert says in made[0]
    assert made[0] == made[1]


def test_a_release_is_written_beside_and_verifies(run, cli, asked_once):
    code, out, _ = cli("report", "render", run, "--release", "--json")
    assert code == 0
    assert json.loads(out) == {
        "path": str(run / "release.html"),
        "format": "html",
        "release": True,
    }
    assert cli("verify", run / "release.html")[0] == 0


def test_a_release_of_a_private_measurement_is_refused_and_nothing_written(
    run, refused
):
    opened = signing.open_envelope(
        (run / "report.json").read_bytes(), trusted=[key_in(run).public]
    )
    statement = opened.statement
    statement["predicate"]["utility"] = [
        {"name": "fid", "value": "0.9371", "data": "private test set"}
    ]
    (run / "report.json").write_bytes(signing.sign(statement, key_in(run)))
    code, message = refused("report", "render", run, "--release")
    assert code == 5
    assert "fid" in message
    assert "0.9371" not in message
    assert not (run / "release.html").exists()


def test_local_scores_go_into_a_page_of_their_own_and_no_other(run, cli, refused):
    kept = run / "local.json"
    kept.write_text(json.dumps({"kind": "local", "scores": {"fid_to_real": 17.25}}))
    code, _, _ = cli("report", "render", run, "--local", kept)
    assert code == 0
    assert "17.25" in (run / "internal.html").read_text()
    assert "17.25" not in (run / "report.html").read_text()
    for more in (("--release",), ("--format", "md"), ("--format", "model-card")):
        assert refused("report", "render", run, "--local", kept, *more)[0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '{"kind": "public", "scores": {"a": 1}}',
        '{"kind": "local", "scores": {"a": "x"}}',
        '{"kind": "local", "scores": {"a": NaN}}',
        '{"kind": "local", "scores": {"a": null}}',
    ],
)
def test_what_is_no_list_of_local_scores_is_refused(run, refused, text):
    kept = run / "local.json"
    kept.write_text(text)
    assert refused("report", "render", run, "--local", kept)[0] == 1
    assert refused("report", "render", run, "--local", run / "none.json")[0] == 1
    assert not (run / "internal.html").exists()


@pytest.mark.parametrize("text", ["", "{}", "<!DOCTYPE html>", "<html>", "\x00\xff"])
def test_what_is_no_report_is_refused(refused, tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    assert refused("report", "render", tmp_path)[0] == 1
    assert refused("report", "render", tmp_path / "none.json")[0] == 1


def test_a_counter_signature_is_on_the_page_too(run, cli, asked_once):
    """An officer who signs the report would find a page without that signature."""
    keys.new_key(run / "officer.key", role=Role.OFFICER, passphrase=None)
    before = (run / "report.html").read_text()
    code, _, _ = cli("countersign", run, "--key", run / "officer.key")
    assert code == 0
    after = (run / "report.html").read_text()
    keyid = keys.load_public(run / "officer.pub").keyid
    assert keyid not in before
    assert keyid in after
    assert cli("verify", run / "report.html", "--key", run / "officer.pub")[0] == 0


def test_a_page_can_be_taken_apart_as_a_report_can(run, cli):
    code, _, _ = cli("report", "explain", run / "report.html")
    assert code == 0
    assert (run / "explained" / "recompute.py").exists()


def test_writing_a_report_names_its_page(run, cli, asked_once):
    code, out, _ = cli("report", run, "--key", run / "own.key", "--json")
    assert code == 0
    assert json.loads(out)["page"] == str(run / "report.html")
    _, _, err = cli("report", run, "--key", run / "own.key")
    assert f"To read, print and decide on: {run / 'report.html'}" in err
