"""The commands as a user strings them together, on the embedded digits."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cli.__main__ import main


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A folder in which plan, train, sample, evaluate, keys and report were run."""
    folder = tmp_path_factory.mktemp("job")
    plan = ["plan", "--eps", "3", "--stages", "--steps", "4", "--sample-rate", "0.1",
            "--noise-multiplicity", "2", "--synthetic-steps", "3",
            "--out", folder / "plan.json"]  # fmt: skip
    run = folder / "run"
    commands = [
        plan,
        ["train", folder / "plan.json", "--out", run],
        ["sample", run, "--count", "40", "--steps", "4"],
        ["evaluate", run],
        ["keys", "new", "--out", folder / "trainer.key"],
        ["report", run, "--key", folder / "trainer.key"],
    ]
    for command in commands:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([str(word) for word in command]) == 0, command
    return folder


@pytest.fixture
def copied(job, tmp_path):
    shutil.copytree(job, tmp_path / "job")
    return tmp_path / "job"


def test_the_main_job_ends_in_a_report_that_verifies(job, cli):
    code, out, err = cli("verify", job / "run" / "report.json")
    assert code == 0
    assert "VERIFIED" in out
    assert "not who signed" in err


def test_a_key_given_by_the_user_settles_who_signed(job, cli):
    code, out, err = cli(
        "verify", job / "run" / "report.json", "--key", job / "trainer.pub", "--json"
    )
    assert code == 0
    assert json.loads(out)["verified"]
    assert json.loads(out)["key_given"]
    assert err == ""


def test_the_run_folder_holds_everything_the_job_promises(job):
    names = {
        str(path.relative_to(job / "run"))
        for path in (job / "run").rglob("*")
        if path.is_file()
    }
    assert names == {
        "plan.json",
        "preflight.json",
        "ledger.sqlite",
        "checkpoint/state.safetensors",
        "checkpoint/model.safetensors",
        "samples/samples.npz",
        "samples/samples.png",
        "evaluation.json",
        "report.html",
        "report.json",
        "trainer.pub",
        "progress.jsonl",
    }


def test_the_samples_are_images_with_labels_that_the_loader_reads(job):
    with np.load(job / "run" / "samples" / "samples.npz") as archive:
        assert archive["train_images"].shape == (40, 8, 8, 1)
        assert archive["train_images"].dtype == np.uint8
        assert sorted(set(archive["train_labels"])) == list(range(10))
    with Image.open(job / "run" / "samples" / "samples.png") as picture:
        assert picture.size[0] > 200


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("report.json", "V1"),
        ("plan.json", "V3"),
        ("checkpoint/model.safetensors", "V4"),
        ("checkpoint/state.safetensors", "V4"),
        ("samples/samples.npz", "V4"),
        ("evaluation.json", "V4"),
        ("ledger.sqlite", "V5"),
    ],
)
def test_one_changed_byte_anywhere_ends_in_exit_code_4_and_is_named(
    copied, cli, name, step
):
    path = copied / "run" / name
    content = bytearray(path.read_bytes())
    place = content.rindex(b"private") if name == "ledger.sqlite" else len(content) // 2
    if name == "plan.json":
        place = content.rindex(b"0", 0, content.index(b'"digest"'))
    content[place] ^= 1
    path.write_bytes(content)
    code, out, _ = cli("verify", copied / "run" / "report.json", "--json")
    failed = [s for s in json.loads(out)["steps"] if s["outcome"] == "failed"]
    assert code == 4
    assert step in [s["number"] for s in failed]
    if step == "V4":
        assert any(name in s["text"] for s in failed)


def test_evaluation_against_private_images_is_shown_and_kept_nowhere(copied, cli):
    kept = (copied / "run" / "evaluation.json").read_bytes()
    test = copied / "held-out.npz"
    rng = np.random.default_rng(0)
    np.savez(
        test,
        train_images=rng.integers(0, 255, (30, 8, 8), dtype=np.uint8),
        train_labels=np.arange(30) % 10,
        test_images=rng.integers(0, 255, (30, 8, 8), dtype=np.uint8),
        test_labels=np.arange(30) % 10,
    )
    code, out, _ = cli("evaluate", copied / "run", "--data", test)
    assert code == 0
    assert "LOCAL" in out
    assert (copied / "run" / "evaluation.json").read_bytes() == kept


def test_the_ledger_can_be_shown_and_counts_every_step(job, cli):
    code, out, _ = cli("ledger", "show", job / "run", "--json")
    phases = {p["phase"]: p for p in json.loads(out)["phases"]}
    assert code == 0
    assert phases["private"]["begun"] == phases["private"]["allowed"] == 4
    code, out, _ = cli("ledger", "show", job / "run")
    assert "chain whole" in out


def test_training_into_a_finished_run_is_refused(job, refused):
    assert refused("train", job / "plan.json", "--out", job / "run")[0] == 5


def test_a_finished_run_has_nothing_left_to_resume_but_stays_whole(copied, cli):
    code, _, _ = cli("train", copied / "run", "--resume")
    assert code == 0
    assert cli("verify", copied / "run" / "report.json")[0] == 0


