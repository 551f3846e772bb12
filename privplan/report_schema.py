"""The schema of a report: every field, strict and frozen.

One class per part. `Predicate` is the whole; its JSON Schema is published with the
documentation. The statement around it names the files by digest.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from privplan.budget import Adjacency
from privplan.fields import Count, Digest, Document, EventField, Name, Number
from privplan.plan import Plan, PlanOpinion
from privplan.preflight import PreflightPart

PREDICATE_TYPE = "https://privplan.dev/attestation/dp-training/v1"

Words = dict[str, str]
Arithmetic = Literal[
    "L1 float64 on a public grid",
    "L2 whole numbers, exact discrete Gaussian noise",
    "L2 whole numbers, exact discrete Gaussian noise; queries L1 float64 on a public "
    "grid",
]


class Epsilon(Document):
    """target >= upper >= true epsilon >= lower."""

    target: Number
    upper: Number
    lower: Number


class Claim(Document):
    """What is claimed."""

    statement: str
    definition: Literal["approximate-dp"]
    epsilon: Epsilon
    delta: Number
    adjacency: Adjacency = Field(strict=False)
    unit: Name
    max_records_per_unit: Count
    n_status: Literal["public-by-declaration"]
    released: Literal["all-iterates"]


class Exclusion(Document):
    """One way private data could leak beside the training."""

    what: Name
    meaning: str
    touches_private: Literal["no", "unknown", "yes"]
    accounted: Literal["no", "by-construction", "charged"]
    note: str


class Scope(Document):
    """What the claim covers and what it does not."""

    covers: tuple[str, ...]
    excludes: tuple[Exclusion, ...]


class Mechanism(Document):
    """How noise was added, in words a reader can compare with the code."""

    event: EventField
    trains: str | None = None
    sampling: Literal[
        "poisson",
        "poisson; every record once per query",
        "every record once per query",
        "none",
    ]
    clipping: str
    noise: str
    denominator: str
    non_finite_gradients: Literal["count as zero"]
    empty_batch: Literal["a step of noise only"]
    randomness: str
    arithmetic: Arithmetic


class PhaseCount(Document):
    """Steps of one phase."""

    phase: Name
    planned: Count
    counted: int = Field(ge=0)


class Realised(Document):
    """What the ledger says was begun."""

    phases: tuple[PhaseCount, ...]
    spent_epsilon_upper: Number
    sessions: int = Field(ge=0)
    finished: bool
    processes: Count = 1


class LedgerPart(Document):
    """Which ledger, and where it ended when this was written."""

    ledger_id: Name
    head_sequence: Count
    head_hash: Digest
    assurance: Literal["A0 the one who trains holds ledger and key"]


class ReservationPart(Document):
    """Which entry of a register pays for the run, before it read anything."""

    register_id: Name
    reservation: Name
    data_set: Name
    sequence: Count
    hash: Digest


class RulesPart(Document):
    """Which policy and approval the run began under, and where its ledger says so."""

    policy: Digest | None
    approval: Digest | None
    sequence: Count
    hash: Digest
    noted: Name


class DataPart(Document):
    """A commitment that only the holder of the ledger can open."""

    algorithm: Literal["HMAC-SHA256"]
    nonce: Digest
    value: Digest


class Code(Document):
    """What ran, where; nobody's name, no machine's name."""

    source_digest: Digest
    versions: Words
    platform: str


class Utility(Document):
    """One result on public data."""

    name: Name
    value: Number
    data: str


class AuditReference(Document):
    """An audit that was kept beside the run: which statement, and what it found."""

    name: Name
    kind: Literal["replay", "conformance", "one-run"]
    digest: Digest
    verdict: Literal["no-violation", "violation"]


class Predicate(Document):
    """The whole predicate. See the module docstring."""

    schema_version: Literal["1"]
    report_id: Name
    verdict: Literal["dp-claim", "no-claim"]
    reasons: tuple[str, ...]
    claim: Claim
    scope: Scope
    plan: Plan
    mechanism: Mechanism
    accounting: tuple[PlanOpinion, ...]
    assumptions: Words
    realised: Realised
    ledger: LedgerPart
    data: DataPart
    code: Code
    utility: tuple[Utility, ...]
    limitations: tuple[str, ...]
    reservation: ReservationPart | None = None
    written: Name | None = None
    rules: RulesPart | None = None
    preflight: PreflightPart | None = None
    audits: tuple[AuditReference, ...] = ()

    def _repr_html_(self) -> str:
        from privplan import views  # noqa: PLC0415 - a view; stands above

        return views.predicate(self)._repr_html_()


class Surroundings(Document):
    """What a caller outside this house knows: versions, checks, public results."""

    source_digest: Digest
    versions: Words
    platform: str
    utility: tuple[Utility, ...] = ()
    preflight: PreflightPart | None = None
    audits: tuple[AuditReference, ...] = ()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the predicate."""
    return Predicate.model_json_schema(mode="serialization")
