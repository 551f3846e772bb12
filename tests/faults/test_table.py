"""The table of faults is whole, and says so when a fault survives."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.catalogue import FAULTS
from tests.faults.catching import Caught
from tests.faults.table import Row

HERE = Path(__file__).parent


def marked():
    """Every `@fault("...")` in this folder, with the name of its test."""
    return [
        (mark.args[0].value, node.name)
        for path in sorted(HERE.glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "fault"
    ]


def test_every_fault_of_the_catalogue_has_exactly_one_named_test():
    codes = [code for code, _ in marked()]
    assert sorted(codes) == sorted(FAULTS)
    assert all(name.startswith("test_") for _, name in marked())


def test_the_catalogue_holds_every_chapter_of_the_list():
    """21 of the mechanism, 10 of sampling, ... : what the list has, by its letters."""
    counts = {letter: sum(c[0] == letter for c in FAULTS) for letter in "MSALRPO"}
    assert counts == dict(M=21, S=10, A=9, L=18, R=8, P=18, O=9)
    assert all(len(text) <= 36 for text in FAULTS.values())


def test_the_table_lists_every_fault_in_eighty_columns():
    rows = {c: Row(code=c, by=("x" * 50, "y"), seconds=12.34) for c in FAULTS}
    out = table.lines(rows)
    assert all(len(line) <= table.WIDTH for line in out)
    assert all(any(line.startswith(f"{c} ") for line in out) for c in FAULTS)
    assert out[-1].startswith(f"{len(FAULTS)} of {len(FAULTS)} faults caught")
    assert table.survivors(rows) == ()


@pytest.mark.parametrize("missing", [True, False])
def test_a_fault_that_nobody_caught_is_reported(missing):
    rows = {c: Row(code=c, by=("verify V1",), seconds=0.1) for c in FAULTS}
    if missing:
        del rows["M4"]
    else:
        rows["M4"] = Row(code="M4", by=(), seconds=0.1)
    (line,) = [line for line in table.lines(rows) if line.startswith("M4 ")]
    assert (table.MISSING if missing else table.SURVIVED) in line
    assert table.survivors(rows) == ("M4",)


def test_a_check_that_does_not_see_the_fault_catches_nothing():
    """The fault survives, and the test that was to catch it fails."""
    caught = Caught()
    with pytest.raises(AssertionError, match="survives"):
        caught.check(lambda: True, lambda: None)
    with pytest.raises(AssertionError, match="without the fault"):
        caught.check(lambda: False, lambda: None)
    with pytest.raises(pytest.fail.Exception):
        caught.refusal(Exception, lambda: None)
    assert caught.by == []


SURVIVES = """
from tests.faults.catching import fault

pytest_plugins = []

@fault("M4")
def test_nobody_looks(caught):
    pass

@fault("M5")
def test_a_test_that_fails_catches_nothing(caught):
    caught.without_effect("said too early")
    assert False
"""


def test_a_run_in_which_a_fault_survives_fails_and_names_it(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.faults.conftest import caught\n")
    (tmp_path / "test_survivor.py").write_text(SURVIVES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.faults.table", "-c",
         str(HERE.parents[1] / "pyproject.toml"), "--rootdir", str(HERE.parents[1]),
         "-p", "no:cacheprovider", str(tmp_path)],
        cwd=HERE.parents[1], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    for code in ("M4", "M5"):
        lines = [x for x in done.stdout.splitlines() if x.startswith(f"{code} ")]
        assert [table.SURVIVED in line for line in lines] == [True], done.stdout
    assert f"0 of {len(FAULTS)} faults caught" in done.stdout
