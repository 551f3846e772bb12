"""`privplan pretrain`, and plans that begin from what it wrote."""

import json

import numpy as np
import pytest

from cli.free_sources import Program
from diffusion.synthetic import KINDS


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "letters.npz"
    generator = np.random.default_rng(0)
    np.savez(
        path,
        train_images=generator.integers(0, 256, (30, 9, 9), dtype=np.uint8),
        train_labels=np.arange(30) % 10,
        classes=np.asarray(10),
    )
    return path


@pytest.fixture
def small(letters):
    return ["--image-size", "8", "--steps", "1", "--batch-size", "4", "--public",
            letters, "--declared-by", "the data office"]  # fmt: skip


def test_a_checkpoint_is_written_planned_from_and_shown(cli, small, tmp_path):
    out = tmp_path / "pre"
    code, said, _ = cli("pretrain", *small, "--generator", "strokes", "--network",
                        "attention=4", "--out", out, "--json")  # fmt: skip
    assert code == 0
    written = json.loads(said)
    kinds = [phase["kind"] for phase in written["phases"]]
    assert kinds == ["synthetic", "public"]
    begin = ["plan", "--eps", "2", "--steps", "3", "--from", out]
    path = tmp_path / "plan.json"
    code, said, _ = cli(*begin, "--tune", "lora:2", "--out", path, "--json")
    assert code == 0
    plan = json.loads(said)
    first, private = plan["phases"]
    assert (first["name"], first["epsilon_alone"]) == ("pretrained", 0)
    assert first["what"] == (
        "weights trained on images drawn by 'strokes' and public images letters.npz"
    )
    assert plan["training"]["tune"] == "lora:2@attention"
    assert plan["trained_parameters"] < 2000
    kept = json.loads(path.read_text())
    assert kept["phases"][0]["checkpoint_digest"] == written["digest"]
    assert private["epsilon_alone"] > 0
    code, shown, _ = cli(*begin, "--tune", "film", "--out", path)
    assert code == 0
    assert "tuned" in shown


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [([], 2, "nothing to learn from"),
     (["--public", "letters.npz"], 5, "nobody declares"),
     (["--public", "nowhere.npz", "--declared-by", "me"], 1, "nowhere.npz"),
     (["--generator", "strokes", "--classes", "0"], 2, "--classes"),
     (["--generator", "strokes", "--steps", "0"], 2, "--steps"),
     (["--generator", "strokes", "--batch-size", "0"], 2, "--batch-size"),
     (["--generator", "strokes", "--learning-rate", "nan"], 2, "--learning-rate"),
     (["--generator", "strokes", "--image-size", "-1"], 2, "--image-size"),
     (["--generator", "strokes", "--network", "attention=9"], 2, "side 9"),
     (["--generator", "clouds"], 2, "clouds"),
     (["--generator", "strokes", "--channels", "2"], 2, "--channels"),
     (["--public", "x", "--declared-by", "x" * 201], 2, "--declared-by")],
    ids=lambda x: str(x)[-30:],
)  # fmt: skip
def test_wrong_input_is_refused_and_nothing_is_written(
    refused, tmp_path, monkeypatch, options, code, said
):
    monkeypatch.chdir(tmp_path)
    found, message = refused("pretrain", *options, "--out", "pre")
    assert found == code
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_written_over(refused, small, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    code, message = refused("pretrain", *small, "--out", tmp_path)
    assert code == 5
    assert "exists already" in message


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [(["--from", "nowhere"], 1, "cannot be read"),
     (["--tune", "bias", "--stages", "dpdm"], 2, "learned nothing"),
     (["--tune", "wings", "--pretrain", "synthetic"], 2, "'wings'"),
     (["--tune", "attention", "--pretrain", "synthetic"], 2, "no 'attention'"),
     (["--network", "width=9"], 2, "width 9"),
     (["--learning-rate", "-1"], 2, "--learning-rate")],
    ids=lambda x: str(x)[-30:],
)  # fmt: skip
def test_a_plan_that_tunes_what_is_not_there_is_refused(
    refused, tmp_path, monkeypatch, options, code, said
):
    monkeypatch.chdir(tmp_path)
    found, message = refused("plan", "--eps", "2", *options)
    assert found == code
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_training_asks_for_the_checkpoint_that_the_plan_names(
    cli, refused, small, tmp_path
):
    one, other, plan = (tmp_path / name for name in ("one", "other", "plan.json"))
    assert cli("pretrain", *small, "--out", one)[0] == 0
    assert cli("pretrain", *small, "--out", other)[0] == 0
    assert cli("plan", "--eps", "2", "--steps", "1", "--from", one, "--out", plan,
               "--verify")[0] == 0  # fmt: skip
    run = tmp_path / "run"
    code, _, said = cli("train", plan, "--out", run)
    assert code == 2
    assert "must be named" in said
    code, _, said = cli("train", plan, "--out", run, "--from", other)
    assert code == 5
    assert "not the pretrained checkpoint" in said


def test_every_program_that_draws_images_can_be_pretrained_from():
    """The one that plans use by recipe was missing from the choices."""
    assert {kind.value for kind in Program} == set(KINDS)
