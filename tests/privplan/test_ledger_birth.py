"""A new ledger: whole or not there, whoever looks and wherever it lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from privplan import ledger_birth
from privplan.errors import LedgerError, PolicyError
from privplan.events import PoissonSampledGaussianEvent
from privplan.ledger import Allowance, Ledger, read

BOUND = {"plan_digest": "a" * 64, "data_digest": "b" * 64, "code_digest": "c" * 64}
STEP = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)


def begin(path: Path) -> None:
    allowances = [Allowance(phase="private", event=STEP, steps=60)]
    Ledger.create(path, **BOUND, allowances=allowances).close()


def no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_ledger_has_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    """Who watched a run begin met an empty file, and was told it is no ledger."""
    path = tmp_path / "ledger.sqlite"
    seen = []
    fill = ledger_birth._fill

    def watched(*args: object) -> None:
        seen.append(path.exists())
        fill(*args)
        seen.append(path.exists())

    monkeypatch.setattr(ledger_birth, "_fill", watched)
    begin(path)
    assert seen == [False, False]
    assert read(path).counted("private") == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger.sqlite"]


@pytest.mark.parametrize("link", [os.link, no_links], ids=["links", "no links"])
def test_a_name_taken_while_the_ledger_is_written_is_not_overwritten(
    tmp_path, monkeypatch, link
):
    """Two runs that start at once: the second must not erase the first's count."""
    path = tmp_path / "ledger.sqlite"
    fill = ledger_birth._fill

    def raced(*args: object) -> None:
        fill(*args)
        path.write_bytes(b"the other's")

    monkeypatch.setattr(ledger_birth, "_fill", raced)
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(PolicyError, match="exists, and a ledger is never overwritten"):
        begin(path)
    assert path.read_bytes() == b"the other's"
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_a_disk_without_links_holds_a_ledger_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "ledger.sqlite"
    begin(path)
    assert read(path).counted("private") == 0
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_a_ledger_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger_birth, "_fill", full)
    with pytest.raises(LedgerError, match="No space left") as refusal:
        begin(tmp_path / "ledger.sqlite")
    assert "free space" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []
