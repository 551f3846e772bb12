"""`privplan train` on plans with queries, public images, and no second opinions."""

import json

import numpy as np
import pytest

from cli import second_opinions
from privplan import ledger
from privplan import plan as plans
from privplan.opinions import Opinion
from privplan.planner import PlanRequest, Wishes, make_plan

ALL_GAUSSIAN = "coarse=gaussian,context=gaussian,cleaning=gaussian"


@pytest.fixture
def written(tmp_path):
    """Writes a plan whose every stage is one query; training is over at once."""

    def write(**wanted):
        plan = make_plan(PlanRequest(target_epsilon=2.0, stages=ALL_GAUSSIAN, **wanted))
        plans.write(plan, tmp_path / "plan.json")
        return tmp_path / "plan.json"

    return write


def test_a_plan_without_second_opinions_gets_them_before_it_is_carried_out(
    cli, written, tmp_path
):
    code, _, said = cli("train", written(), "--out", tmp_path / "run")
    (line,) = (s for s in said.splitlines() if "other accountants" in s)
    assert code == 0
    assert "dp-accounting 1.99" in line
    assert "prv-accountant" in line
    assert "gaussian: 1 of 1 steps" in said


def test_a_plan_that_holds_them_is_not_counted_again(written):
    assert second_opinions.ask(plans.read(written(second_opinions=True))) is None


def test_accountants_that_disagree_stop_a_run_before_it_begins(
    refused, written, tmp_path, monkeypatch
):
    """Whichever of them is wrong, nothing could be claimed of the result."""
    wrong = Opinion(name="x", version="1", method="y", lower=2.5, upper=2.6)
    monkeypatch.setattr(
        second_opinions.opinions, "second_opinions", lambda *_, **__: (wrong,)
    )
    code, message = refused("train", written(), "--out", tmp_path / "run")
    assert code == 5
    assert "disagree" in message
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


def test_public_images_are_named_when_planning_and_when_training(
    cli, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("public.npz", "other.npz"):
        np.savez(
            name,
            train_images=rng.integers(0, 255, (40, 8, 8), dtype=np.uint8),
            train_labels=np.arange(40) % 10,
        )
    stages = "coarse=gaussian,context=gaussian,cleaning=public"
    assert cli("plan", "--eps", "2", "--stages", stages, "--public", "public.npz",
               "--synthetic-steps", "2")[0] == 0  # fmt: skip
    assert refused("train", "--out", "run")[0] == 2
    assert refused("train", "--out", "run", "--public", "other.npz")[0] == 5
    assert not (tmp_path / "run").exists()
    code, out, _ = cli("train", "--out", "run", "--public", "public.npz", "--json")
    assert code == 0
    assert json.loads(out)["finished"]
    assert ledger.read(tmp_path / "run" / "ledger.sqlite").counted("public") == 2


def test_a_run_that_must_be_resumed_is_told_with_its_public_images(capsys):
    from pathlib import Path

    from cli import render

    plan = make_plan(PlanRequest(target_epsilon=2.0, wishes=Wishes(steps=1)))
    named = " --data d --public p"
    render.training(plan, Path("run"), named, finished=False, as_json=False)
    said = capsys.readouterr().err
    assert "privplan train run --resume --data d --public p" in said
