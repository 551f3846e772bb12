"""privplan as whoever only checks or approves has it: nothing that touches images."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cli.installed import EXTRA

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.path.insert(0, {root!r})
sys.meta_path.insert(0, Absent())
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *rest: None if name in {absent!r} else found(name, *rest)
from cli.__main__ import main
sys.exit(main({arguments!r}))
"""


@pytest.fixture
def bare(tmp_path):
    """Run a command where the extra is not installed; gives what it did."""

    def run(*arguments):
        code = WITHOUT.format(
            absent=EXTRA, root=str(ROOT), arguments=[str(a) for a in arguments]
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_planning_and_approving_work_without_torch(bare, tmp_path):
    done = bare("plan", "--eps", "1", "--stages", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] > 0
    made = bare("keys", "new", "--role", "officer", "--out", "officer.key")
    assert made.returncode == 0, made.stderr
    done = bare("approve", "plan.json", "--key", "officer.key")
    assert done.returncode == 0, done.stderr


def test_a_report_is_verified_without_torch(bare):
    """The README promises it; whoever checks has no reason to install torch."""
    report = ROOT / "docs" / "examples" / "report.html"
    key = ROOT / "docs" / "examples" / "trainer.pub"
    done = bare("verify", report, "--key", key)
    assert "Traceback" not in done.stderr
    assert "VERIFIED" in done.stdout


def test_what_needs_torch_says_what_to_install(bare):
    assert bare("plan", "--eps", "1").returncode == 0
    done = bare("train")
    assert done.returncode == 1
    assert "this command needs" in done.stderr
    assert "privplan[diffusion]" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_that_nothing_can_be_trained_here(bare):
    done = bare("doctor", "--json", "--key", "none.key")
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["diffusion"]["state"] == "look"
    assert "accountant" in found
    assert "noise" not in found
    assert "Traceback" not in done.stderr


def test_the_extra_is_what_the_program_takes_for_it():
    """A library that moved between the lists would end in a traceback for somebody."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"pillow": "PIL", "scikit-learn": "sklearn"}
    asked = [
        Requirement(line) for line in project["optional-dependencies"]["diffusion"]
    ]
    names = {modules.get(one.name, one.name) for one in asked}
    assert (
        names - {"matplotlib"} == EXTRA
    )  # figures of the notebooks, and of no command
    base = {Requirement(line).name for line in project["dependencies"]}
    assert not base & {one.name for one in asked}
