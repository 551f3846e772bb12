"""Where a page keeps the signed report: in a block that no browser runs.

A script of a type that browsers do not know is data to them. Inside it only `<` could
end the block early, and in JSON that character can stand in a string alone, where it
may also be written as an escape. So the block is always whole, and there is one way to
read it.
"""

from __future__ import annotations

import json
import re

from markupsafe import Markup

from privplan import canonical, dsse
from privplan.errors import DocumentError

SIGNED, LOCAL = "signed-report", "local-numbers"
_TYPES = {SIGNED: "application/vnd.dsse+json", LOCAL: "application/json"}
_BLOCK = re.compile(
    rb'<script type="([a-z.+/]{1,40})" id="([a-z-]{1,40})">\n([^<]*)\n</script>'
)
_PAGE = re.compile(rb"\s*<!doctype html", re.IGNORECASE)


def is_page(text: bytes) -> bool:
    """Tell whether a file is an HTML page.

    Example:
        >>> is_page(b"<!DOCTYPE html>"), is_page(b"{}")
        (True, False)
    """
    return _PAGE.match(text) is not None


def normal(envelope: bytes) -> str:
    """Write an envelope in the one form in which a page carries it.

    Raises:
        DocumentError: This is not an envelope.
    """
    opened, payload = dsse.unpack(envelope)
    dsse.check_type(opened)
    signatures = [signature.model_dump() for signature in opened.signatures]
    return _safe(dsse.write(payload, signatures).decode().strip())


def block(name: str, content: str) -> Markup:
    r"""Return the block of a page that holds some JSON.

    Example:
        >>> print(block(LOCAL, '{"a":"</script>"}'))
        <script type="application/json" id="local-numbers">
        {"a":"\u003c/script>"}
        </script>
    """
    return Markup('<script type="{}" id="{}">\n').format(_TYPES[name], name) + Markup(
        "{}\n</script>"
    ).format(Markup(_safe(content)))  # noqa: S704 - no character of it ends the block


def read(page: bytes, name: str) -> bytes | None:
    """Return what a page holds in one of its blocks; None if the block is not there.

    Raises:
        DocumentError: The page is too large, or holds the block twice.
    """
    if len(page) > 2 * canonical.MAX_DOCUMENT_BYTES:
        raise DocumentError(
            f"this page has {len(page):,} bytes, more than any report has",
            hint="give a page written by privplan report",
        )
    kind = _TYPES[name]
    found = [
        content
        for type_, id_, content in _BLOCK.findall(page)
        if (type_.decode(), id_.decode()) == (kind, name)
    ]
    if len(found) > 1:
        raise DocumentError(
            f"this page holds the block '{name}' twice",
            hint="ask the one who signed for an unchanged page",
        )
    return found[0] if found else None


def envelope(text: bytes) -> bytes:
    """Return the signed report in a file: the file itself, or what a page holds.

    Raises:
        DocumentError: It is a page without a signed report.
    """
    if not is_page(text):
        return text
    found = read(text, SIGNED)
    if found is None:
        raise DocumentError(
            "this page holds no signed report",
            hint="give a page written by privplan report, unchanged",
        )
    return found


def _safe(content: str) -> str:
    json.loads(content)  # an escape is the same text only inside JSON
    return content.replace("<", "\\u003c")
