"""Ten situations people are in, and what `privplan plan` says to each, word by word.

The outputs are kept in tests/golden/plans, one file per situation. A change there is a
change of what people read: look at the difference, and if it is meant, write them anew
with

    PRIVPLAN_WRITE_GOLDENS=1 python -m pytest tests/cli/test_plan_goldens.py
"""

import os
import re
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"

SITUATIONS = {
    "tiny-n": ["--eps", "1", "--n", "200", "--image-size", "8", "--stages", "best"],
    "huge-n": ["--eps", "1", "--n", "3000000", "--image-size", "32", "--delta", "1e-8",
               "--draws", "1e9"],
    "tiny-epsilon": ["--eps", "0.01", "--n", "60000"],
    "four-charged-phases": ["--eps", "1", "--n", "60000", "--stages", "best",
                            "--query", "labels:50", "--query", "count:100"],
    "infeasible": ["--eps", "0.1", "--stages", "best", "--prior-noise", "1"],
    "compute-starved": ["--eps", "10", "--n", "60000", "--draws", "20000"],
    "budget-partly-spent": ["--eps", "2", "--spent", "1.2,1e-6", "--n", "60000"],
    "published-dpdm": ["--eps", "10", "--n", "60000", "--delta", "1e-5", "--stages",
                       "dpdm", "--sample-rate", "0.0667", "--steps", "4500",
                       "--noise-multiplicity", "32"],
    "digits-staged": ["--eps", "1", "--stages"],
    "nothing-private": ["--eps", "1", "--stages",
                        "coarse=synthetic,context=synthetic,cleaning=synthetic"],
}  # fmt: skip


def _written(code, out, err):
    said = f"exit code {code}\n{out}{err}".replace("plan.json", "PLAN")
    said = re.sub(r"^Plan [0-9a-f]{12}", "Plan (its digest)", said, flags=re.M)
    return "\n".join(line.rstrip() for line in said.splitlines()) + "\n"


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_plan_reads_as_it_did(name, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    found = _written(*cli("plan", *SITUATIONS[name]))
    kept = GOLDEN / f"{name}.txt"
    if os.environ.get("PRIVPLAN_WRITE_GOLDENS"):
        kept.write_text(found, encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8")


def test_the_infeasible_plan_is_refused_with_code_3_and_writes_nothing(
    cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, _, _ = cli("plan", *SITUATIONS["infeasible"])
    assert code == 3
    assert list(tmp_path.iterdir()) == []
