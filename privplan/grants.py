"""Grants: how much privacy a data set may lose over its lifetime, signed by an officer.

A grant is a signed statement that fits one place only: it names the register, the data
set by a commitment, and the entry of the register that it follows. So it cannot be
copied to another register, used twice, or kept back; and because it names that entry
by its hash, every grant vouches for everything the register said before it.

    epsilon, delta   over all runs of the data set together, this grant included
    composition      basic: epsilons add up and deltas add up, however runs were chosen
                     rdp-filter: Renyi divergences add up, at orders signed here

Source: basic composition, Dwork & Roth 2014, Theorem 3.16; it holds for mechanisms
chosen adaptively as long as the limit was fixed beforehand (Rogers, Roth, Ullman,
Vadhan 2016, arXiv:1605.08294).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from privplan import canonical, checks, moments, signing
from privplan.budget import Adjacency, PrivacyBudget, PrivacyUnit
from privplan.errors import IntegrityError, PolicyError
from privplan.fields import Count, Digest, Document, Name, Number, read_document
from privplan.keys import PublicKey, Role, SigningKey

PREDICATE_TYPE = "https://privplan.dev/attestation/dp-grant/v1"
BASIC, RDP_FILTER = "basic", "rdp-filter"


class Grant(Document):
    """What an officer grants.

    Attributes:
        register_id: The register it is for.
        after: Hash of the entry it follows.
        data_set: Name of the data set.
        data_commitment: Keyed commitment to its records.
        epsilon: Over all runs; above 0.
        delta: Over all runs; between 0 and 1.
        adjacency: Neighbouring relation of every plan that may use it.
        unit: Whose presence is protected.
        max_records_per_unit: The most records one unit contributes.
        composition: How runs add up.
        orders: Renyi orders of an rdp-filter, committed before the first run.
        expires: No reservation after that moment; None means without end.
        written: When it was signed.
    """

    format: Literal["privplan-grant/1"]
    register_id: Name
    after: Digest
    data_set: Name
    data_commitment: Digest
    epsilon: Number
    delta: Number
    adjacency: Adjacency = Field(strict=False)
    unit: Name
    max_records_per_unit: Count
    composition: Literal["basic", "rdp-filter"]
    orders: tuple[Number, ...] = ()
    expires: Name | None
    written: Name

    def as_budget(self) -> PrivacyBudget:
        """Return the budget it describes.

        Raises:
            ParameterError: A number is outside its range.
        """
        return PrivacyBudget(
            target_epsilon=self.epsilon,
            target_delta=self.delta,
            adjacency=self.adjacency,
            unit=PrivacyUnit(name=self.unit, max_records=self.max_records_per_unit),
        )


def check_composition(composition: str) -> None:
    """Require a way of adding up that this register can keep.

    Raises:
        PolicyError: It cannot.
    """
    if composition not in (BASIC, RDP_FILTER):
        raise PolicyError(
            f"a register cannot keep a grant with composition '{composition[:40]}'",
            hint="grant with --composition basic, which holds for every run, or "
            "rdp-filter",
        )


def check_officer(key: SigningKey) -> None:
    """Require an officer's key.

    Raises:
        PolicyError: It is another's.
    """
    if key.public.role is not Role.OFFICER:
        raise PolicyError(
            f"key {key.public.fingerprint} has the role {key.public.role}, and only an "
            "officer may sign this",
            hint="sign with an officer key; make one with privplan keys new --role "
            "officer",
        )


def sign(grant: Grant, key: SigningKey) -> bytes:
    """Sign a grant.

    Raises:
        PolicyError: The key is not an officer's.
        ParameterError: A number is outside its range.
    """
    check_officer(key)
    _check(grant)
    predicate = grant.model_dump(mode="json")
    statement = signing.statement(
        subjects={}, predicate_type=PREDICATE_TYPE, predicate=predicate
    )
    return signing.sign(statement, key)


def open_grant(
    envelope: bytes, *, trusted: tuple[PublicKey, ...]
) -> tuple[Grant, tuple[str, ...]]:
    """Check a grant's signature, then read it.

    Returns:
        The grant, and the keyids of the trusted keys that signed it.

    Raises:
        IntegrityError: No trusted key signed it, or it is another statement.
        DocumentError: It is not a grant.
        ParameterError: A number is outside its range.
    """
    opened = signing.open_envelope(envelope, trusted=trusted)
    if opened.statement["predicateType"] != PREDICATE_TYPE:
        raise IntegrityError(
            "a signed statement in the place of a grant is something else",
            hint="restore the register from a copy whose head you know",
        )
    inner = canonical.canonical_bytes(opened.statement["predicate"])
    grant = read_document(Grant, inner, what="grant")
    _check(grant)
    return grant, opened.keyids


def _check(grant: Grant) -> None:
    grant.as_budget()
    checks.positive(epsilon=grant.epsilon)
    moments.parse(grant.written)
    if grant.expires is not None:
        moments.parse(grant.expires)
