"""Does a page show what its signed report gives? It is made again and compared.

Everything a page shows is a function of the signed bytes it holds (and, in a page of
the data holder, of local numbers it holds too). So any other text in it was put there
by somebody. Lines in figures may lie a fraction of a pixel elsewhere on another
machine; letters and digits may not differ at all.
"""

from __future__ import annotations

import html as markup
import re
from dataclasses import replace

from privplan.errors import DocumentError, IntegrityError, PrivplanError
from privplan.findings import Finding, Outcome, Verdict
from privplan.render_report import embedding, html, page, source
from privplan.render_report.page import Build, Page
from privplan.render_report.source import LocalNumber, Source

_PLACE = re.compile(r'( (?:d|x|y|cx|cy)=")([^"]*)(")')
_STEP = re.compile(r"[MLHVv]|-?\d{1,6}(?:\.\d)?")
_BUILD = re.compile(rb'<meta name="privplan-build" content="([a-z]{1,20})">')
_TAGS = re.compile(r"<[^>]*>")
_PIXELS = 0.5
_SOUND = frozenset({"V1", "V2", "V3"})


def extend(verdict: Verdict, text: bytes) -> Verdict:
    """Add to a verdict whether the page shows what the signed report gives.

    Args:
        verdict: About the signed report that the page holds.
        text: The page.

    Returns:
        The verdict with step P1.
    """
    failed = {f.number for f in verdict.findings if f.outcome is Outcome.FAILED}
    if failed & _SOUND:
        outcome, found = Outcome.NOT_TAKEN, "there is no sound report to compare with"
    else:
        try:
            outcome, found = Outcome.PASSED, check(text)
        except PrivplanError as error:
            outcome, found = Outcome.FAILED, error.message
    finding = Finding(number="P1", name="page", outcome=outcome, text=found)
    return replace(verdict, findings=(*verdict.findings, finding))


def check(text: bytes) -> str:
    """Compare a page with what its signed report gives.

    Args:
        text: The page.

    Returns:
        What was found, in a few words.

    Raises:
        DocumentError: It is not a page that privplan wrote.
        IntegrityError: It shows something else; the message says what.
    """
    build = build_of(text)
    said = source.read(text)
    local = source.read_local(text)
    if bool(local) != (build is Build.INTERNAL):
        raise IntegrityError(
            f"a page of build '{build.value}' {'holds' if local else 'lacks'} local "
            "numbers",
            hint="make the page again with privplan report render",
        )
    _compare(_text(text), html.write(_made(build, said, local)))
    if build is Build.INTERNAL:
        return "as the signed report gives it, and LOCAL numbers that nobody signed"
    return f"everything on it is what the signed report gives (build '{build.value}')"


def _made(build: Build, said: Source, local: tuple[LocalNumber, ...]) -> Page:
    match build:
        case Build.REPORT:
            return page.reported(said)
        case Build.RELEASE:
            return page.released(said)
        case Build.INTERNAL:
            return page.internal(said, local)


def build_of(text: bytes) -> Build:
    """Return for whom a page was made.

    Raises:
        DocumentError: It does not say.
    """
    found = _BUILD.findall(text)
    if not embedding.is_page(text) or len(found) != 1:
        raise _no_page()
    try:
        return Build(found[0].decode())
    except ValueError as error:
        raise _no_page() from error


def _compare(given: str, made: str) -> None:
    given_lines, made_lines = given.split("\n"), made.split("\n")
    for one, other in zip(given_lines, made_lines, strict=False):
        if not _same(one, other):
            raise _differs(one, other)
    if len(given_lines) != len(made_lines):
        raise _differs(f"{len(given_lines):,} lines", f"{len(made_lines):,} lines")


def _same(given: str, made: str) -> bool:
    """Compare a line: all but the places of drawn things has to be equal."""
    if given == made:
        return True
    if _PLACE.sub(r"\1\3", given) != _PLACE.sub(r"\1\3", made):
        return False
    return all(
        _near(one[1], other[1])
        for one, other in zip(_PLACE.findall(given), _PLACE.findall(made), strict=True)
    )


def _near(given: str, made: str) -> bool:
    if _STEP.sub("", given).strip():
        return False
    ours, theirs = _STEP.findall(made), _STEP.findall(given)
    if len(ours) != len(theirs):
        return False
    for one, other in zip(ours, theirs, strict=True):
        letters = one.isalpha() or other.isalpha()
        if one != other and (letters or not abs(float(one) - float(other)) <= _PIXELS):
            return False
    return True


def _text(page_bytes: bytes) -> str:
    try:
        return page_bytes.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _no_page() from error


def _differs(given: str, made: str) -> IntegrityError:
    ours, theirs = _shown(made), _shown(given)
    pairs = enumerate(zip(ours, theirs, strict=False))
    first = next((place for place, (a, b) in pairs if a != b), 0)
    start = max(first - 20, 0)
    shown, gives = (repr(text[start : start + 60]) for text in (theirs, ours))
    return IntegrityError(
        f"the page shows {shown} where its signed report gives {gives}; "
        "it was edited, or made by another version of privplan",
        hint="make it again with privplan report render, and trust that one",
    )


def _shown(line: str) -> str:
    return " ".join(markup.unescape(_TAGS.sub(" ", line)).split()) or line.strip()


def _no_page() -> DocumentError:
    return DocumentError(
        "this is not a page that privplan wrote",
        hint="give a report.html written by privplan report, unchanged",
    )
