"""The fixed words of a report: what is assumed, what is left out, what it cannot show.

A claim without its exclusions is a wrong claim. The eleven exclusions are mandatory:
each is a way in which private data commonly leaks beside the training, and a report
must say of each whether it touched private data and whether it was accounted. They
are constants here, so no run can leave one out.

Source: NIST SP 800-226; Ponomareva et al. 2023, section 5.3, arXiv:2303.00654; the
differential privacy deployments registry.
"""

from __future__ import annotations

from collections.abc import Sequence

from privplan import canonical

EXCLUSIONS: dict[str, str] = {
    "hyperparameter-tuning": "Choosing settings by looking at results on these data.",
    "preprocessing": "Cropping, filtering or cleaning chosen by looking at the data.",
    "normalisation-stats": "Means or ranges computed from the records.",
    "checkpoint-selection": "Keeping the best checkpoint by a private metric.",
    "evaluation-on-private-data": "Scores computed against private records.",
    "label-distribution": "How often each label occurs.",
    "early-stopping": "Stopping because of what a private metric showed.",
    "logging": "Losses, norms or batch sizes written down during training.",
    "pretraining-overlap": "Public data that contain some of the same people.",
    "data-collection": "What the collection of the data itself revealed.",
    "side-channels": "Timing, memory, power and file sizes.",
}

BY_CONSTRUCTION: dict[str, str] = {
    "normalisation-stats": "Pixels become [-1, 1] by a public constant.",
    "checkpoint-selection": "The last averaged weights are released.",
    "label-distribution": "Labels of samples are drawn uniformly.",
    "early-stopping": "The number of steps is a constant of the plan.",
    "logging": "The trainer logs no value computed from private records.",
}

ASSUMPTIONS: dict[str, str] = {
    "unit-contribution": "Each unit of privacy contributes at most the stated number "
    "of records.",
    "n-public": "The number of records is public by declaration; nothing protects it.",
    "code-ran": "The code named by its digest is the code that ran; a signature does "
    "not prove it.",
    "random-source": "The operating system's randomness is unpredictable.",
    "ledger-kept": "The ledger was not deleted and begun anew beside this run.",
}

PRETRAINED = (
    "Training began from checkpoint {digest}, which learned from this alone, and none "
    "of it holds a protected record: {data}."
)
AUTOENCODER = (
    "Autoencoder {digest}, which brings records to latents one by one, and its scale "
    "learned from this alone, and none of it holds a protected record: {data}."
)
TEXT_ENCODER = (
    "Text encoder {digest} ({name}), which turns each record's caption into what the "
    "network is shown beside it, one by one, learned from this alone, and none of it "
    "holds a protected record: {data}."
)
PUBLIC_IMAGES = "These images hold no protected record: {data}."
_COLUMN = (
    "The column '{column}' says rightly whose each record is. That no unit has more "
    "records than stated was enforced when they were loaded."
)

_LIMITATIONS: tuple[str, ...] = (
    "A signature proves who made this statement and that it was not edited. It does "
    "not prove that noise was drawn.",
    "A hash chain shows edits. Whoever holds the whole ledger could rewrite it from "
    "the start; compare its head with one noted elsewhere.",
    "The bound covers this one run. Other runs on the same data add to it.",
    "Groups of k related records are protected k times less.",
)
_IN_FLOATS = (
    "Noise is float64 on a public grid of powers of two. That closes the known attack "
    "on low bits; it is a hardening, not a proof."
)
_IN_WHOLE_NUMBERS = (
    "Noise of the training is exact on whole numbers. Its sampler takes a time that "
    "depends on the noise it draws, and queries beside it are in float64."
)

RANDOMNESS = (
    "AES-256-CTR under a fresh operating-system key for every step; never stored, "
    "never seeded"
)
SEEDED = "AES-256-CTR under keys from a seed: predictable, so it protects nobody"

DENOMINATOR = "expected batch size, a constant of the plan; queries are sums"


def limitations(*, in_whole_numbers: bool) -> tuple[str, ...]:
    """Say what no report can promise.

    Args:
        in_whole_numbers: Whether the training is.
    """
    last = _IN_WHOLE_NUMBERS if in_whole_numbers else _IN_FLOATS
    return (*_LIMITATIONS[:-1], last, _LIMITATIONS[-1])


_STATEMENT = (
    "Training read the private records only through the events listed here; together "
    "they are ({epsilon}, {delta})-differentially private under {adjacency}, with one "
    "{unit} as the unit of privacy, for all iterates, the released weights and "
    "everything computed from them without the records."
)
_UNFINISHED = (
    " The run is not finished: when this was written, {begun} had begun. The claim is "
    "for the whole plan; no finished model stands behind it yet."
)


def assumptions(unit_column: str | None) -> dict[str, str]:
    """Return what is assumed, where a column names the units or none does.

    Example:
        >>> "rightly" in assumptions("patient")["unit-contribution"]
        True
    """
    if unit_column is None:
        return dict(ASSUMPTIONS)
    return ASSUMPTIONS | {
        "unit-contribution": _COLUMN.format(column=unit_column),
        "n-public": "The number of units is public by declaration; nothing protects "
        "it, and none of the numbers of their records.",
    }


def statement(
    *,
    epsilon: float,
    delta: float,
    adjacency: str,
    unit: str,
    phases: Sequence[tuple[str, int, int]],
    max_records: int = 1,
) -> str:
    """Return the one sentence that a report claims, and a second if it must.

    Args:
        epsilon: Upper end; printed rounded up.
        delta: Of the claim.
        adjacency: Of the claim.
        unit: Of privacy.
        phases: Name, steps that count and steps planned of each.
        max_records: The most records of one unit.

    Example:
        >>> said = statement(
        ...     epsilon=1.0, delta=1e-5, adjacency="add-or-remove-one", unit="record",
        ...     phases=[("synthetic", 9, 9), ("private", 7, 50)],
        ... )
        >>> "7 of 50 steps of phase 'private' had begun" in said
        True
    """
    text = _STATEMENT.format(
        epsilon=canonical.text_up(epsilon, 4),
        delta=canonical.decimal_text(delta),
        adjacency=adjacency,
        unit=unit if max_records == 1 else f"{unit} of up to {max_records:,} records",
    )
    open_phases = [
        f"{begun:,} of {planned:,} steps of phase '{name}'"
        for name, begun, planned in phases
        if begun != planned
    ]
    if not open_phases:
        return text
    return text + _UNFINISHED.format(begun=" and ".join(open_phases))
