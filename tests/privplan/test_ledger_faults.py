"""Full disks, read-only folders, jumping clocks, flipped bits: stop before noise."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from privplan import ledger_session, report, signing, verify
from privplan import plan as plans
from privplan.errors import PrivplanError
from privplan.events import PoissonSampledGaussianEvent
from privplan.keys import Role, load_key, new_key
from privplan.ledger import Allowance, Ledger, read
from privplan.report_schema import PREDICATE_TYPE, Surroundings

ROOT = Path(__file__).parents[2]
BOUND = {"plan_digest": "a" * 64, "data_digest": "b" * 64, "code_digest": "c" * 64}
STEP = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)
NOBODY = 65534


def begin(path: Path) -> Path:
    allowances = [Allowance(phase="private", event=STEP, steps=60)]
    Ledger.create(path, **BOUND, allowances=allowances).close()
    return path


TRAINER = """
import os, resource, sys
from pathlib import Path
from privplan.errors import LedgerError
from privplan.ledger import Ledger
from privplan.ledger_blocks import Blocks

path, noise, limit, user = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5])
bound = dict(plan_digest="a" * 64, data_digest="b" * 64, code_digest="c" * 64)
out = os.open(noise, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
if user:
    os.setuid(user)
try:
    ledger = Ledger.resume(path, **bound)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    blocks = Blocks(ledger)
    blocks.pace("private", 3)
    for _ in range(60):
        blocks.take("private")
        os.write(out, b"x\\n")
except LedgerError as error:
    print(error.message)
    sys.exit(7)
"""


def train(path, *, limit=0, user=0):
    """Draw noise on every step that was handed out, in a process of its own."""
    noise = path.with_name("noise")
    arguments = [str(path), str(noise), str(limit), str(user)]
    done = subprocess.run(
        [sys.executable, "-c", TRAINER, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return done, len(noise.read_text().split())


def test_a_disk_that_fills_up_stops_a_run_between_two_blocks(tmp_path):
    """The last block that was written is carried out; the next one is not begun."""
    path = begin(tmp_path / "run.sqlite")
    done, drawn = train(path, limit=70_000)
    assert done.returncode == 7, done.stderr
    assert "disk" in done.stdout
    assert 0 < drawn < 60
    assert drawn == read(path).counted("private")
    assert drawn % 3 == 0


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX users")
def test_a_read_only_folder_stops_a_run_before_its_first_step():
    """A run that cannot write must not train and hope."""
    base = Path(tempfile.mkdtemp())
    try:
        path = begin(base / "run.sqlite")
        path.with_name("noise").touch()
        user = 0
        if os.getuid() == 0:  # nothing is read-only to root
            user = NOBODY
            for file in base.iterdir():
                os.chown(file, NOBODY, NOBODY)
        base.chmod(0o555)
        before = path.read_bytes()
        done, drawn = train(path, user=user)
        assert done.returncode == 7, done.stderr
        assert drawn == 0
        assert path.read_bytes() == before
    finally:
        base.chmod(0o700)
        shutil.rmtree(base)


def test_a_clock_that_jumps_changes_no_count_and_no_verdict(tmp_path, monkeypatch):
    """Times are informative: what a step costs does not depend on a clock."""
    path = begin(tmp_path / "run.sqlite")
    for year in ("1969", "2100", "1970", "0001"):
        time = f"{year}-01-01T00:00:00+00:00"
        monkeypatch.setattr(ledger_session, "now", lambda time=time: time)
        with Ledger.resume(path, **BOUND) as ledger:
            ledger.reserve("private", 2)
            ledger.record_release("checkpoint", "d" * 64)
    content = read(path)
    assert (content.counted("private"), content.sessions) == (8, 5)
    assert all("time" not in e.body for e in content.entries if e.kind == "intent")


@pytest.fixture(scope="module")
def signed(tmp_path_factory, staged_plan):
    """A plan, the ledger of its run, and a signed report."""
    folder = tmp_path_factory.mktemp("signed")
    plans.write(staged_plan, folder / "plan.json")
    allowances = [
        Allowance(phase=p.name, event=p.event, steps=p.steps)
        for p in staged_plan.phases
    ]
    with Ledger.create(
        folder / "ledger.sqlite",
        **(BOUND | {"plan_digest": staged_plan.digest}),
        allowances=allowances,
    ) as ledger:
        for phase in staged_plan.phases:
            ledger.reserve(phase.name, phase.steps)
    key = new_key(folder / "own.key", role=Role.TRAINER, passphrase=None)
    around = Surroundings(source_digest="c" * 64, versions={}, platform="somewhere")
    said = report.build(staged_plan, read(folder / "ledger.sqlite"), around)
    text = signing.sign(
        signing.statement(
            subjects={},
            predicate_type=PREDICATE_TYPE,
            predicate=report.to_json(said),
        ),
        load_key(folder / "own.key"),
    )
    (folder / "report.json").write_bytes(text)
    return folder, key


FLIPS = [75, pytest.param(750, marks=pytest.mark.slow)]


def flipped(content: bytes, flips: int):
    generator = random.Random(23)  # noqa: S311 - which bits to flip, no secret
    for _ in range(flips):
        bit = generator.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


@pytest.mark.parametrize("flips", FLIPS)
def test_no_flipped_bit_of_a_plan_is_another_plan(signed, flips):
    """One changed digit of a noise multiplier would train with less noise."""
    text = (signed[0] / "plan.json").read_bytes()
    truth, refused = plans.from_text(text), 0
    for damaged in flipped(text, flips):
        try:
            found = plans.from_text(damaged)
        except PrivplanError:
            refused += 1
        else:  # a space that became another one
            assert found == truth
    assert refused > flips // 2


@pytest.mark.parametrize("flips", FLIPS)
def test_no_flipped_bit_of_a_report_is_another_claim(signed, flips):
    folder, key = signed
    text = (folder / "report.json").read_bytes()
    payload = signing.open_envelope(text, trusted=[key]).payload
    refused = 0
    for damaged in flipped(text, flips):
        found = verify.verify(damaged, folder=folder, trusted=[key])
        if found.passed:  # a letter of the key's name, which decides nothing
            assert signing.open_envelope(damaged, trusted=[key]).payload == payload
        else:
            refused += 1
            assert found.exit_code == 4
    assert refused > flips // 2
