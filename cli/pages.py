"""Pages of a report: what is made of it, and where it goes.

Making a page loads numbers and a template engine, so both stay inside the functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privplan import files
from privplan.errors import DocumentError, ParameterError

if TYPE_CHECKING:
    from privplan.render_report.page import Page

_NAMES = {"md": "report.md", "model-card": "MODEL_CARD.md", "data-card": "DATA_CARD.md"}


def beside(report: Path) -> Path:
    """Return where the page of a report goes.

    Example:
        >>> print(beside(Path("run/report.json")).as_posix())
        run/report.html
    """
    return report.with_suffix(".html")


def write(text: bytes, path: Path) -> None:
    """Write the page of a signed report.

    Raises:
        PrivplanError: It is not a report, or the page cannot be written.
    """
    files.write_text(
        path, make(text, form="html", release=False, local=None), what="page"
    )


def renew(text: bytes, report: Path) -> None:
    """Write the page of a report anew if there is one beside it: it was signed again.

    Raises:
        PrivplanError: It is not a report, or the page cannot be written.
    """
    if beside(report).is_file():
        write(text, beside(report))


def default(report: Path, form: str, *, release: bool, local: Path | None) -> Path:
    """Return where a rendering goes if nobody says so."""
    if form != "html":
        return report.with_name(_NAMES[form])
    if release:
        return report.with_name("release.html")
    return report.with_name("internal.html") if local is not None else beside(report)


def make(text: bytes, *, form: str, release: bool, local: Path | None) -> str:
    """Make a page, Markdown or a card.

    Args:
        text: The signed report.
        form: "html", "md", "model-card" or "data-card".
        release: Whether it is to be published.
        local: Scores for the data holder, to be shown in a page of their own.

    Raises:
        ParameterError: Local scores in a release or a card.
        PolicyError: A release, and the report holds what may not be published.
        PrivplanError: It is not a report.
    """
    from privplan.render_report import page, source  # noqa: PLC0415 - makes figures

    if local is not None and (release or form != "html"):
        raise ParameterError(
            "local scores can be shown in a page of the data holder only",
            hint="leave out --local, or --release and --format",
        )
    said = source.read(text)
    if release:
        made = page.released(said)
    elif local is not None:
        made = page.internal(said, source.local_numbers(_read(local)))
    else:
        made = page.reported(said)
    return _written(made, form)


def _written(made: Page, form: str) -> str:
    from privplan.render_report import (  # noqa: PLC0415 - makes figures
        cards,
        html,
        markdown,
        release,
    )

    if form == "md":
        return markdown.write(made)
    if form != "html":
        return cards.model_card(made) if form == "model-card" else cards.data_card(made)
    text = html.write(made)
    if made.build == "release":
        release.check_page(text)
    return text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the local scores {path} cannot be read: {error.strerror}",
            hint="write them with privplan evaluate --json",
        ) from error
