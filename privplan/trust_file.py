"""The trust file: signed links that say which keys to trust.

    trust.json
    ├── root        the key of the first link
    └── links       each signed, each naming the one before it by digest
          add       a key, its role, its owner, its time
          revoke    a key, from when on, why

The first link is a root key's, about itself; whoever relies on the file compares that
key's fingerprint with one got elsewhere. After that a link counts if a root signed it.
A key may also vouch for its successor of the same role, and may revoke itself.

A chain shows edits; it cannot show that its last links were cut off. So its length and
head are shown wherever it is used, to be compared with those seen before.

Edges: reads and writes the trust file.
Source: the roles follow The Update Framework: roots sign who may sign.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from privplan import canonical, files, moments, signing
from privplan.errors import DocumentError, IntegrityError, PolicyError
from privplan.fields import Count, Digest, Document, Name, read_document
from privplan.keys import PublicKey, Role, SigningKey
from privplan.trust import Revocation, Trust, TrustedKey

PREDICATE_TYPE = "https://privplan.dev/attestation/trust-link/v1"
_MAX_LINKS = 1000


class _Add(Document):
    action: Literal["add"]
    role: Role = Field(strict=False)
    public_key: Digest
    owner: Name
    valid_from: Name
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


class _File(Document):
    format: Literal["privplan-trust/1"]
    root: Digest
    links: tuple[dict[str, Any], ...] = Field(
        min_length=1, max_length=_MAX_LINKS, strict=False
    )


def new(path: Path, root: SigningKey, *, owner: str, until: str | None = None) -> Trust:
    """Begin a trust file with its root key.

    Raises:
        PolicyError: The key is not a root's, or the file exists.
        ParameterError: `until` is not a moment.
        DocumentError: It cannot be written.
    """
    if root.public.role is not Role.ROOT:
        raise PolicyError(
            f"key {root.public.fingerprint} is of a {root.public.role}, and a trust "
            "file begins with a root key",
            hint="make one with privplan keys new --role root, and keep it offline",
        )
    if path.exists():
        raise PolicyError(
            f"{path} exists, and a trust file is only ever added to",
            hint="use privplan trust add, or choose another name",
        )
    empty = _File.model_construct(
        format="privplan-trust/1", root=root.public.raw.hex(), links=()
    )
    return _extend(path, empty, _adding(root.public, owner, until=until), root)


def add(
    path: Path,
    key: PublicKey,
    signer: SigningKey,
    *,
    owner: str,
    start: str | None = None,
    until: str | None = None,
) -> Trust:
    """Add a key to a trust file, or vouch for a successor of the same role.

    Raises:
        PolicyError: The signer may not add it, or it was revoked.
        IntegrityError: The trust file is broken.
        ParameterError: `start` or `until` is not a moment.
        DocumentError: The file cannot be read or written.
    """
    said = _adding(key, owner, start=start, until=until)
    return _extend(path, _read_file(path), said, signer)


def revoke(
    path: Path, keyid: str, signer: SigningKey, *, reason: str, start: str | None = None
) -> Trust:
    """Revoke a key, from a moment on; default now.

    Raises:
        PolicyError: The signer may not revoke it, or the file does not know it.
        IntegrityError: The trust file is broken.
        ParameterError: `start` is not a moment.
        DocumentError: The file cannot be read or written.
    """
    since = moments.now() if start is None else moments.parse(start)
    said = {
        "action": "revoke",
        "keyid": keyid,
        "revoked_from": moments.text(since),
        "reason": reason,
    }
    return _extend(path, _read_file(path), said, signer)


def read(path: Path, *, root: PublicKey | None = None) -> Trust:
    """Read a trust file and follow it link by link.

    Args:
        path: The file.
        root: The root key it must begin with, got elsewhere; None takes the file's.

    Raises:
        IntegrityError: A link is missing, changed or signed by nobody who may; or the
            file is another root's.
        DocumentError: It cannot be read, or is not a trust file.
    """
    trust = _follow_all(_read_file(path))
    first = next(iter(trust.keys))
    if root is not None and first != root.keyid:
        raise IntegrityError(
            f"{path.name} begins with root key {first[:16]}, not {root.keyid[:16]}",
            hint="ask the owner of the root key for the trust file again",
        )
    return trust


def _adding(
    key: PublicKey, owner: str, *, start: str | None = None, until: str | None = None
) -> dict[str, Any]:
    since = moments.now() if start is None else moments.parse(start)
    return {
        "action": "add",
        "role": key.role.value,
        "public_key": key.raw.hex(),
        "owner": owner,
        "valid_from": moments.text(since),
        "valid_until": None if until is None else moments.text(moments.parse(until)),
    }


def _extend(path: Path, old: _File, said: dict[str, Any], signer: SigningKey) -> Trust:
    """Append a link, follow the whole chain with it, and only then write it."""
    before = _follow_all(old)
    link = {
        "format": "privplan-trust/1",
        "sequence": before.links + 1,
        "previous": before.head,
        "said": said,
    }
    statement = signing.statement(
        subjects={}, predicate_type=PREDICATE_TYPE, predicate=link
    )
    envelope = json.loads(signing.sign(statement, signer))
    file = old.model_copy(update={"links": (*old.links, envelope)})
    after = _follow_all(file)
    text = json.dumps(file.model_dump(mode="json"), indent=2) + "\n"
    files.write_text(path, text, what="trust file")
    return after


def _read_file(path: Path) -> _File:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the trust file {path} cannot be read: {error.strerror}",
            hint="begin one with privplan trust new, or give its path",
        ) from error
    return read_document(_File, text, what="trust file")


def _follow_all(file: _File) -> Trust:
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
    start = moments.parse(said.valid_from)
    voucher = _voucher(trust, key, signers)
    before = trust.keys.get(voucher)
    if before is not None and not before.valid_at(start):
        raise _refused(
            f"key {voucher[:16]} was not valid on {said.valid_from[:10]}, when the new "
            "key begins"
        )
    trust.keys[key.keyid] = TrustedKey(
        public=key,
        owner=said.owner,
        valid_from=start,
        valid_until=None
        if said.valid_until is None
        else moments.parse(said.valid_until),
        vouched_by=voucher,
    )


def _voucher(trust: Trust, key: PublicKey, signers: tuple[str, ...]) -> str:
    """Return the signer that may add a key: a root, or one of the same role."""
    if trust.links == 0:
        if signers != (key.keyid,) or key.role is not Role.ROOT:
            raise _broken(trust, "it is not a root key's, about itself")
        return key.keyid
    able = [keyid for keyid in signers if trust.keys[keyid].revoked is None]
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
    able = [keyid for keyid in signers if trust.keys[keyid].revoked is None]
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
