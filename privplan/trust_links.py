"""The links of a trust file: what each may say, and who may sign it.

A link counts if it names the one before it by digest and a root in good standing signed
it: neither it nor whoever vouched for it was revoked before. Besides, a key may vouch
for a new key of its own role, inside its own time, and any key may revoke itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from privplan import canonical, moments, signing
from privplan.errors import IntegrityError, PolicyError
from privplan.fields import Count, Digest, Document, Name, read_document
from privplan.keys import PublicKey, Role
from privplan.trust import Revocation, Trust, TrustedKey

PREDICATE_TYPE = "https://privplan.dev/attestation/trust-link/v1"
_MAX_LINKS = 1000


class _Add(Document):
    action: Literal["add"]
    role: Role = Field(strict=False)
    public_key: Digest
    owner: Name
    valid_from: Name | None
    valid_until: Name | None


class _Revoke(Document):
    action: Literal["revoke"]
    keyid: Digest
    revoked_from: Name
    reason: Name


class _Link(Document):
    format: Literal["privplan-trust/1"]
    sequence: Count
    previous: Digest
    said: Annotated[_Add | _Revoke, Field(discriminator="action")]


class TrustDocument(Document):
    """The file: its root, and its links as they were signed."""

    format: Literal["privplan-trust/1"]
    root: Digest
    links: tuple[dict[str, Any], ...] = Field(
        min_length=1, max_length=_MAX_LINKS, strict=False
    )


def follow(file: TrustDocument) -> Trust:
    """Follow a trust file from its root to its last link.

    Raises:
        IntegrityError: A link is missing, changed, or signed by no key of the file.
        PolicyError: A link is signed by a key that may not say this.
        DocumentError: A link is not one.
    """
    root = PublicKey(role=Role.ROOT, raw=bytes.fromhex(file.root))
    trust = Trust()
    for envelope in file.links:
        trusted = trust.public_keys() if trust.links else (root,)
        opened = signing.open_envelope(json.dumps(envelope).encode(), trusted=trusted)
        if opened.statement["predicateType"] != PREDICATE_TYPE:
            raise _broken(trust, "it is another kind of statement")
        inner = canonical.canonical_bytes(opened.statement["predicate"])
        link = read_document(_Link, inner, what="trust file")
        if (link.sequence, link.previous) != (trust.links + 1, trust.head):
            raise _broken(trust, "it is missing, or another link is in its place")
        if isinstance(link.said, _Add):
            _add(trust, link.said, opened.keyids)
        else:
            _revoke(trust, link.said, opened.keyids)
        trust.links = link.sequence
        trust.head = hashlib.sha256(opened.payload).hexdigest()
    return trust


def _add(trust: Trust, said: _Add, signers: tuple[str, ...]) -> None:
    key = PublicKey(role=said.role, raw=bytes.fromhex(said.public_key))
    known = trust.keys.get(key.keyid)
    if known is not None and known.revoked is not None:
        raise _refused(f"key {key.fingerprint} was revoked, and stays so")
    voucher = _voucher(trust, key, signers)
    start = _moment(said.valid_from)
    before = trust.keys.get(voucher)
    heir = before is not None and before.public.role is not Role.ROOT
    if heir and (start is None or not trust.keys[voucher].valid_at(start)):
        raise _refused(
            f"key {voucher[:16]} is not valid when the key it vouches for begins"
        )
    trust.keys[key.keyid] = TrustedKey(
        public=key,
        owner=said.owner,
        valid_from=start,
        valid_until=_moment(said.valid_until),
        vouched_by=voucher,
    )


def _moment(said: str | None) -> datetime | None:
    return None if said is None else moments.parse(said)


def _voucher(trust: Trust, key: PublicKey, signers: tuple[str, ...]) -> str:
    """Return the signer that may add a key: a root, or one of the same role."""
    if trust.links == 0:
        if signers != (key.keyid,) or key.role is not Role.ROOT:
            raise _broken(trust, "it is not a root key's, about itself")
        return key.keyid
    able = [keyid for keyid in signers if trust.stands(keyid)]
    roots = [k for k in able if trust.keys[k].public.role is Role.ROOT]
    same = [k for k in able if trust.keys[k].public.role is key.role]
    new = key.keyid not in trust.keys
    if not (roots or (same and new)):
        raise _refused(
            f"the signer may not add a key of a {key.role}: only a root may, or a "
            "key of that role for its successor"
        )
    return (roots or same)[0]


def _revoke(trust: Trust, said: _Revoke, signers: tuple[str, ...]) -> None:
    key = trust.keys.get(said.keyid)
    if key is None or key.revoked is not None:
        what = "is not in the trust file" if key is None else "is revoked already"
        raise _refused(f"key {said.keyid[:16]} {what}")
    able = [keyid for keyid in signers if trust.stands(keyid)]
    if not any(
        keyid == said.keyid or trust.keys[keyid].public.role is Role.ROOT
        for keyid in able
    ):
        raise _refused(
            f"the signer may not revoke key {said.keyid[:16]}: only a root may, or the "
            "key itself"
        )
    since = moments.parse(said.revoked_from)
    revoked = Revocation(start=since, reason=said.reason)
    trust.keys[said.keyid] = replace(key, revoked=revoked)


def _broken(trust: Trust, problem: str) -> IntegrityError:
    return IntegrityError(
        f"the trust file is broken at link {trust.links + 1}: {problem}",
        hint="ask the owner of the root key for the trust file again",
    )


def _refused(problem: str) -> PolicyError:
    return PolicyError(problem, hint="sign with a root key of this trust file")
