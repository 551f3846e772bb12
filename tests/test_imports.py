"""What a command may load: `--help` and `verify` work without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADED = """
import json, sys
sys.path.insert(0, {root!r})
{code}
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(code):
    """Return the modules in memory after some code ran in a fresh process."""
    text = LOADED.format(root=str(ROOT), code=code)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def run_cli(*arguments):
    return f"from cli.__main__ import main\nmain({list(arguments)!r})"


HEAVY = {"torch", "opacus", "sklearn", "matplotlib", "diffusion"}


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("train", "--help"), ("verify", "--help"), ("verify", "no.json")],
    ids=" ".join,
)
def test_help_and_verify_load_no_torch(arguments):
    assert not HEAVY & loaded_by(run_cli(*arguments))


def test_planning_loads_no_torch(tmp_path):
    out = str(tmp_path / "plan.json")
    assert not HEAVY & loaded_by(
        run_cli("plan", "--eps", "1", "--stages", "--out", out)
    )


def test_the_first_house_loads_no_numbers_until_an_epsilon_is_asked_for():
    loaded = loaded_by("import privplan, privplan.events, privplan.accounting")
    assert not loaded & {"torch", "numpy", "scipy", "dp_accounting", "prv_accountant"}
