"""Any term, and any field of a plan or report, in plain words with its source.

    explain("sample rate")                       a term
    explain("target_epsilon")                    a field, wherever it occurs
    explain("claim.epsilon.upper")               a field by its path, or the end of it
    explain("V13"), explain("back*")             a step, or a word as a table prints it

Underscores, hyphens and capitals do not matter. Paths are read from the schemas, so a
field that is new has a path at once and no words until somebody writes them.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from privplan.errors import ParameterError
from privplan.glossary_plan import EVENT_FIELDS, PLAN_FIELDS
from privplan.glossary_report import REPORT_FIELDS
from privplan.glossary_screen import ALIASES, STEPS
from privplan.glossary_terms import TERMS
from privplan.plan import Plan
from privplan.report_schema import Predicate

FIELDS: dict[str, dict[str, str]] = {**PLAN_FIELDS, **REPORT_FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One explanation.

    Attributes:
        name: The term, or the path of the field.
        words: What it means.
        source: Where to read more: a paper, a standard, a file of the project.
    """

    name: str
    words: str
    source: str


def explain(asked: str) -> tuple[Entry, ...]:
    """Explain a term or a field.

    Raises:
        ParameterError: Nothing is called so; the hint names what is near.

    Example:
        >>> explain("Noise-Multiplier")[0].source
        'Abadi et al. 2016, arXiv:1607.00133'
        >>> explain("claim.epsilon.upper")[0].name
        'report.claim.epsilon.upper'
    """
    wanted = _plain(asked)
    wanted = ALIASES.get(wanted, wanted)
    everything = entries()
    found = [entry for entry in everything if _plain(entry.name) == wanted]
    found += [e for e in everything if _plain(e.name).endswith(f".{wanted}")]
    if found:
        return tuple(found)
    parts = {_plain(entry.name).split(".")[-1] for entry in everything}
    near = difflib.get_close_matches(wanted.split(".")[-1], sorted(parts), n=3)
    hint = (
        f"do you mean {' or '.join(near)}?" if near else "see privplan explain --list"
    )
    raise ParameterError(
        f"'{asked[:60]}' is no term and no field of a plan or report", hint=hint
    )


def entries() -> tuple[Entry, ...]:
    """Return every term and step, then every field of a plan, event and report."""
    found = [
        Entry(name=name, words=words, source=source)
        for name, (words, source) in [*TERMS.items(), *STEPS.items()]
    ]
    found += _fields(Plan, "plan")
    found += [
        Entry(name=f"event.{name}", words=words, source="privplan/events.py")
        for name, words in EVENT_FIELDS.items()
    ]
    found += _fields(Predicate, "report")
    return tuple(found)


def _fields(model: type[BaseModel], path: str) -> Iterator[Entry]:
    """Walk a schema; what a report holds of a plan is explained as the plan's."""
    source = f"{model.__module__.replace('.', '/')}.py"
    for name, field in model.model_fields.items():
        words = FIELDS.get(model.__name__, {}).get(name, "")
        yield Entry(name=f"{path}.{name}", words=words, source=source)
        for inner in _models(field.annotation):
            if inner is not Plan:
                yield from _fields(inner, f"{path}.{name}{_which(inner)}")


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [m for part in typing.get_args(annotation) for m in _models(part)]


def _which(model: type[BaseModel]) -> str:
    """Name the kind of phase, of which one list holds several."""
    name = model.__name__
    return f".{name.removesuffix('Phase').lower()}" if name.endswith("Phase") else ""


def _plain(text: str) -> str:
    words = text.lower().rstrip("*").replace("_", " ").replace("-", " ")
    return " ".join(words.split())
