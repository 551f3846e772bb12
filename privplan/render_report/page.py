"""The content of a rendered report, before it is HTML or Markdown.

    Page = decision, then sections in the order in which a reader asks

A page of the data holder may show local numbers; `released` takes none, so a page made
by it holds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from privplan.render_report import annexes, evidence, spending, threats
from privplan.render_report.decision import Decision, decision
from privplan.render_report.parts import Section
from privplan.render_report.source import LocalNumber, Source


class Build(StrEnum):
    """For whom a page is made."""

    REPORT = "report"
    RELEASE = "release"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything a rendering says.

    Attributes:
        build: For whom it is made.
        source: The signed report.
        local: Numbers for the data holder; only in an internal build.
        decision: The first page.
        sections: What follows.
    """

    build: Build
    source: Source
    local: tuple[LocalNumber, ...]
    decision: Decision
    sections: tuple[Section, ...]


def reported(source: Source) -> Page:
    """Make the page of a signed report.

    Raises:
        PrivplanError: The plan inside it cannot be accounted for.
    """
    return _page(source, Build.REPORT, ())


def released(source: Source) -> Page:
    """Make a page to be published; it has no way to be given a local number.

    Raises:
        PolicyError: A field of the report is not on the list of what may be published.
        PrivplanError: The plan inside it cannot be accounted for.
    """
    from privplan.render_report import release  # noqa: PLC0415 - reads its list

    release.check(source)
    return _page(source, Build.RELEASE, ())


def internal(source: Source, local: Sequence[LocalNumber]) -> Page:
    """Make a page for the data holder, with numbers that nobody signed.

    Raises:
        PrivplanError: The plan inside it cannot be accounted for.
    """
    return _page(source, Build.INTERNAL, tuple(local))


def _page(source: Source, build: Build, local: tuple[LocalNumber, ...]) -> Page:
    said = source.predicate
    return Page(
        build=build,
        source=source,
        local=local,
        decision=decision(source),
        sections=(
            spending.section(said),
            evidence.evidence(source),
            annexes.audits(source),
            annexes.utility(source, local),
            evidence.scope(said),
            threats.section(said),
            annexes.glossary(),
        ),
    )
