"""Blocks of steps: cheap, bounded, counted from the start, never given back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan import ledger_blocks
from privplan.errors import (
    BudgetExceededError,
    LedgerError,
    ParameterError,
    PolicyError,
)
from privplan.events import PoissonSampledGaussianEvent
from privplan.ledger import Allowance, Ledger, read
from privplan.ledger_blocks import Blocks, block_size, commit_seconds, most_burnt

BOUND = {"plan_digest": "a" * 64, "data_digest": "b" * 64, "code_digest": "c" * 64}
STEP = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)


@pytest.fixture
def ledger(tmp_path):
    allowances = [Allowance(phase="private", event=STEP, steps=20)]
    with Ledger.create(
        tmp_path / "run.sqlite", **BOUND, allowances=allowances
    ) as ledger:
        yield ledger


@given(
    steps=st.integers(1, 10**6),
    step=st.floats(1e-6, 1e3),
    commit=st.floats(0, 10),
)
def test_a_block_is_as_small_as_its_cost_allows_and_never_burns_one_percent(
    steps, step, commit
):
    """Two ways to say k: the least that is cheap enough, and at most the bound."""
    k = block_size(steps=steps, step_seconds=step, commit_seconds=commit)
    assert 1 <= k <= max(1, steps / 100)
    dear = ledger_blocks.COST_SHARE * (1 + 1e-12)
    if k < most_burnt(steps):
        assert commit / (k * step) <= dear
    if k > 1:
        assert commit / ((k - 1) * step) > ledger_blocks.COST_SHARE * (1 - 1e-12)


@pytest.mark.parametrize("wrong", [float("nan"), -1.0, float("inf")])
def test_a_time_that_is_no_number_chooses_no_block(wrong):
    with pytest.raises(ParameterError):
        block_size(steps=1000, step_seconds=wrong, commit_seconds=0.01)
    with pytest.raises(ParameterError):
        block_size(steps=1000, step_seconds=1.0, commit_seconds=wrong)


def test_a_block_is_on_disk_before_its_first_step(ledger, tmp_path):
    """A block that is counted as its steps go by forgets those of a crash."""
    blocks = Blocks(ledger)
    blocks.pace("private", 8)
    counted = []
    for _ in range(20):
        blocks.take("private")
        counted.append(read(tmp_path / "run.sqlite").counted("private"))
    assert counted == [8] * 8 + [16] * 8 + [20] * 4
    with pytest.raises(BudgetExceededError):
        blocks.take("private")
    assert blocks.held("private") == 0


def test_many_steps_at_once_use_up_what_is_held_first(ledger):
    blocks = Blocks(ledger)
    blocks.pace("private", 8)
    blocks.take("private")
    blocks.take("private", 19)
    assert (ledger.counted("private"), blocks.held("private")) == (20, 0)


def test_a_refused_block_hands_out_nothing(ledger):
    """Steps in memory that are not on disk would be taken later without being paid."""
    blocks = Blocks(ledger)
    blocks.take("private", 3)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ParameterError):
            blocks.take("private", wrong)
        with pytest.raises(ParameterError):
            blocks.pace("private", wrong)
    with pytest.raises(BudgetExceededError):
        blocks.take("private", 18)
    with pytest.raises(ParameterError, match="privat"):
        blocks.take("privat")
    assert (ledger.counted("private"), blocks.held("private")) == (3, 0)


def test_steps_held_by_a_dead_session_stay_spent_and_are_not_held_by_the_next(
    tmp_path,
):
    path = tmp_path / "run.sqlite"
    allowances = [Allowance(phase="private", event=STEP, steps=20)]
    with Ledger.create(path, **BOUND, allowances=allowances) as first:
        blocks = Blocks(first)
        blocks.pace("private", 8)
        blocks.take("private")
    with Ledger.resume(path, **BOUND) as second:
        assert second.counted("private") == 8
        assert Blocks(second).held("private") == 0
        assert second.left("private") == 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_copy_does_not_own_the_steps_its_parent_holds(ledger):
    """Both copies hold the same block in memory; only one may carry it out."""
    blocks = Blocks(ledger)
    blocks.pace("private", 8)
    blocks.take("private")
    blocks._process += 1
    with pytest.raises(PolicyError, match="forked"):
        blocks.take("private")


def test_timing_the_disk_leaves_nothing_behind_and_needs_a_folder(tmp_path):
    assert 0 < commit_seconds(tmp_path) < 10
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LedgerError, match="beside the ledger"):
        commit_seconds(tmp_path / "none")
