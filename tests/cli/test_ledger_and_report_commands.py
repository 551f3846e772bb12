"""`ledger verify|export|anchor`, `report explain`, and what verdicts say plainly."""

import json
import shutil
import subprocess
import sys

import pytest

from cli import actions
from privplan import accounting, keys, ledger, ledger_export
from privplan import plan as plans
from privplan.keys import Role
from privplan.ledger import Allowance, Ledger
from privplan.planner import PlanRequest, Wishes, make_plan

BOUND = {"data_digest": "d" * 64, "code_digest": "c" * 64}
STEPS = 50


def make_run(folder, begun):
    """A run as its documents show it, with a signed report; nothing was trained."""
    folder.mkdir()
    wishes = Wishes(steps=STEPS, sample_rate=0.1, synthetic_steps=3)
    plan = make_plan(PlanRequest(target_epsilon=1.0, stages="", wishes=wishes))
    plans.write(plan, folder / "plan.json")
    allowances = [
        Allowance(phase=p.name, event=p.event, steps=p.steps) for p in plan.phases
    ]
    path = folder / "ledger.sqlite"
    with Ledger.create(
        path, plan_digest=plan.digest, **BOUND, allowances=allowances
    ) as book:
        book.reserve("synthetic", 3)
        book.reserve("private", begun)
    keys.new_key(folder / "own.key", role=Role.TRAINER, passphrase=None)
    signer = keys.load_key(folder / "own.key")
    actions.write_report(plan, folder, signer, folder / "report.json")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    return {
        "finished": make_run(base / "finished", STEPS),
        "half": make_run(base / "half", 7),
    }


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs["finished"], tmp_path / "run")


def resumed(run):
    plan = plans.read(run / "plan.json")
    path = run / "ledger.sqlite"
    return Ledger.resume(path, plan_digest=plan.digest, **BOUND)


def test_a_ledger_is_checked_alone_and_against_the_plan_beside_it(run, cli):
    code, out, err = cli("ledger", "verify", run)
    assert code == 0
    assert "THE LEDGER HOLDS" in out
    assert "no anchor was given" in out
    assert "--anchor" in err
    _, out, _ = cli("ledger", "verify", run, "--json")
    found = {s["number"]: s["outcome"] for s in json.loads(out)["steps"]}
    assert found == {"L1": "passed", "L2": "passed", "L3": "passed", "L4": "not taken"}


def test_an_export_stands_in_for_the_database_everywhere(run, cli):
    """A stranger without SQLite must get the same answers."""
    assert cli("ledger", "export", run)[0] == 0
    (run / "ledger.sqlite").unlink()
    exported = run / "ledger.jsonl"
    assert cli("ledger", "verify", exported)[0] == 0
    assert '"begun": 50' in cli("ledger", "show", exported, "--json")[1]
    code, out, _ = cli("verify", run, "--ledger", exported, "--json")
    steps = {s["number"]: s for s in json.loads(out)["steps"]}
    assert code == 0
    assert steps["V5"]["outcome"] == steps["V6"]["outcome"] == "passed"
    assert "commitment to the data is not opened" in steps["V5"]["text"]
    exported.write_bytes(exported.read_bytes().replace(b'"count":50', b'"count":49'))
    assert cli("verify", run, "--ledger", exported)[0] == 4


def test_an_anchor_file_finds_a_rollback_and_is_not_overwritten_by_it(
    run, cli, tmp_path, refused
):
    old = (run / "ledger.sqlite").read_bytes()
    with resumed(run) as book:
        book.record_release("checkpoint", "e" * 64)
    kept = tmp_path / "anchor.txt"
    code, line, _ = cli("ledger", "anchor", run, "--out", kept)
    assert code == 0
    assert kept.read_text() == line
    assert cli("ledger", "verify", run, "--anchor", kept)[0] == 0
    (run / "ledger.sqlite").write_bytes(old)
    code, out, _ = cli("ledger", "verify", run, "--anchor", kept)
    assert code == 4
    assert "rolled back" in out
    assert cli("ledger", "verify", run)[0] == 0  # nothing inside the file can tell
    assert refused("ledger", "anchor", run, "--out", kept)[0] == 4
    assert kept.read_text() == line


