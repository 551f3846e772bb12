"""The schema of an audit: what was tried, what came out, what it can show at most.

An audit is a signed statement of its own, beside the report of a run. It is about code
and a plan, tried on made-up records; it has seen no private one.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from privplan.fields import Count, Digest, Document, EventField, Name, Number
from privplan.measured import Measured
from privplan.report_schema import Code, Words

AUDIT_TYPE = "https://privplan.dev/attestation/dp-audit/v1"

Kind = Literal["replay", "conformance", "one-run"]


class CanaryBound(Document):
    """How the guesses about one set of canaries came out, and what they refute."""

    space: Literal["gradients", "pixels"]
    event: EventField
    claimed_epsilon: Number
    delta: Number
    significance: Number
    canaries: Count
    guesses: Count
    correct: int = Field(ge=0)
    epsilon_lower: Number
    ceiling: Number
    curve_epsilon_lower: Number
    curve_ceiling: Number
    curve_refuted: bool


class AuditPredicate(Document):
    """The whole predicate of an audit. See the module docstring."""

    schema_version: Literal["1"]
    audit_id: Name
    kind: Kind
    verdict: Literal["no-violation", "violation"]
    reasons: tuple[str, ...]
    plan_digest: Digest
    code: Code
    settings: Words
    measured: tuple[Measured, ...]
    bounds: tuple[CanaryBound, ...]
    limits: tuple[str, ...]
    seconds: Number
    written: Name


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the predicate."""
    return AuditPredicate.model_json_schema(mode="serialization")
