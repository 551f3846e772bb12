"""The documentation site: it builds, is whole, and asks no other machine."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Building must work on a machine without a network, so here there is none.
OFFLINE = """
import runpy, socket, sys

def refuse(*args):
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = ["mkdocs", "build", "--quiet", "--site-dir", sys.argv[1]]
runpy.run_module("mkdocs", run_name="__main__")
"""


class Loads(HTMLParser):
    """The addresses that a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in {"script", "img", "iframe", "source"} and given.get("src"):
            self.found.append(given["src"])
        if tag == "link" and given.get("rel") in {"stylesheet", "preload", "icon"}:
            self.found.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(folder)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_without_a_network_and_without_a_broken_link(site):
    """Strict: a link, anchor or page that is missing fails the build."""
    pages = {page.relative_to(site).as_posix() for page in site.rglob("index.html")}
    assert {"index.html", "tutorial/index.html", "reference/cli/index.html"} <= pages


def test_no_page_makes_a_browser_ask_another_machine(site):
    """A hospital's reader must not tell a stranger what is read."""
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found or page.parent.name == "examples"
        assert not [url for url in loads.found if re.match(r"(https?:)?//", url)]


def test_every_command_has_its_place_in_the_reference(site):
    page = (site / "reference/cli/index.html").read_text(encoding="utf-8")
    for command in ("plan", "train", "verify", "ledger anchor", "budget grant"):
        assert f"<code>privplan {command}</code>" in page


def test_docstring_examples_are_shown_as_sessions(site):
    page = (site / "reference/api/index.html").read_text(encoding="utf-8")
    assert "&gt;&gt;&gt;" in page
    assert '<span class="gp">' in page
    assert "<blockquote>" not in page
