"""Pages of the site that are written by the program or lie at the repository's root.

    reference/cli.md    what `--help` says, of every command, by typer's own writer
    project/*.md        the promise, known issues and other files of the repository

Read by mkdocs, see mkdocs.yml; not a part of the program.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = {
    "PRIVACY_PROMISE.md": "project/privacy-promise.md",
    "KNOWN_ISSUES.md": "project/known-issues.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
}
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file in docs/ holds."""
    pages = {"reference/cli.md": _commands()}
    for name, place in PROJECT.items():
        pages[place] = (ROOT / name).read_text(encoding="utf-8")
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Point links between repository files at the pages that show them here."""
    source = page.file.src_uri
    here = next((name for name, place in PROJECT.items() if place == source), None)
    folder = ROOT if here else (ROOT / "docs" / source).parent

    def moved(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        wanted = (folder / target).resolve()
        if not wanted.is_relative_to(ROOT):
            return found[0]
        name = wanted.relative_to(ROOT).as_posix()
        place = PROJECT.get(name, name.removeprefix("docs/"))
        if name == "README.md":
            place = "index.md"
        up = "../" * source.count("/")
        return f"]({up}{place}{anchor})"

    return _LINK.sub(moved, markdown)


def _commands() -> str:
    """Return what `--help` says of every command, as Markdown."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "cli.app", "utils", "docs",
         "--name", "privplan", "--title", "Commands"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return made.stdout
