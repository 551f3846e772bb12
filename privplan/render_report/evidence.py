"""Evidence: what the claim rests on, and what a reader can recompute.

The findings are of the steps that need the report alone; they were taken when the page
was made, and `privplan verify` takes them again, and the others.
"""

from __future__ import annotations

from privplan import verify
from privplan.canonical import text_down, text_up
from privplan.findings import Outcome
from privplan.render_report.parts import (
    Badge,
    Block,
    Cell,
    Code,
    Listing,
    Section,
    Table,
    Text,
    Tone,
    facts,
)
from privplan.render_report.source import Source
from privplan.report_schema import Predicate

_OUTCOMES = {
    Outcome.PASSED: Badge(tone=Tone.GOOD, text="holds"),
    Outcome.FAILED: Badge(tone=Tone.BAD, text="FAILS"),
    Outcome.NOT_TAKEN: Badge(tone=Tone.QUIET, text="needs the run"),
}
_ACCOUNTED = {
    "no": Badge(tone=Tone.BAD, text="not covered"),
    "by-construction": Badge(tone=Tone.GOOD, text="by construction"),
    "charged": Badge(tone=Tone.CHARGED, text="CHARGED"),
}
_CHECK = """\
privplan verify report.html --key trainer.pub   # recomputes every claim, offline
privplan report explain report.html             # with OpenSSL and dp-accounting"""


def evidence(source: Source) -> Section:
    """Return the section about evidence.

    Args:
        source: The signed report.
    """
    said = source.predicate
    blocks: list[Block] = [
        Text(
            text="This page is a picture of a signed statement, which is embedded in "
            "it. It proves nothing by itself. Check it, with a key you got from the "
            "signer:"
        ),
        Code(text=_CHECK),
        _found(said),
        _accountants(said),
        facts("The mechanism, in words", _mechanism(said)),
        facts("Ledger, plan and commitments", _ledger(source)),
        _files(source),
        facts("What ran, where", _code(said)),
    ]
    return Section(anchor="evidence", title="Evidence", blocks=tuple(blocks))


def scope(said: Predicate) -> Section:
    """Return the section about assumptions, exclusions and limitations."""
    excluded = Table(
        caption="The eleven ways in which private data commonly leak beside training. "
        "A report that leaves one out does not verify.",
        columns=("exclusion", "means", "touched private data", "accounted", "note"),
        rows=tuple(
            (
                part.what.replace("-", " "),
                part.meaning,
                part.touches_private,
                _ACCOUNTED[part.accounted],
                part.note,
            )
            for part in said.scope.excludes
        ),
    )
    return Section(
        anchor="scope",
        title="What is assumed and what is left out",
        blocks=(
            facts(
                "Assumptions: if one of them is false, so may be the claim",
                [(name.replace("-", " "), text) for name, text in _assumed(said)],
            ),
            excluded,
            Text(text="Limitations of any such report:"),
            Listing(items=said.limitations),
        ),
    )


def _assumed(said: Predicate) -> list[tuple[str, str]]:
    return list(said.assumptions.items())


def _found(said: Predicate) -> Table:
    return Table(
        caption="What follows from the report alone, recomputed when this page was "
        "made. Signature, files, ledger and second opinions need privplan verify.",
        columns=("step", "about", "", "found"),
        rows=tuple(
            (found.number, found.name, _OUTCOMES[found.outcome], found.text)
            for found in verify.alone(said)
        ),
    )


def _accountants(said: Predicate) -> Table:
    return Table(
        caption="Epsilon of the same events by independent accountants. The claim "
        "stands only if their intervals meet.",
        columns=("accountant", "version", "method", "from", "to"),
        rows=tuple(
            (
                part.name,
                part.version,
                part.method,
                text_down(part.lower, 6),
                text_up(part.upper, 6),
            )
            for part in said.accounting
        ),
        right=frozenset({3, 4}),
    )


def _mechanism(said: Predicate) -> list[tuple[str, Cell]]:
    found = said.mechanism
    return [
        ("sampling", found.sampling),
        ("clipping", found.clipping),
        ("noise", found.noise),
        ("divisor", found.denominator),
        ("gradients that are not finite", found.non_finite_gradients),
        ("an empty batch", found.empty_batch),
        ("randomness", found.randomness),
        ("arithmetic", found.arithmetic),
    ]


def _ledger(source: Source) -> list[tuple[str, Cell]]:
    said = source.predicate
    paid = said.reservation
    rows: list[tuple[str, Cell]] = [
        ("signed bytes, SHA-256", source.digest),
        ("plan, SHA-256", said.plan.digest),
        ("ledger", said.ledger.ledger_id),
        (
            "its head when this was written",
            f"entry {said.ledger.head_sequence:,}, {said.ledger.head_hash}",
        ),
        ("assurance", said.ledger.assurance),
        ("sessions of the run", f"{said.realised.sessions:,}"),
        (f"commitment to the data, {said.data.algorithm}", said.data.value),
        ("its nonce", said.data.nonce),
        ("signed, so the envelope says, by key", ", ".join(source.keyids) or "nobody"),
    ]
    if paid is not None:
        rows += [
            ("register", paid.register_id),
            ("reservation", f"{paid.reservation}, data set '{paid.data_set}'"),
            ("its entry", f"{paid.sequence:,}, {paid.hash}"),
        ]
    return rows


def _files(source: Source) -> Table:
    return Table(
        caption="Files the report speaks of. A changed byte shows.",
        columns=("file", "SHA-256"),
        rows=source.subjects,
        narrow=frozenset({1}),
    )


def _code(said: Predicate) -> list[tuple[str, Cell]]:
    versions = ", ".join(f"{n} {v}" for n, v in said.code.versions.items())
    return [
        ("report", said.report_id),
        ("written", said.written or "no time was noted"),
        ("sources, SHA-256", said.code.source_digest),
        ("versions", versions),
        ("platform", said.code.platform),
    ]
