"""The README is checked against the program: what it shows is what is printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_plan_in_the_readme_is_what_the_program_prints(cli, tmp_path, monkeypatch):
    """A stale example would teach a wrong epsilon."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = cli("plan", "--eps", "1", "--stages")
    shown = README.split("$ privplan plan --eps 1 --stages\n")[1].split("```")[0]
    printed = [line.rstrip() for line in out.splitlines() if line.strip()]
    beginning = [line.rstrip() for line in shown.splitlines() if line.strip()]
    assert len(beginning) > 10
    assert beginning == printed[: len(beginning)]


def test_every_command_in_the_readme_exists(cli):
    line = r"^(?:\$ )?privplan ((?:keys |ledger )?[a-z]+)"
    named = set(re.findall(line, README, re.MULTILINE))
    assert len(named) >= 7
    for command in named:
        assert cli(*command.split(), "--help")[0] == 0, command


def test_every_file_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(
        r"`((?:privplan|diffusion|cli)/\w+\.py)`", README
    )
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_names_the_two_commands_and_the_makefile_has_them(command):
    assert command in README
    target = command.split()[1]
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_and_nothing_a_user_could_not_call():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = [
        x for x in script.splitlines() if x and not x.startswith(("#", "set", "cd"))
    ]
    assert lines == ["make test"]


def test_the_published_schema_of_the_report_is_that_of_the_code():
    import json

    from privplan.report_schema import json_schema

    published = json.loads((ROOT / "docs" / "report-schema.json").read_text())
    assert published == json_schema()