def test_an_anchor_moves_forward_with_its_ledger(run, cli, tmp_path):
    kept = tmp_path / "anchor.txt"
    assert cli("ledger", "anchor", run, "--out", kept)[0] == 0
    first = kept.read_text()
    with resumed(run) as book:
        book.record_release("checkpoint", "e" * 64)
    assert cli("ledger", "anchor", run, "--out", kept)[0] == 0
    assert kept.read_text() != first


@pytest.mark.parametrize("command", ["verify", "export", "anchor"])
def test_what_is_no_ledger_is_refused(command, refused, tmp_path):
    (tmp_path / "text").write_text("nothing")
    assert refused("ledger", command, tmp_path / "text")[0] == 1
    assert refused("ledger", command, tmp_path)[0] == 1


def test_a_report_about_an_unfinished_run_says_so_in_claim_and_verdict(runs, cli):
    """'VERIFIED' beside a model that does not exist yet would mislead."""
    code, out, _ = cli("verify", runs["half"])
    text = " ".join(out.split())
    assert code == 0
    assert "VERIFIED, of a run that is NOT FINISHED" in text
    assert "7 of 50 steps of phase 'private' had begun" in text
    _, out, _ = cli("verify", runs["half"], "--json")
    assert json.loads(out)["finished"] is False
    _, out, _ = cli("verify", runs["finished"])
    assert "FINISHED" not in out


def test_writing_a_report_of_an_unfinished_run_says_so(runs, cli, tmp_path):
    half = shutil.copytree(runs["half"], tmp_path / "half")
    code, _, err = cli("report", half, "--key", half / "own.key")
    assert code == 0
    assert "not finished" in err


def test_what_was_not_shown_is_said_in_words(run, cli):
    (run / "ledger.sqlite").unlink()
    (run / "plan.json").unlink()
    code, out, err = cli("verify", run)
    assert code == 0
    assert "could not be taken" in out
    assert "saw; no ledger at ledger.sqlite" in err
    assert err.count("Not shown") == 4


def test_the_wrong_key_is_called_the_wrong_key(run, cli, tmp_path):
    keys.new_key(tmp_path / "other.key", role=Role.TRAINER, passphrase=None)
    code, out, _ = cli("verify", run, "--key", tmp_path / "other.pub")
    assert code == 4
    assert "not signed by the key you trust" in " ".join(out.split())


@pytest.fixture
def explained(run, cli, tmp_path):
    folder = tmp_path / "explained"
    code, out, err = cli(
        "report", "explain", run, "--out", folder, "--key", run / "own.pub", "--json"
    )
    assert (code, err) == (0, "")
    return folder, json.loads(out)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_printed_openssl_lines_check_the_signature(explained):
    """A second opinion that only our own code can give is none."""
    folder, said = explained
    verify, fingerprint = said["openssl"]

    def shell(line):
        return subprocess.run(  # noqa: S602 - the line as a user would paste it
            line,
            shell=True,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )

    done = shell(verify)
    assert done.returncode == 0, done.stderr
    assert said["keyid"] in shell(fingerprint).stdout
    content = bytearray((folder / "report.pae").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "report.pae").write_bytes(content)
    assert shell(verify).returncode != 0


