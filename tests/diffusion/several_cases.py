"""Cases for several processes: handed to `several.py`, and what became of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from diffusion import checkpoint
from privplan import ledger
from privplan import plan as plans

HELPER = Path(__file__).with_name("several.py")
STEPS = 4


def shrunk(plan):
    """Give a plan a network of a few thousand weights."""
    network = plan.training.network.model_copy(
        update={"base_width": 8, "width_multipliers": (1,), "blocks": 1}
    )
    training = plan.training.model_copy(update={"network": network})
    return plans.seal(plan.model_copy(update={"training": training}))


def carried_out(cases, folder):
    """Run cases by name, in order; a case may share the folder of an earlier one."""
    full = [
        {
            "name": name,
            "plan": str(folder / case.get("of", "plan.json")),
            "folder": str(folder / case.get("in", name)),
        }
        | case
        for name, case in cases.items()
    ]
    done = subprocess.run(
        [sys.executable, str(HELPER)],
        input=json.dumps(full),
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    found = {case["name"]: case for case in map(json.loads, done.stdout.splitlines())}
    assert set(found) == set(cases), done.stderr
    return found, done.stderr


def noted(case, kind):
    """What every process of a case noted of a kind."""
    return [[text for k, text in notes if k == kind] for notes in case["notes"]]


def counts(case):
    content = ledger.read(Path(case["folder"]) / "run" / "ledger.sqlite")
    return {a.phase: content.counted(a.phase) for a in content.allowances}


def weights(case):
    return load_file(Path(case["folder"]) / "run" / checkpoint.MODEL_NAME)
