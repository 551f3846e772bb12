import json
import math

import numpy as np
import pytest

from cli import bench_view
from cli.bench_view import NOTE, rows_of, standard_error
from diffusion.bench import Cell, CellPlan

DIGEST = "a" * 64
QUICK = ["gaussian", "--no-rivals", "--samples", "30", "--features", "pixels"]


def cell(name, repetition, *, epsilon=10.0, own=None, trained=True, **scores):
    numbers = {
        "logistic_regression": 0.8, "svm": 0.8, "mlp": 0.8, "cnn": 0.8,
        "frechet pixels": 2.0, "frechet to training pixels": 1.0,
    } | scores  # fmt: skip
    plan = CellPlan(
        digest=DIGEST, epsilon=9.99, delta=1e-5, steps=100, sample_rate=0.25,
        noise_multiplicity=2, noise_multiplier=1.5,
    )  # fmt: skip
    return Cell(
        recipe=name, epsilon=epsilon, repetition=repetition, source_digest=DIGEST,
        plan=plan if trained else None, scores=numbers,
        its_gaussian=None if own is None else numbers | own,
        seconds={"train": 60.0, "sample": 5.0} if trained else {},
    )  # fmt: skip


CELLS = [
    cell("real images", 1, trained=False, cnn=0.96),
    *(
        cell("best", i, own={"cnn": 0.5}, cnn=x)
        for i, x in enumerate((0.7, 0.9, 0.86), 1)
    ),
    *(
        cell("coarse=gaussian@1.0,context=private:pretrain=synthetic", i)
        for i in (1, 2)
    ),
    cell("best", 1, epsilon=1.0, cnn=0.61),
]


def test_the_table_shows_medians_and_standard_errors_and_fits_80_columns(
    capsys, monkeypatch, tmp_path
):
    """A mean under the heading of a median, or n for n - 1, is a wrong number."""
    monkeypatch.setenv("COLUMNS", "80")
    bench_view.show(CELLS, "pixels", tmp_path, as_json=False)
    out = capsys.readouterr().out
    error = 100 * np.std([0.7, 0.9, 0.86], ddof=1) / math.sqrt(3)
    assert f"86.0±{error:.1f}" in out
    assert max(len(line) for line in out.splitlines() if "steps" not in line) <= 110
    table = [line for line in out.splitlines() if "±" in line and "Medians" not in line]
    assert max(map(len, table)) <= 80
    assert "61.0" in out
    assert "its query alone" in out
    assert "real images" in out
    assert "100 steps, rate 0.25, K 2, noise 1.5" in out
    assert NOTE in " ".join(out.split())


@pytest.mark.parametrize("width", ["60", "80", "140"])
def test_no_accuracy_is_cropped_at_any_width(capsys, monkeypatch, tmp_path, width):
    monkeypatch.setenv("COLUMNS", width)
    bench_view.show(CELLS, "pixels", tmp_path, as_json=False)
    out = capsys.readouterr().out
    assert out.count("…") == 0
    for text in ("86.0±6.1", "50.0±0.0", "61.0", "96.0", "2.00"):
        assert text in out, text


def test_one_run_has_no_standard_error():
    assert standard_error([3.0]) is None
    assert standard_error([1.0, 3.0]) == pytest.approx(1.0)


def test_a_query_of_its_own_is_a_row_below_its_recipe():
    names = [(row.name.strip(), row.epsilon) for row in rows_of(CELLS)]
    assert names[1:3] == [("best", 10.0), ("its query alone", 10.0)]
    assert rows_of(CELLS)[2].values("cnn") == [0.5, 0.5, 0.5]


def test_json_holds_every_value_of_every_repetition(capsys, tmp_path):
    bench_view.show(CELLS, "pixels", tmp_path, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "public"
    assert found["rows"][1]["scores"]["cnn"]["values"] == [0.7, 0.9, 0.86]
    assert found["rows"][1]["plan"]["steps"] == 100


def test_images_nobody_called_a_public_benchmark_are_refused(refused, tmp_path):
    """Looking at results on private records is spending that nobody counts."""
    code, said = refused("bench", *QUICK, "--data", tmp_path, "--out", tmp_path / "b")
    assert code == 5
    assert "nobody said" in said
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--epsilons", "0"], 2),
        (["--epsilons", "1,nan"], 2),
        (["--epsilons", "ten"], 2),
        (["--seeds", "0"], 2),
        (["--samples", "0"], 2),
        (["--features", "vgg"], 2),
        (["--features", "inception=missing.pt"], 1),
        (["nonsense"], 2),
        (["--data", "missing", "--public-benchmark"], 1),
    ],
    ids=str,
)
def test_a_bench_that_cannot_be_measured_is_refused_in_two_lines(
    refused, tmp_path, arguments, code
):
    assert refused("bench", "best", "--out", tmp_path, "--features", "pixels",
                   *arguments)[0] == code  # fmt: skip


def test_the_whole_bench_from_the_command_line(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "bench"
    arguments = ["bench", *QUICK, "--seeds", "2", "--epsilons", "10", "--out", out]
    code, shown, said = cli(*arguments)
    assert code == 0
    assert "gaussian: no training" in shown
    assert "gaussian, epsilon 10, run 2" in said
    code, again, said = cli(*arguments)
    assert (code, again) == (0, shown)
    assert "run 2" not in said
