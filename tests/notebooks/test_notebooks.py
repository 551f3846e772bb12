"""Notebooks: each runs to its end, and what is committed is what its source says."""

import json
import os
import platform
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
EXECUTE = runpy.run_path(str(ROOT / "notebooks" / "execute.py"))
SOURCES = EXECUTE["sources"]()
BIGGEST = 300_000
# of a machine: folders of users and temporary ones, host names of this one, clocks
MACHINE = re.compile(r"/(?:tmp|home|root|Users|usr|opt|var|srv|private)/|[A-Z]:\\\\")
CLOCK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def committed(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def outputs(notebook):
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def texts(output):
    """Everything an output says in words; pictures are bytes of their own."""
    data = {k: v for k, v in output.get("data", {}).items() if k != "image/png"}
    return json.dumps([data, output.get("text", ""), output.get("traceback", "")])


def test_there_are_five_notebooks():
    assert [source.stem[:2] for source in SOURCES] == ["1_", "2_", "3_", "4_", "5_"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_notebook_has_the_cells_of_its_source(source):
    """A source that was changed without being executed shows old numbers."""
    ours, theirs = jupytext.read(source).cells, committed(source).cells
    assert [(c.cell_type, c.source) for c in ours] == [
        (c.cell_type, c.source) for c in theirs
    ]
    code = [cell for cell in theirs if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_what_is_committed_tells_of_no_machine_and_shows_no_error(source):
    """A path or a clock of whoever executed it would be published with it."""
    path = source.with_suffix(".ipynb")
    assert path.stat().st_size < BIGGEST
    shown = list(outputs(committed(source)))
    assert sum("data" in output for output in shown) >= 3
    for output in shown:
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        assert not MACHINE.search(texts(output)), texts(output)[:500]
        assert not CLOCK.search(texts(output)), texts(output)[:500]
    host = rf"\b{re.escape(platform.node())}\b"
    assert not re.search(host, " ".join(map(texts, shown)))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_cells_are_short_and_every_notebook_shows_a_picture(source):
    notebook = committed(source)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 18, cell.source
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", {})}
    assert kinds & {"image/png", "image/svg+xml"}


@pytest.mark.parametrize(
    "text", ["in /tmp/x/run", '"C:\\\\Users"', "/home/a/run", "/srv/b"]
)
def test_a_path_of_a_machine_would_be_seen(text):
    assert MACHINE.search(json.dumps(text))


def test_notebook_1_runs_as_a_plain_program_without_torch(tmp_path):
    """It reads no record, so whoever only plans needs no training code to load."""
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(SOURCES[0])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.notebooks
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_notebook_runs_to_its_end_and_is_written(source):
    """Renews the .ipynb: what is committed is what the last `make notebooks` made."""
    notebook = EXECUTE["execute"](source)
    assert not [out for out in outputs(notebook) if out.output_type == "error"]
    EXECUTE["write"](notebook, source, source.parent)
