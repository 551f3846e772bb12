"""Scores and their badges, from the command line, on a run of a few steps."""

import contextlib
import io
import json

import numpy as np
import pytest

from cli.__main__ import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    for command in (
        ["plan", "--eps", "3", "--stages", "best", "--steps", "2", "--sample-rate",
         "0.05", "--synthetic-steps", "2", "--query", "labels:20",
         "--out", folder / "plan.json"],
        ["train", folder / "plan.json", "--out", folder / "run"],
        ["sample", folder / "run", "--count", "40", "--steps", "3"],
    ):  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([str(word) for word in command]) == 0, command
    return folder / "run"


def results(out):
    return {(r["of"], r["name"]): r for r in json.loads(out)["results"]}


def test_every_number_says_whether_it_is_charged_or_public(run, cli):
    code, out, _ = cli("evaluate", run, "--features", "pixels", "--json")
    found = results(out)
    assert code == 0
    assert found["samples", "cnn"]["kind"] == "public"
    assert found["its query alone", "svm"]["kind"] == "public"
    assert found["samples", "label distance to 'labels'"]["kind"] == "charged"
    assert 0 <= found["samples", "label distance to 'labels'"]["value"] <= 1
    assert {r["kind"] for r in found.values()} == {"public", "charged"}
    kept = json.loads((run / "evaluation.json").read_bytes())["scores"]
    assert len(kept) == len(found)
    assert float(kept["its query alone: cnn"]) == pytest.approx(
        found["its query alone", "cnn"]["value"]
    )


def test_training_images_are_private_even_if_held_out_ones_are_public(
    run, cli, tmp_path
):
    """The nearest training image is a private thing to say, whatever the test set."""
    from diffusion.data import load_public

    data = tmp_path / "same.npz"
    arrays = {}
    for split in ("train", "test"):
        images = load_public("digits", split=split)
        arrays[f"{split}_images"] = images.images[:50, 0].numpy()
        arrays[f"{split}_labels"] = images.labels[:50].numpy()
    np.savez(data, **arrays)
    code, out, _ = cli("evaluate", run, "--data", data, "--public", "--records",
                       "--features", "pixels", "--json")  # fmt: skip
    found = results(out)
    assert code == 0
    assert found["samples", "cnn"]["kind"] == "public"
    assert found["real images", "cnn"]["kind"] == "local"
    assert found["copies", "exact"]["kind"] == "local"
    kept = (run / "evaluation.json").read_text()
    assert "copies" not in kept
    assert "real images" not in kept


def test_the_embedded_digits_are_public_and_shown_with_copies(run, cli):
    code, out, _ = cli("evaluate", run, "--records", "--features", "pixels")
    assert code == 0
    assert "LOCAL" not in out
    assert "CHARGED" in out
    assert "share closer" in out


@pytest.mark.parametrize(
    ("features", "expected"), [("vgg", 2), ("inception=missing.pt", 1)]
)
def test_features_that_are_not_there_are_refused(run, refused, features, expected):
    assert refused("evaluate", run, "--features", features)[0] == expected
