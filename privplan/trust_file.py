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

import json
from pathlib import Path
from typing import Any

from privplan import files, moments, signing
from privplan.errors import DocumentError, IntegrityError, PolicyError
from privplan.fields import naming, read_document
from privplan.keys import PublicKey, Role, SigningKey
from privplan.trust import Trust
from privplan.trust_links import PREDICATE_TYPE, TrustDocument, follow


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
    empty = TrustDocument.model_construct(
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

    Args:
        path: The trust file.
        key: The key to add, in the role it names.
        signer: A root key; or the key that this one succeeds.
        owner: Whose it is.
        start: Valid from then on; None means always for a root's word, now for a
            predecessor's.
        until: Valid until then; None means without end.

    Raises:
        PolicyError: The signer may not add it, or it was revoked.
        IntegrityError: The trust file is broken.
        ParameterError: `start` or `until` is not a moment.
        DocumentError: The file cannot be read or written.
    """
    if start is None and signer.public.role is not Role.ROOT:
        start = moments.text(moments.now())
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
    trust = follow(_read_file(path))
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
    return {
        "action": "add",
        "role": key.role.value,
        "public_key": key.raw.hex(),
        "owner": owner,
        "valid_from": None if start is None else moments.text(moments.parse(start)),
        "valid_until": None if until is None else moments.text(moments.parse(until)),
    }


def _extend(
    path: Path, old: TrustDocument, said: dict[str, Any], signer: SigningKey
) -> Trust:
    """Append a link, follow the whole chain with it, and only then write it."""
    before = follow(old)
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
    after = follow(file)
    text = json.dumps(file.model_dump(mode="json"), indent=2) + "\n"
    files.write_text(path, text, what="trust file")
    return after


def _read_file(path: Path) -> TrustDocument:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the trust file {path} cannot be read: {error.strerror}",
            hint="begin one with privplan trust new, or give its path",
        ) from error
    with naming(path):
        return read_document(TrustDocument, text, what="trust file")
