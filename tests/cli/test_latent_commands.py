"""`privplan autoencoder`, `--from-diffusers`, and plans that begin from them."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "scans.npz"
    generator = np.random.default_rng(0)
    np.savez(
        path,
        train_images=generator.integers(0, 256, (30, 16, 16), dtype=np.uint8),
        train_labels=np.arange(30) % 2,
        classes=np.asarray(2),
    )
    return path


def test_an_autoencoder_is_trained_and_planned_with(cli, scans, tmp_path):
    out, path = tmp_path / "ae", tmp_path / "plan.json"
    small = ["--image-size", 16, "--channels", 1, "--width", 8, "--steps", 2]
    code, said, _ = cli("autoencoder", "--public", scans, "--declared-by", "the office",
                        *small, "--out", out, "--json")  # fmt: skip
    assert code == 0
    written = json.loads(said)
    code, _, _ = cli("plan", "--eps", 2, "--data", scans, "--steps", 2, "--autoencoder",
                     out, "--out", path, "--json")  # fmt: skip
    assert code == 0
    plan = json.loads(path.read_text())
    assert (plan["data"]["channels"], plan["data"]["height"]) == (4, 4)
    latent = plan["training"]["latent"]
    assert latent["autoencoder_digest"] == written["digest"]
    assert latent["lineage"][0]["declared_by"] == "the office"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [([], 2, "nothing to learn from"),
     (["--public", "x.npz"], 5, "nobody declares"),
     (["--generator", "strokes", "--factor", "3"], 2, "--factor is 3"),
     (["--generator", "strokes", "--width", "9"], 2, "--width is 9"),
     (["--generator", "strokes", "--image-size", "18"], 2, "--factor is 4"),
     (["--from-diffusers", "nowhere"], 5, "nobody declares"),
     (["--from-diffusers", "nowhere", "--declared-by", "me"], 1, "is no folder")],
    ids=lambda x: str(x)[-30:],
)  # fmt: skip
def test_wrong_input_is_refused_and_nothing_is_written(
    refused, tmp_path, monkeypatch, options, code, said
):
    monkeypatch.chdir(tmp_path)
    found, message = refused("autoencoder", *options, "--out", "ae")
    assert found == code
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_diffusers_is_taken_and_planned_with(cli, refused, tmp_path):
    pytest.importorskip("diffusers")
    from tests.diffusion.borrowed_models import saved

    folder, out, path = saved(tmp_path / "net"), tmp_path / "ck", tmp_path / "plan.json"
    take = ["pretrain", "--from-diffusers", folder, "--out", out]
    assert refused(*take)[0] == 5
    assert refused(*take, "--declared-by", "me", "--generator", "mix")[0] == 2
    assert refused(*take, "--declared-by", "me", "--classes", 3)[0] == 2
    assert not out.exists()
    code, _, _ = cli(*take, "--declared-by", "me", "--trained-on", "digits", "--json")
    assert code == 0
    code, said, _ = cli("plan", "--eps", 2, "--steps", 2, "--from", out, "--tune",
                        "attention", "--out", path, "--json")  # fmt: skip
    assert code == 0
    assert json.loads(said)["phases"][0]["what"] == (
        "weights trained on digits, elsewhere"
    )
    assert json.loads(path.read_text())["training"]["parameterisation"] == "timesteps"
    code, said = refused("plan", "--eps", 2, "--from", out, "--stages", "best")
    assert (code, "counts noise in timesteps" in said) == (2, True)


def test_a_run_that_is_not_there_is_not_exported(refused, tmp_path):
    code, said = refused("export", tmp_path / "none", "--out", tmp_path / "out")
    assert (code, "holds no run" in said) == (1, True)
