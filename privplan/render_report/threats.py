"""Threats, row by row: what this report says of each, and what it does not cover.

The rows are the topics that NIST SP 800-226 asks a reviewer of a differential privacy
claim to go through, from the parameters down to how the data were collected. An answer
quotes the report where the report has one.

Source: NIST SP 800-226, Guidelines for Evaluating Differential Privacy Guarantees; the
titles of the rows are ours.
"""

from __future__ import annotations

from privplan.canonical import decimal_text, text_up
from privplan.plan import PublicPhase
from privplan.render_report.parts import Badge, Section, Table, Text, Tone
from privplan.report_schema import Predicate

_COVERED = Badge(tone=Tone.GOOD, text="covered")
_ASSUMED = Badge(tone=Tone.CARE, text="assumed")
_PARTLY = Badge(tone=Tone.CARE, text="partly")
_NOT = Badge(tone=Tone.BAD, text="not covered")
_CHARGED = Badge(tone=Tone.CHARGED, text="CHARGED")
_HIGH_EPSILON = 10.0

Row = tuple[str, Badge, str]


_FLOATS = {
    "L1": "It closes the known attack on low bits; it is not a proof.",
    "L2": "Sums and noise of the training are exact, and a gradient's length is "
    "counted after rounding. Time taken, and queries, are not covered.",
}


def section(said: Predicate) -> Section:
    """Return the section about threats.

    Args:
        said: The report.
    """
    rows = (
        *_parameters(said),
        *_mechanism(said),
        *_people(said),
        *_choices(said),
        *_beyond(said),
    )
    return Section(
        anchor="threats",
        title="Threats, covered and not",
        blocks=(
            Text(
                text="Topics that NIST SP 800-226 asks a reviewer to go through, from "
                "the parameters down to the collection of the data."
            ),
            Table(
                caption="What this report says of each threat.",
                columns=("threat", "", "what this report says"),
                rows=rows,
            ),
        ),
    )


def _parameters(said: Predicate) -> tuple[Row, ...]:
    claim, records = said.claim, said.plan.data.records
    epsilon, chance = claim.epsilon.upper, claim.delta * records
    return (
        (
            "epsilon too large to mean anything",
            _COVERED if epsilon <= _HIGH_EPSILON else _PARTLY,
            f"Claimed {text_up(epsilon, 4)}. What it lets an attacker find is on the "
            "first page; above 10 the bound alone says little.",
        ),
        (
            "delta too large: some records published outright",
            _COVERED if chance < 1 else _NOT,
            f"delta {decimal_text(claim.delta)} times n = {records:,} is "
            f"{chance:.3g}; at 1 or more, one record may be published whole.",
        ),
        (
            "the wrong unit: a person with several records",
            _ASSUMED,
            f"The unit is one {claim.unit} with at most {claim.max_records_per_unit:,} "
            f"records. {_checked(said)}",
        ),
        (
            "the number of records is itself secret",
            _NOT,
            f"n = {records:,} is {claim.n_status.replace('-', ' ')}; nothing protects "
            "it.",
        ),
    )


def _checked(said: Predicate) -> str:
    if said.plan.data.unit_column is None:
        return "Nobody checked this bound against the data here."
    return (
        "The bound was enforced at loading; whether the column says rightly whose a "
        "record is, nobody checked."
    )


def _mechanism(said: Predicate) -> tuple[Row, ...]:
    found = said.mechanism
    seeded = "never seeded" not in found.randomness
    return (
        (
            "the code does something else",
            _PARTLY,
            f"Sources have digest {said.code.source_digest[:16]}…; accounting is "
            "recomputed. That this code ran, and drew noise, no file can show.",
        ),
        (
            "predictable noise",
            _NOT if seeded else _COVERED,
            f"{found.randomness}.",
        ),
        (
            "floating point",
            _PARTLY,
            f"{found.arithmetic}. {_FLOATS[found.arithmetic[:2]]}",
        ),
        (
            "side channels: time, memory, power",
            _NOT,
            "How long a step takes depends on how many records were drawn. Do not "
            "publish timings.",
        ),
    )


def _people(said: Predicate) -> tuple[Row, ...]:
    paid = said.reservation
    return (
        (
            "trust: central model",
            _PARTLY,
            f"Whoever trains sees the records. Assurance {said.ledger.assurance}.",
        ),
        (
            "theft of the data themselves",
            _NOT,
            "Differential privacy protects what is released, not what is stored.",
        ),
        (
            "repeated releases from the same data",
            _NOT if paid is None else _PARTLY,
            "No register paid for this run: add its epsilon to that of other runs."
            if paid is None
            else f"A register paid from the budget of data set '{paid.data_set}'; "
            "releases it does not know of add to it.",
        ),
        (
            "related records: families, series, copies",
            _NOT,
            "Groups of k related records are protected k times less.",
        ),
    )


def _choices(said: Predicate) -> tuple[Row, ...]:
    asked = ("hyperparameter-tuning", "preprocessing", "evaluation-on-private-data")
    found = {part.what: part for part in said.scope.excludes}
    rows: list[Row] = []
    for what in asked:
        part = found.get(what)
        if part is not None:
            badge = {"no": _NOT, "by-construction": _COVERED, "charged": _CHARGED}
            rows.append((what.replace("-", " "), badge[part.accounted], f"{part.note}"))
    public = said.plan.phases_of(PublicPhase)
    names = ", ".join(phase.data_name for phase in public)
    rows.append(
        (
            "public data that are not public",
            _ASSUMED if public else _COVERED,
            f"Declared public, and not checked: {names}."
            if public
            else "No phase learns from public images of people.",
        )
    )
    return tuple(rows)


def _beyond(said: Predicate) -> tuple[Row, ...]:
    return (
        (
            "worse images of small groups",
            _NOT,
            "Noise hides rare records first, so small groups are drawn worst. Look at "
            "utility group by group before use.",
        ),
        (
            "facts true of everybody",
            _NOT,
            "What would be learned without any one record is not hidden.",
        ),
        (
            "exposure when the data were collected",
            _NOT,
            f"Began before the first of {len(said.plan.phases)} phases; no claim "
            "about it.",
        ),
    )