def test_the_printed_script_recomputes_epsilon_without_our_code(explained):
    """It must agree with an honest claim, refuse a false one, and not import us."""
    folder, said = explained
    script = (folder / "recompute.py").read_text()
    assert "privplan" not in script
    assert len(script.splitlines()) <= 22

    def recompute():
        return subprocess.run(
            [sys.executable, "-I", *said["recompute"].split()[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )

    done = recompute()
    assert done.returncode == 0, done.stderr
    path = folder / "statement.json"
    statement = json.loads(path.read_text())
    statement["predicate"]["claim"]["epsilon"]["upper"] = "0.5"
    path.write_text(json.dumps(statement))
    assert recompute().returncode == 1


def test_an_explanation_is_printed_for_people_too(run, cli, tmp_path):
    code, out, err = cli("report", "explain", run / "report.json")
    assert code == 0
    assert "openssl pkeyutl -verify" in out
    assert "predicate.claim.epsilon" in out
    assert "found beside the report" in err
    assert (run / "explained" / "report.pae").exists()
    keys.new_key(tmp_path / "other.key", role=Role.TRAINER, passphrase=None)
    wrong = cli("report", "explain", run, "--key", tmp_path / "other.pub")
    assert wrong[0] == 4


def test_the_pae_of_an_explanation_holds_the_statement(explained):
    folder, _ = explained
    message = (folder / "report.pae").read_bytes()
    assert message.endswith((folder / "statement.json").read_bytes())
    assert message.startswith(b"DSSEv1 28 application/vnd.in-toto+json ")


def test_every_shown_entry_of_the_ledger_is_that_of_the_file(run, cli):
    _, out, _ = cli("ledger", "show", run, "--json")
    assert (
        json.loads(out)["head"]["hash"] == ledger.read(run / "ledger.sqlite").head.hash
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plan", "--eps", "-1"), "--eps (target_epsilon)"),
        (("plan", "--eps", "1", "--n", "0"), "--n (records)"),
        (("ledger", "show", "--last", "0"), "--last is 0"),
    ],
)
def test_a_refusal_names_the_option_that_was_typed(refused, words, says):
    """Nobody who typed --eps has seen the word target_epsilon."""
    assert says in refused(*words)[1]


def test_a_report_that_failed_is_not_called_unedited(run, cli):
    """The note about the key must not comfort whoever holds an edited report."""
    report = run / "report.json"
    assert "nothing was edited" in " ".join(cli("verify", run)[2].split())
    said = json.loads(report.read_text())
    said["payload"] = ("B" if said["payload"][0] != "B" else "C") + said["payload"][1:]
    report.write_text(json.dumps(said))
    code, out, err = cli("verify", run)
    assert code == 4
    assert "NOT VERIFIED" in out
    assert "nothing was edited" not in " ".join(err.split())
    assert "Give --key" in err


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\x00", b'{"payload": "aa'])
def test_what_is_no_report_is_called_so_before_a_key_is_asked_for(
    content, refused, tmp_path
):
    (tmp_path / "report.json").write_bytes(content)
    code, message = refused("verify", tmp_path / "report.json")
    assert code == 1
    assert "report.json is not a report" in message


def test_a_report_without_a_key_beside_it_asks_for_one(run, refused, tmp_path):
    alone = tmp_path / "alone.json"
    shutil.copy(run / "report.json", alone)
    assert "no key to check alone.json with" in refused("verify", alone)[1]


def test_a_ledger_that_was_named_must_be_there(run, refused, tmp_path):
    """One that is not beside the report is 'not taken'; one that was named is asked."""
    code, message = refused("verify", run, "--ledger", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere" in message


def test_of_several_files_the_one_that_is_no_plan_is_named(run, refused, tmp_path):
    (tmp_path / "cut.json").write_text((run / "plan.json").read_text()[:400])
    code, message = refused("plan", "compare", run / "plan.json", tmp_path / "cut.json")
    assert code == 1
    assert "cut.json: this is not a plan" in message


def test_a_ledger_shows_what_its_steps_cost(runs, run, cli):
    """Who was interrupted asks what is spent; steps alone do not say it."""
    code, out, _ = cli("ledger", "show", runs["half"], "--json")
    half = float(json.loads(out)["epsilon"])
    whole = float(json.loads(cli("ledger", "show", run, "--json")[1])["epsilon"])
    content = ledger_export.read(runs["half"] / "ledger.sqlite")
    made = plans.read(run / "plan.json")
    counted = accounting.epsilon(
        content.spent_event(), delta=made.budget.target_delta
    ).upper
    assert code == 0
    assert 0 < counted <= half < whole <= made.budget.target_epsilon
    assert "costs epsilon" in cli("ledger", "show", run)[1]


def test_a_ledger_without_its_plan_says_no_cost(run, cli):
    """Epsilon needs a delta, and the ledger has none."""
    (run / "plan.json").unlink()
    _, out, _ = cli("ledger", "show", run / "ledger.sqlite", "--json")
    assert json.loads(out)["epsilon"] is None
    assert "costs epsilon" not in cli("ledger", "show", run / "ledger.sqlite")[1]
