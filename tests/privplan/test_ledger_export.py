"""A ledger in the hands of strangers: exported, re-read, anchored, checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil

import pytest

from privplan import ledger_anchor, ledger_checks, ledger_export
from privplan import plan as plans
from privplan.errors import (
    DocumentError,
    IntegrityError,
    LedgerError,
    PolicyError,
    PrivplanError,
)
from privplan.findings import Outcome
from privplan.ledger import Allowance, Ledger, data_commitment, opens_data, read

DATA, CODE = "b" * 64, "c" * 64


@pytest.fixture
def bound(staged_plan):
    return {"plan_digest": staged_plan.digest, "data_digest": DATA, "code_digest": CODE}


@pytest.fixture
def path(tmp_path, staged_plan, bound):
    """A run of two sessions that is half done."""
    path = tmp_path / "run" / "ledger.sqlite"
    path.parent.mkdir()
    plans.write(staged_plan, path.parent / "plan.json")
    allowances = [
        Allowance(phase=p.name, event=p.event, steps=p.steps)
        for p in staged_plan.phases
    ]
    with Ledger.create(path, **bound, allowances=allowances) as ledger:
        for phase in staged_plan.phases:
            ledger.reserve(phase.name, min(3, phase.steps))
            ledger.settle(phase.name, 1)
    with Ledger.resume(path, **bound) as ledger:
        ledger.reserve("private", 5)
        ledger.record_release("checkpoint", "d" * 64, weights="averaged")
    return path


@pytest.fixture
def export(path, tmp_path):
    ledger_export.write(read(path), tmp_path / "ledger.jsonl")
    return tmp_path / "ledger.jsonl"


def test_an_export_says_what_its_ledger_says_except_the_key(path, export):
    """Two readings of one chain, from SQLite and from text, must be one."""
    here, there = read(path), ledger_export.read(export)
    assert there.data_key == b""
    assert dataclasses.replace(here, data_key=b"") == there
    assert here.data_key not in export.read_bytes()
    assert here.data_key.hex().encode() not in export.read_bytes()
    assert ledger_export.read(path) == here
    assert ledger_export.to_lines(there) == export.read_bytes()


def test_a_stranger_follows_the_chain_with_nothing_but_sha256(path, export):
    """If only our own code can follow it, the export proves nothing to anyone else."""
    previous, begun = "0" * 64, 0
    for line in export.read_bytes().splitlines():
        body = line[len(b'{"body":') : line.rindex(b',"hash"')]
        said = json.loads(line)
        chained = bytes.fromhex(previous) + len(body).to_bytes(8, "big") + body
        previous = hashlib.sha256(b"privplan-ledger-entry/1\0" + chained).hexdigest()
        assert said["hash"] == previous
        assert said["body"] == json.loads(body)
        if said["body"]["kind"] == "intent" and said["body"]["phase"] == "private":
            begun += said["body"]["count"]
    assert previous == read(path).head.hash
    assert begun == read(path).counted("private") == 8


def test_an_export_opens_no_commitment(export):
    """An empty key would still give a value, and a wrong one."""
    content = ledger_export.read(export)
    with pytest.raises(PolicyError, match="export"):
        data_commitment(content, bytes(16))
    with pytest.raises(PolicyError, match="export"):
        opens_data(content, DATA)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"count":5', b'"count":4'),
        lambda text: text.replace(b'"count":5', b'"count": 5'),
        lambda text: text[:-1],
        lambda text: text[:-40],
        lambda text: text + b"\n",
        lambda text: text + b'{"body":{}}\n',
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"".join(text.splitlines(keepends=True)[1:]),
        lambda text: b"".join(text.splitlines(keepends=True)[:1]),
        lambda text: b"".join(reversed(text.splitlines(keepends=True))),
        lambda text: text + text.splitlines(keepends=True)[-1],
        lambda text: text.replace(b'{"body":', b'{"body":' + b" " * (1 << 20), 1),
    ],
)
def test_an_export_that_was_touched_is_refused(export, change):
    export.write_bytes(change(export.read_bytes()))
    with pytest.raises(IntegrityError):
        ledger_export.read(export)


@pytest.mark.parametrize("flips", [150, pytest.param(1500, marks=pytest.mark.slow)])
def test_no_flipped_bit_of_ledger_or_export_changes_a_count(path, export, flips):
    """A count that changes unnoticed is privacy that nobody pays for.

    SQLite leaves parts of its pages unused: a flip there changes nothing.
    """
    truth = read(path)
    generator = random.Random(11)  # noqa: S311 - which bits to flip, no secret
    refused = 0
    for file in (path, export):
        content = file.read_bytes()
        for _ in range(flips // 2):
            bit = generator.randrange(8 * len(content))
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            try:
                found = ledger_export.read(file)
            except PrivplanError:
                refused += 1
                continue
            assert found.entries == truth.entries
            assert found.begun == truth.begun
        file.write_bytes(content)
    assert refused > flips // 2  # every one of the export's, and some of the file's


def test_a_missing_ledger_is_no_broken_one(tmp_path):
    with pytest.raises(LedgerError):
        ledger_export.read(tmp_path / "none.jsonl")


def test_an_anchor_comes_back_from_its_line(path):
    made = ledger_anchor.of(read(path))
    assert ledger_anchor.from_line(ledger_anchor.to_line(made) + "\n") == made
    odd = dataclasses.replace(made, begun={"a b=c é\n": 3, "d": 0})
    line = ledger_anchor.to_line(odd)
    assert len(line.splitlines()) == 1
    assert ledger_anchor.from_line(line) == odd


@pytest.mark.parametrize(
    "line",
    ["", "privplan-anchor/2 x", "0" * 300, "privplan-anchor/1 " + "0" * 32 + " 0"],
)
def test_a_line_that_is_no_anchor_is_refused(line, tmp_path):
    with pytest.raises(DocumentError):
        ledger_anchor.from_line(line)
    (tmp_path / "anchor").write_text(line)
    with pytest.raises(DocumentError):
        ledger_anchor.read(tmp_path / "anchor")


def test_a_ledger_rolled_back_behind_its_anchor_is_found_out(path, bound, tmp_path):
    """Nothing inside the file can tell: every entry of the old copy is in order."""
    shutil.copy(path, tmp_path / "old.sqlite")
    with Ledger.resume(path, **bound) as ledger:
        ledger.reserve("private", 1)
    anchor = ledger_anchor.of(read(path))
    assert "still there" in ledger_anchor.check(anchor, read(path))
    with Ledger.resume(path, **bound) as ledger:
        ledger.reserve("private", 1)
    assert "3 entries since" not in ledger_anchor.check(anchor, read(path))
    assert "2 entries since" in ledger_anchor.check(anchor, read(path))
    old = read(tmp_path / "old.sqlite")
    with pytest.raises(IntegrityError, match="rolled back"):
        ledger_anchor.check(anchor, old)
    (tmp_path / "old.sqlite").chmod(0o600)
    with Ledger.resume(tmp_path / "old.sqlite", **bound) as ledger:
        for _ in range(6):
            ledger.reserve("private", 1)
    with pytest.raises(IntegrityError, match="written anew"):
        ledger_anchor.check(anchor, read(tmp_path / "old.sqlite"))


def test_an_anchor_of_another_ledger_or_with_other_counts_is_refused(path):
    content = read(path)
    made = ledger_anchor.of(content)
    for wrong, says in (
        (dataclasses.replace(made, ledger_id="0" * 32), "another ledger"),
        (dataclasses.replace(made, begun={"private": 1}), "counts"),
        (dataclasses.replace(made, hash="0" * 64), "written anew"),
    ):
        with pytest.raises(IntegrityError, match=says):
            ledger_anchor.check(wrong, content)


def outcomes(verdict):
    return [finding.outcome for finding in verdict.findings]


def test_a_check_says_which_steps_it_could_not_take(path, export, tmp_path):
    for file in (path, export):
        found = ledger_checks.check(file)
        assert found.passed
        assert outcomes(found) == [Outcome.PASSED] * 2 + [Outcome.NOT_TAKEN] * 2
    anchor = tmp_path / "anchor"
    ledger_anchor.write(ledger_anchor.of(read(path)), anchor)
    full = ledger_checks.check(path, plan=path.parent / "plan.json", anchor=anchor)
    assert outcomes(full) == [Outcome.PASSED] * 4
    assert full.exit_code == 0


def test_a_check_fails_on_another_plan_and_on_a_broken_chain(path, export, staged_plan):
    other = plans.seal(staged_plan.model_copy(update={"privplan_version": "other"}))
    plans.write(other, path.parent / "plan.json")
    found = ledger_checks.check(path, plan=path.parent / "plan.json")
    assert outcomes(found)[2] is Outcome.FAILED
    assert (found.passed, found.exit_code) == (False, 4)
    export.write_bytes(export.read_bytes()[:-9])
    broken = ledger_checks.check(export)
    assert outcomes(broken) == [Outcome.FAILED]
    assert (broken.passed, broken.content) == (False, None)


def test_an_empty_verdict_does_not_pass():
    assert not ledger_checks.LedgerVerdict(findings=(), content=None).passed
