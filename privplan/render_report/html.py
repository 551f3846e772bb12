"""A report as one HTML file that asks nobody for anything.

No script, no font, no picture from elsewhere: the content security policy of the page
forbids all of them, and allows one style sheet, by its hash. Every text is escaped by
the template engine; whatever is not text is refused rather than printed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from privplan.render_report import embedding
from privplan.render_report.page import Build, Page
from privplan.render_report.source import write_local
from privplan.version import __version__

_POLICY = (
    "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
)


def write(page: Page) -> str:
    """Write a page as HTML.

    Args:
        page: What it says.

    Returns:
        One whole document, the same for the same page.
    """
    source = page.source
    style = _style(source.digest)
    local = ""
    if page.build is Build.INTERNAL:
        local = embedding.block(embedding.LOCAL, write_local(page.local))
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            policy=_POLICY.format(_hash(style)),
            style=Markup(style),  # noqa: S704 - our own file and 64 hex digits
            version=__version__,
            signed=embedding.block(embedding.SIGNED, source.envelope),
            local=local,
            statement=json.dumps(source.said, indent=2, ensure_ascii=False),
        )
    )


def _style(digest: str) -> str:
    loader = _environment().loader
    assert loader is not None  # noqa: S101 - it was given one below
    text, _, _ = loader.get_source(_environment(), "style.css")
    return text.replace("@DIGEST@", digest[:32])


def _hash(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("privplan.render_report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_text_only,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _text_only(value: object) -> str:
    """Let text through and nothing else: no number, no object, no local value."""
    if isinstance(value, str):
        return value
    raise TypeError(f"a page holds text only, not a {type(value).__name__}")
