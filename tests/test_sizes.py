"""Size discipline: small files, so that each can be read in one sitting."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for house in ("privplan", "diffusion", "cli")
    for path in ROOT.glob(f"{house}/**/*.py")
)
COMMANDS = ROOT / "cli" / "app.py"  # one function per command, options and all


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_outgrows_300_lines_and_no_function_40(path):
    text = path.read_text(encoding="utf-8")
    if path != COMMANDS:
        assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 40, node.name


def test_there_is_no_room_for_odds_and_ends():
    assert not [path for path in FILES if path.name in {"utils.py", "helpers.py"}]
