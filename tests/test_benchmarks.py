"""The benchmarks behind the figures of the docs still fit the product."""

import ast
import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))
HOUSES = ("privplan", "diffusion", "cli")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_everything_a_benchmark_takes_from_the_product_is_there(path):
    """Nothing imports a benchmark, so a module moved away leaves a dead command in
    the docs and raises nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in HOUSES:
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                if not hasattr(module, name):
                    importlib.import_module(f"{node.module}.{name}")
