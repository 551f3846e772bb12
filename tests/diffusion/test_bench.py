"""Recipes, rivals and cells of the benchmark, with runs of a few steps."""

import json

import pytest
import torch

from diffusion import bench as room
from diffusion import bench_cells
from diffusion.bench import Bench, Cell, fill, load, tasks
from diffusion.bench_recipes import parse, rivals
from diffusion.data import PublicImages
from diffusion.evaluation.features import extractor
from privplan.errors import ParameterError
from privplan.plan import GaussianPhase, SyntheticPhase
from privplan.planner import DIGITS

SMALL = "best:steps=2:rate=0.05:draws=1:synthetic-steps=2"


@pytest.fixture(scope="module")
def digits():
    """The embedded digits, few of them held out, so that scoring is quick."""
    data = load("digits", image_size=None, classes=None)
    few = PublicImages(data.held_out.images[:40], data.held_out.labels[:40], 10)
    return room.BenchData(
        train=data.train,
        train_public=PublicImages(
            data.train_public.images[:60], data.train_public.labels[:60], 10
        ),
        held_out=few,
    )


def bench_in(folder, digits, **changed):
    given = {
        "declared": DIGITS, "recipes": (SMALL,), "epsilons": (10.0,), "repetitions": 1,
        "features": extractor("pixels", digits.held_out.shape), "folder": folder,
        "samples": 30, "with_rivals": False,
    }  # fmt: skip
    return Bench(**(given | changed))


def test_a_control_differs_from_staged_in_where_private_steps_are_spent_alone():
    """Same query, steps, rate and draws at the same epsilon; else it is no control."""
    staged, control = (parse(text, DIGITS).plan(10.0) for text in ("staged", "control"))
    (one,), (other,) = staged.private_phases, control.private_phases
    assert one == other
    assert staged.phases_of(GaussianPhase) == control.phases_of(GaussianPhase)
    assert staged.phases_of(SyntheticPhase) == control.phases_of(SyntheticPhase)
    assert staged.training == control.training
    assert staged.training.parameterisation == "edm"
    boundary = staged.stages[0].sigma_min
    assert parse("control", DIGITS).answers_from == boundary
    assert control.stages[0].sigma_min > 0.9 * staged.training.sigma_max


def test_the_gaussian_of_a_control_answers_from_the_boundary_of_staged():
    control = parse("control", DIGITS)
    plan = control.plan(10.0)
    moved = bench_cells._answers_from(plan, control.answers_from)
    assert [(s.sigma_min, s.sigma_max) for s in moved.stages] == [
        (1.0, 10.0), (0.2, 1.0), (0.02, 0.2)
    ]  # fmt: skip
    assert moved.digest == plan.digest


def test_dpdm_gets_the_same_work_and_pretraining_as_the_recipe_it_is_held_against():
    plan = parse(SMALL, DIGITS).plan(10.0)
    gaussian, rival = rivals(parse(SMALL, DIGITS), 10.0)
    assert gaussian == "gaussian"
    dpdm = parse(rival, DIGITS).plan(10.0)
    (one,), (other,) = plan.private_phases, dpdm.private_phases
    assert (one.steps, one.noise_multiplicity) == (
        other.steps,
        other.noise_multiplicity,
    )
    assert one.mechanism.sample_rate == other.mechanism.sample_rate
    assert dpdm.phases_of(SyntheticPhase)
    assert not dpdm.phases_of(GaussianPhase)
    # its whole budget goes to the steps, so it has less noise
    assert other.mechanism.noise_multiplier < one.mechanism.noise_multiplier


def test_dpdm_is_no_rival_of_itself():
    assert rivals(parse("dpdm", DIGITS), 1.0) == ("gaussian",)
    assert rivals(parse("default", DIGITS), 1.0) == ("gaussian",)
    assert rivals(parse("staged:pretrain=none:steps=7", DIGITS), 1.0)[1].startswith(
        "dpdm:steps=7:"
    )


