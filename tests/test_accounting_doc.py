"""docs/accounting.md is checked against the program: what it shows is what happens."""

import doctest
import re
import shlex
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "docs" / "accounting.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_every_command_shown_prints_what_is_shown(cli, monkeypatch):
    """A stale example would teach a wrong epsilon."""
    monkeypatch.setenv("COLUMNS", "80")
    ran = 0
    for language, block in BLOCKS:
        if language:
            continue
        for part in block.split("$ privplan ")[1:]:
            command, _, shown = part.partition("\n")
            _, out, err = cli(*shlex.split(command))
            assert lines(shown) == lines(out) + lines(err), command
            ran += 1
    assert ran >= 5


def test_every_line_of_python_shown_gives_what_is_shown():
    """All blocks in one session, as a reader would type them."""
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    test = doctest.DocTestParser().get_doctest(code, {}, "accounting.md", None, 0)
    assert len(test.examples) >= 10
    report = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert not report, "".join(report)