def test_a_plan_edited_by_hand_is_refused_and_nothing_is_written(copied, refused):
    path = copied / "plan.json"
    path.write_text(path.read_text().replace('"steps": 4', '"steps": 400'))
    code, message = refused("train", path, "--out", copied / "other")
    assert code == 4
    assert "changed after it was written" in message
    assert not (copied / "other").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.npz", b""),
        ("text.npz", b"not an archive"),
        ("cut.npz", b"PK\x03\x04 and then nothing"),
        ("picture.png", b"\x89PNG but no more"),
    ],
)
def test_data_that_are_no_images_are_refused_and_nothing_is_written(
    job, refused, tmp_path, name, content
):
    path = tmp_path / name
    path.write_bytes(content)
    for command in (
        ["train", job / "plan.json", "--out", tmp_path / "run"],
        ["plan", "--eps", "1", "--out", tmp_path / "plan.json"],
    ):
        assert refused(*command, "--data", path)[0] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_data_with_another_number_of_records_are_refused(job, refused, tmp_path):
    path = tmp_path / "few.npz"
    np.savez(
        path,
        train_images=np.zeros((30, 8, 8), dtype=np.uint8),
        train_labels=np.zeros(30, dtype=np.int64),
    )
    code, message = refused(
        "train", job / "plan.json", "--data", path, "--out", tmp_path / "run"
    )
    assert code == 5
    assert "n = 1,437" in message
    assert "30" not in message
    assert not (tmp_path / "run").exists()


def test_an_unwritable_folder_is_refused(job, refused, tmp_path):
    (tmp_path / "file").write_text("x")
    assert (
        refused("train", job / "plan.json", "--out", tmp_path / "file" / "run")[0] == 1
    )


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "report"])
def test_a_command_without_its_run_or_plan_says_what_to_do(
    command, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, message = refused(command)
    assert code == 1
    assert "plan.json" in message
    assert list(tmp_path.iterdir()) == []


def test_a_report_needs_a_key_and_says_how_to_make_one(job, refused, tmp_path):
    code, message = refused("report", job / "run", "--key", tmp_path / "none.key")
    assert code == 1
    assert "no signing key" in message


def test_sampling_the_same_seed_gives_the_same_images(copied, cli):
    made = []
    for _ in range(2):
        cli("sample", copied / "run", "--count", "10", "--steps", "3", "--seed", "1")
        made.append((copied / "run" / "samples" / "samples.png").read_bytes())
    assert made[0] == made[1]


def test_labels_that_are_asked_for_take_turns(copied, cli):
    cli("sample", copied / "run", "--count", "5", "--steps", "2", "--labels", "3,3,7")
    drawn = np.load(copied / "run" / "samples" / "samples.npz")
    assert drawn["train_labels"].tolist() == [3, 3, 7, 3, 3]


def test_a_report_about_earlier_samples_is_named(copied, cli):
    """Its step V4 fails from then on, and who verifies must not be first to know."""
    _, _, said = cli("sample", copied / "run", "--count", "5", "--steps", "2")
    assert "does not know these samples" in " ".join(said.split())
    assert cli("verify", copied / "run" / "report.json")[0] == 4


@pytest.mark.parametrize(
    "wrong",
    [
        ("--count", "0"),
        ("--steps", "0"),
        ("--guidance", "-1"),
        ("--guidance", "nan"),
        ("--labels", "10"),
        ("--labels", "3,"),
        ("--labels", "-1"),
        ("--labels", "\u0663"),
    ],
    ids=" ".join,
)
def test_a_sample_option_that_is_not_allowed_is_refused(job, refused, wrong):
    assert refused("sample", job / "run", *wrong)[0] == 2


def test_sampling_an_unfinished_run_sends_the_user_on_and_not_back(
    copied, refused, cli
):
    """'Start a new run' would spend the budget a second time."""
    (copied / "run" / "checkpoint" / "model.safetensors").unlink()
    _, message = refused("sample", copied / "run")
    assert "not finished" in message
    assert cli("train", copied / "run", "--resume")[0] == 0
    assert cli("sample", copied / "run", "--count", "10", "--steps", "3")[0] == 0


def test_a_verification_without_the_ledger_says_what_it_could_not_do(copied, cli):
    """Deleting a ledger is easier than editing it."""
    (copied / "run" / "ledger.sqlite").unlink()
    code, out, _ = cli("verify", copied / "run" / "report.json")
    assert code == 0
    assert "VERIFIED, but V5, V6 could not be taken" in out
    _, out, _ = cli("verify", copied / "run" / "report.json", "--json")
    assert json.loads(out)["not_taken"] == ["V5", "V6"]


def test_a_public_key_cannot_sign(job, refused):
    code, message = refused("report", job / "run", "--key", job / "trainer.pub")
    assert code == 1
    assert "public key" in message


@pytest.mark.parametrize("size", ["0", "-5"])
def test_a_physical_batch_without_records_is_refused(job, refused, tmp_path, size):
    """A negative size would skip every record, and every step would be noise alone."""
    out = tmp_path / "run"
    code, message = refused(
        "train", job / "plan.json", "--out", out, "--physical-batch", size
    )
    assert code == 2
    assert "physical_batch_size" in message
    assert not out.exists()