@pytest.mark.parametrize(
    "text",
    ["", ":steps=3", "best:steps", "best:colour=red", "best:steps=1.5", "best:steps=x",
     "best:rate=nan", "best:rate=-1", "best:share=half", "best:pretrain=private",
     "coarse=red"],
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_refused(text):
    with pytest.raises(ParameterError):
        parse(text, DIGITS).plan(1.0)


def test_every_cell_is_there_once_and_baselines_come_last(tmp_path, digits):
    bench = bench_in(
        tmp_path, digits, recipes=("best", "dpdm:pretrain=synthetic", "best"),
        epsilons=(10.0, 1.0), repetitions=2, with_rivals=True,
    )  # fmt: skip
    names = [(t.name, t.epsilon, t.repetition) for t in tasks(bench)]
    assert len(names) == len(set(names)) == 1 + 2 * 3 * 2
    assert names[0][0] == room.REAL
    assert [n for n, e, r in names[1:7:2]] == [
        "best", "dpdm:pretrain=synthetic", "gaussian"
    ]  # fmt: skip


def filled(bench, digits):
    begun = []
    cells = list(
        fill(bench, digits, tasks(bench), begins=lambda t: begun.append(t.name))
    )
    return begun, cells


def test_a_finished_cell_is_not_run_again_and_a_broken_one_is(tmp_path, digits):
    """And each repetition draws its own privacy noise."""
    bench = bench_in(tmp_path, digits, repetitions=2)
    begun, cells = filled(bench, digits)
    assert begun == [room.REAL, SMALL, SMALL]
    assert filled(bench, digits) == ([], cells)
    assert cells[1].scores != cells[2].scores
    assert cells[1].its_gaussian != cells[2].its_gaussian
    assert cells[1].plan == cells[2].plan
    assert 9 < cells[1].plan.epsilon <= 10
    assert list((tmp_path / "runs").iterdir()) == []
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    (last,) = [p for p in (tmp_path / "cells").iterdir()
               if p.name.startswith("best") and Cell.model_validate_json(
                   p.read_bytes()).repetition == 2]  # fmt: skip
    last.unlink()
    (tmp_path / "runs" / last.stem).mkdir()
    (tmp_path / "runs" / last.stem / "ledger.sqlite").write_bytes(b"half a run")
    begun, again = filled(bench, digits)
    assert begun == [SMALL]
    assert again[:2] == cells[:2]
    assert again[2].scores != cells[2].scores


@pytest.mark.parametrize(
    "changed",
    [{"samples": 31}, {"epsilons": (9.0,)}, {"delta": 1e-5}, {"recipes": ("dpdm",)}],
    ids=str,
)
def test_a_cell_of_other_settings_is_another_cell(tmp_path, digits, changed):
    """A table of yesterday's numbers under today's heading would be wrong."""
    bench = bench_in(tmp_path, digits)
    other = bench_in(tmp_path, digits, **changed)
    assert room._key(bench, tasks(bench)[1], "x") != room._key(
        other, tasks(other)[1], "x"
    )
    assert room._key(bench, tasks(bench)[1], "x") != room._key(
        bench, tasks(bench)[1], "y"
    )


def test_a_cell_file_that_was_edited_into_nonsense_is_refused(tmp_path, digits):
    bench = bench_in(tmp_path, digits, recipes=("gaussian",))
    first = tasks(bench)[:1]
    (cell,) = fill(bench, digits, first, begins=lambda _: None)
    (path,) = (tmp_path / "cells").iterdir()
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"scores": {"cnn": "NaN"}}))
    with pytest.raises(ParameterError, match="NaN"):
        list(fill(bench, digits, first, begins=lambda _: None))
    assert cell.scores["cnn"] == pytest.approx(float(content["scores"]["cnn"]))


def test_numbers_of_a_bench_that_are_not_allowed_are_refused(tmp_path, digits):
    for changed in ({"repetitions": 0}, {"samples": -1}, {"epsilons": (float("nan"),)}):
        with pytest.raises(ParameterError):
            bench_in(tmp_path, digits, **changed)


def test_a_bench_leaves_the_global_random_state_alone(tmp_path, digits):
    before = torch.random.get_rng_state()
    filled(bench_in(tmp_path, digits, recipes=("gaussian",)), digits)
    assert torch.equal(before, torch.random.get_rng_state())
