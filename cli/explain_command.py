"""`privplan explain`: any word of a plan or report, in plain words."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.options import AsJson
from cli.paper import console, print_json
from privplan import glossary
from privplan.errors import ParameterError
from privplan.glossary import Entry


def explain(
    term: Annotated[
        str | None,
        typer.Argument(metavar="TERM", help="A term, a field, or a path of one."),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--list", help="List everything there is.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Explain a term, or a field of a plan or report, with its source.

    Exit code: 0 explained, 2 there is no such term.
    """
    if (term is None) != everything:
        raise ParameterError(
            "explain takes a term or --list, and one of them",
            hint="try privplan explain epsilon",
        )
    found = glossary.entries() if term is None else glossary.explain(term)
    if as_json:
        print_json({"entries": [asdict(entry) for entry in found]})
        return
    out = console()
    for entry in found:
        _print(out, entry)


def _print(out: Console, entry: Entry) -> None:
    """Print one entry: its name, what it means, where that comes from."""
    lines = [entry.name]
    for text in (entry.words, f"({entry.source})"):
        lines += textwrap.wrap(
            text,
            out.width,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    out.print(Text("\n".join(lines)), soft_wrap=True)
