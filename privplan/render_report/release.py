"""The build in which no local number can occur.

Three walls, each enough by itself:

    type    `page.released` takes a signed report and nothing else
    list    every field of that report is on a list of what may be published; a field
            that is new, or was planted, is refused by name
    last    the finished page is made again from what it holds, and compared

Source of the list: docs/report-schema.json, read field by field. A field is put on it
when somebody has asked where its values come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from privplan.errors import PolicyError
from privplan.render_report import comparing, embedding
from privplan.render_report.page import Build
from privplan.render_report.source import Source

LIST_NAME = "release_fields.txt"
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*")
_VERSION = re.compile(r"\d+(?:\.[0-9a-z]+)*(?:\+[a-z0-9.]+)?")
_KEYID = re.compile(r"[0-9a-f]{64}|")
_KINDS = frozenset({"charged", "public"})


def check(source: Source) -> None:
    """Refuse a report with anything in it that is not on the list.

    Args:
        source: The signed report.

    Raises:
        PolicyError: A field, a file name or a measurement may not be published.
    """
    known = allowed()
    for path, _ in leaves(source.said):
        if path not in known and not _below(path, known):
            raise _refused(f"the field '{path[:80]}' is not on the list")
    for name, _ in source.subjects:
        if not _FILE_NAME.fullmatch(name):
            raise _refused(f"the name of a file, {name[:40]!r}, says more than a name")
    if not all(_KEYID.fullmatch(keyid) for keyid in source.keyids):
        raise _refused("the envelope names a key that is no key")
    for package, version in source.predicate.code.versions.items():
        if not _VERSION.fullmatch(version):
            raise _refused(f"the version of {package[:40]} is no version")
    for one in source.said["utility"]:
        if one.get("kind", _kind(str(one["data"]))) not in _KINDS:
            raise _refused(f"the measurement '{str(one['name'])[:40]}' is not public")


def check_page(text: str) -> None:
    """Look at a finished page once more, before it is written.

    Args:
        text: The page.

    Raises:
        PolicyError: It is no release build, or holds a local number.
        IntegrityError: It shows something that its signed report does not give.
    """
    page = text.encode()
    if comparing.build_of(page) is not Build.RELEASE:
        raise _refused("the page was not made as a release")
    if embedding.read(page, embedding.LOCAL) is not None:
        raise _refused("the page holds local numbers")
    comparing.check(page)


@cache
def allowed() -> frozenset[str]:
    """Return the paths of fields that may be published.

    Example:
        >>> "claim.epsilon.upper" in allowed(), "data.records_of_label" in allowed()
        (True, False)
    """
    folder = resources.files("privplan.render_report")
    lines = folder.joinpath(LIST_NAME).read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Walk some JSON; a list adds `[]` to the path, whatever the place in it.

    What is empty says nothing and is passed over.

    Example:
        >>> list(leaves({"a": [{"b": 1}, {"b": 2}], "c": [], "d": None}))
        [('a[].b', 1), ('a[].b', 2)]
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    elif value is not None:
        yield path, value


def _below(path: str, known: frozenset[str]) -> bool:
    """Return whether a field is part of an event, which is a closed set of its own."""
    return any(
        path.startswith(whole.removesuffix("**"))
        for whole in known
        if whole.endswith(".**")
    )


def _kind(data: str) -> str:
    return "public" if data.startswith("public") else "unknown"


def _refused(problem: str) -> PolicyError:
    return PolicyError(
        f"no release can be made of this report: {problem}",
        hint="leave out --release for a page of your own, or sign a report without it",
    )
