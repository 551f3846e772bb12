"""What the documents say of the code is there: every file and every test they name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "PRIVACY_PROMISE.md",
    "KNOWN_ISSUES.md",
    "SECURITY.md",
    "docs/attack-model.md",
    "docs/guarantee.md",
    "docs/faults.md",
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_test_and_link_a_document_names_is_there(name):
    """A promise that points at nothing is kept by nobody."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:privplan|diffusion|cli|tests|docs)/[\w/]+\.(?:py|md))(?:::(\w+))?`", text
    )
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), test
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_a_document_names_exists(name, cli):
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"`privplan ((?:keys |ledger |report )?[a-z]+)", text)
    for command in set(named) | {"verify"}:
        assert cli(*command.split(), "--help")[0] == 0, command


def test_the_attack_model_names_a_test_on_every_line_of_defence():
    text = (ROOT / "docs" / "attack-model.md").read_text(encoding="utf-8")
    tables = text.split("## Against the reader")[1]
    rows = [x for x in tables.splitlines() if x.startswith("| ") and "---" not in x]
    lines = [row for row in rows if not row.endswith("| test |")]
    assert len(lines) >= 15
    assert all("`tests/" in line for line in lines)


def test_the_numbers_in_the_documents_are_those_of_the_code():
    """1 % and 200 steps are constants of one module."""
    from privplan import ledger_blocks

    assert ledger_blocks.BURN_SHARE == 0.01
    assert ledger_blocks.most_burnt(199) == 1
    assert ledger_blocks.most_burnt(200) == 2
