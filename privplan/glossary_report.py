"""Every field of a report in plain words, by the class that holds it."""

from __future__ import annotations

REPORT_FIELDS: dict[str, dict[str, str]] = {
    "Predicate": {
        "schema_version": "Which version of the report format this is.",
        "report_id": "Random name of this report.",
        "verdict": "dp-claim: a promise is made. no-claim: it cannot be, see reasons.",
        "reasons": "Why no promise is made; empty where one is.",
        "claim": "What is promised.",
        "scope": "What the promise covers, and what it leaves out.",
        "plan": "The whole plan that was carried out.",
        "mechanism": "How noise was added, in words to compare with the code.",
        "accounting": "What each accountant says of the plan's events.",
        "assumptions": "What must be true for the promise to hold.",
        "realised": "What the ledger says was begun.",
        "ledger": "Which ledger, and where it ended when this was written.",
        "data": "A commitment to the data that only the ledger's owner can open.",
        "code": "What ran, by digest and versions.",
        "utility": "Results on public data.",
        "limitations": "What the report cannot show.",
        "reservation": "Which entry of a register pays for the run; may be missing.",
        "written": "When it was written, UTC; may be missing.",
    },
    "Claim": {
        "statement": "The promise in one sentence.",
        "definition": "Which definition of privacy: approximate differential privacy.",
        "epsilon": "Target, upper and lower end of epsilon.",
        "delta": "The delta of the promise.",
        "adjacency": "Which two data sets the promise compares.",
        "unit": "Whom the promise protects.",
        "max_records_per_unit": "The most records one unit may have.",
        "n_status": "Says that the number of records is public by declaration.",
        "released": "all-iterates: the weights of every step may be seen.",
    },
    "Epsilon": {
        "target": "What was asked for.",
        "upper": "What is claimed; the true epsilon is not above it.",
        "lower": "The true epsilon is not below it.",
    },
    "Scope": {
        "covers": "What the promise is about.",
        "excludes": "Ways in which data could leak beside the training.",
    },
    "Exclusion": {
        "what": "Short name of the way.",
        "meaning": "What it is.",
        "touches_private": "Whether it touched private records in this run.",
        "accounted": "Whether it was charged, or cannot happen by construction.",
        "note": "What to know about it.",
    },
    "Mechanism": {
        "event": "Everything done to the records, as one tree of events.",
        "sampling": "How batches were chosen.",
        "clipping": "How one record's part was bounded.",
        "noise": "How much noise, and over what.",
        "denominator": "What noisy sums were divided by; a constant.",
        "non_finite_gradients": "What happened to gradients that were no numbers.",
        "empty_batch": "What a step without records did.",
        "randomness": "Where the noise came from.",
        "arithmetic": "In which numbers noise was added.",
    },
    "Realised": {
        "phases": "Steps planned and begun, phase by phase.",
        "spent_epsilon_upper": "Epsilon of the steps begun, at most.",
        "sessions": "How often the run was opened.",
        "finished": "Whether every phase ended.",
    },
    "PhaseCount": {
        "phase": "Name of the phase.",
        "planned": "Steps the plan allows.",
        "counted": "Steps that count: all that ever began.",
    },
    "LedgerPart": {
        "ledger_id": "Random name of the ledger, the same for all its copies.",
        "head_sequence": "Number of its last entry.",
        "head_hash": "Hash of its last entry; note it elsewhere to see a rollback.",
        "assurance": "Who holds ledger and key, and so what the ledger can prove.",
    },
    "DataPart": {
        "algorithm": "How the commitment is computed.",
        "nonce": "Random number that goes into it.",
        "value": "The commitment; the same data and key give the same value.",
    },
    "Code": {
        "source_digest": "SHA-256 over the source files that ran.",
        "versions": "Versions of privplan and the libraries that matter.",
        "platform": "Kind of system and Python; no machine's name.",
    },
    "Utility": {
        "name": "What was measured.",
        "value": "The result.",
        "data": "On which data, and why they may be named.",
    },
    "ReservationPart": {
        "register_id": "Random name of the register.",
        "reservation": "Name of the reservation in it.",
        "data_set": "Which data set pays.",
        "sequence": "Number of the entry that reserves.",
        "hash": "Hash of that entry.",
    },
}
"""Words by class and field; `tests/privplan/test_glossary.py` asks for all of them."""
