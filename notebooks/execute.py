"""Execute the notebooks: percent-format sources in, .ipynb with outputs out.

    python notebooks/execute.py [FOLDER]     default: beside the sources

Each source runs from its first cell to its last in a kernel of its own, in an empty
folder. What is written has no times and no counters of this machine, and cells are
named by their place, so that two executions differ only where their outputs do.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
SECONDS_PER_CELL = 600


def sources() -> list[Path]:
    """Return the sources of all notebooks, in order."""
    return sorted(HERE.glob("[0-9]_*.py"))


def execute(source: Path) -> NotebookNode:
    """Run a source; return the notebook with its outputs.

    Raises:
        CellExecutionError: A cell failed; the message names it.
    """
    notebook = jupytext.read(source)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place}"
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), before]))
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            resources={"metadata": {"path": empty}},
            record_timing=False,
        ).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        _drop_what_nobody_sees(cell)
    return notebook


def _drop_what_nobody_sees(cell: NotebookNode) -> None:
    """Leave out the repr beside a table: it holds times, and nobody is shown it."""
    for output in cell.get("outputs", []):
        if "text/html" in output.get("data", {}):
            output.data.pop("text/plain", None)


def write(notebook: NotebookNode, source: Path, folder: Path) -> None:
    """Write an executed notebook beside its source, or into another folder."""
    nbformat.validate(notebook)
    nbformat.write(notebook, folder / f"{source.stem}.ipynb")


def main(folder: Path) -> None:
    """Execute and write all."""
    for source in sources():
        print(source.stem, flush=True)
        write(execute(source), source, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
