"""Signed statements: who says it, about which files, and not one byte changed.

What is signed is a *statement*: these files (by digest) have this property (by type).
It travels in an envelope beside its signatures. The signature covers the exact bytes
of the statement and their type, so there is nothing to re-format and no second way to
read it:

    PAE = "DSSEv1" SP len(type) SP type SP len(bytes) SP bytes
    signature = Ed25519(PAE)

Opening goes one way only: signatures first, over the bytes as they came; then the type
is looked at; then those same bytes are parsed, once and strictly. The key names inside
an envelope are not signed, so they decide nothing: every trusted key is tried, and a
threshold counts *keys*, so one signature given twice is still one.

A signature proves who said something, not that it is true.

Source: in-toto Statement v1; DSSE v1 (protocol.md and envelope.md of secure-systems-lab
dsse), which names all of the rules above.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from privplan import canonical, checks
from privplan.dsse import (
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    Envelope,
    check_type,
    decode,
    pae,
    unpack,
    write,
)
from privplan.errors import DocumentError, IntegrityError, PolicyError
from privplan.fields import Digest, Document, Name, read_document
from privplan.keys import PublicKey, SigningKey

__all__ = [
    "PAYLOAD_TYPE",
    "STATEMENT_TYPE",
    "Opened",
    "add_signature",
    "detached",
    "open_envelope",
    "pae",
    "sign",
    "statement",
]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A statement whose signatures were good.

    Attributes:
        statement: What was said, parsed from `payload`.
        payload: The bytes that were signed.
        keyids: The trusted keys that signed them, sorted; never read from the envelope.
    """

    statement: dict[str, Any]
    payload: bytes
    keyids: tuple[str, ...]


class _Digests(Document):
    sha256: Digest


class _Subject(Document):
    name: Name
    digest: _Digests


class _Statement(Document):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject, ...] = Field(strict=False)
    predicate_type: Name = Field(alias="predicateType")
    predicate: dict[str, Any]


def statement(
    *, subjects: Mapping[str, str], predicate_type: str, predicate: dict[str, Any]
) -> dict[str, Any]:
    """Say that files have a property.

    Args:
        subjects: Name of each file and its SHA-256 in hex.
        predicate_type: Which property: a URI that fixes the fields of `predicate`.
        predicate: The property itself, as plain JSON.

    Raises:
        DocumentError: A digest is not 64 hex digits, or a name is empty.
        ParameterError: `predicate` is not JSON.

    Example:
        >>> said = statement(
        ...     subjects={"model.safetensors": "ab" * 32},
        ...     predicate_type="https://example.org/dp-training/v1",
        ...     predicate={"epsilon": "8.0"},
        ... )
        >>> said["subject"][0]["name"], said["predicate"]
        ('model.safetensors', {'epsilon': '8.0'})
    """
    value = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest}}
            for name, digest in sorted(subjects.items())
        ],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return _parse(canonical.canonical_bytes(value))


def sign(statement: dict[str, Any], key: SigningKey) -> bytes:
    """Put a statement into an envelope with one signature.

    Returns:
        The envelope: indented JSON, UTF-8, with a final newline.

    Raises:
        DocumentError: This is not a statement, or the envelope would be too large.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from privplan import keys
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "trainer.key"
        >>> public = keys.new_key(path, role=keys.Role.TRAINER, passphrase=None)
        >>> said = statement(subjects={}, predicate_type="about", predicate={"a": 1})
        >>> text = sign(said, keys.load_key(path))
        >>> open_envelope(text, trusted=[public]).statement == said
        True
        >>> folder.cleanup()
    """
    payload = canonical.canonical_bytes(statement)
    _parse(payload)
    return write(payload, [_signature(payload, key)])


def add_signature(text: bytes, key: SigningKey) -> bytes:
    """Add a signature to an envelope: a counter-signature.

    The signatures already there are kept and not checked: open the envelope with the
    keys you trust before you put your name under it.

    Raises:
        DocumentError: This is not an envelope, or what it holds is not a statement.
        PolicyError: This key has signed it already, or it is full.
    """
    envelope, payload = unpack(text)
    check_type(envelope)
    _parse(payload)
    message = pae(envelope.payload_type, payload)
    if any(key.public.verify(decode(s.sig), message) for s in envelope.signatures):
        raise PolicyError(
            f"key {key.public.fingerprint} has signed this envelope already",
            hint="sign with another key; one key counts once",
        )
    if len(envelope.signatures) >= MAX_SIGNATURES:
        raise PolicyError(
            f"the envelope has {MAX_SIGNATURES} signatures, and more are not read",
            hint="sign a fresh envelope of the same statement",
        )
    old = [signature.model_dump() for signature in envelope.signatures]
    return write(payload, [*old, _signature(payload, key)])


def open_envelope(
    text: bytes, *, trusted: Sequence[PublicKey], threshold: int = 1
) -> Opened:
    """Check an envelope's signatures, and only then read what it says.

    Args:
        text: The envelope; base64 in the standard or the URL-safe alphabet.
        trusted: The keys whose word counts, chosen by the reader.
        threshold: How many different trusted keys must have signed.

    Raises:
        ParameterError: `threshold` is below 1.
        DocumentError: This is not an envelope, its type is unknown, or what was signed
            is not a statement.
        IntegrityError: Fewer than `threshold` trusted keys signed exactly these bytes.
    """
    checks.count(threshold=threshold)
    envelope, payload = unpack(text)
    message = pae(envelope.payload_type, payload)
    signatures = [decode(signature.sig) for signature in envelope.signatures]
    signers = {
        key.keyid
        for key in trusted
        if any(key.verify(signature, message) for signature in signatures)
    }
    if len(signers) < threshold:
        raise _not_signed(envelope, trusted, signers, threshold)
    check_type(envelope)
    return Opened(
        statement=_parse(payload), payload=payload, keyids=tuple(sorted(signers))
    )


def detached(text: bytes, key: PublicKey) -> tuple[bytes, bytes]:
    """Return the signed bytes and a key's signature, for other programs to check.

    Returns:
        The pre-authentication encoding and the 64 bytes of the signature.

    Raises:
        DocumentError: This is not an envelope.
        IntegrityError: This key did not sign it.
    """
    envelope, payload = unpack(text)
    message = pae(envelope.payload_type, payload)
    for signature in map(decode, (s.sig for s in envelope.signatures)):
        if key.verify(signature, message):
            return message, signature
    raise _not_signed(envelope, [key], set(), 1)


def _not_signed(
    envelope: Envelope, trusted: Sequence[PublicKey], signers: set[str], threshold: int
) -> IntegrityError:
    """Say in plain words why signatures were not enough.

    The key names in the envelope are hearsay: they choose the words, never the answer.
    """
    known = {key.keyid: key.fingerprint for key in trusted}
    if len(known) != 1 or threshold != 1:
        return IntegrityError(
            f"{len(signers)} of the {len(known)} trusted keys signed this envelope, "
            f"but {threshold} must",
            hint="check that you trust the signer's key and that no byte was changed",
        )
    ((keyid, fingerprint),) = known.items()
    if keyid in {signature.keyid for signature in envelope.signatures}:
        return IntegrityError(
            f"it names key {fingerprint}, but the signature is not that key's: "
            "something was changed after it was signed",
            hint="ask the one who signed for an unchanged copy",
        )
    return IntegrityError(
        f"it was not signed by the key you trust, {fingerprint}",
        hint="give --key with the public key of whoever should have signed, and "
        "compare its fingerprint with one you got from them",
    )


def _signature(payload: bytes, key: SigningKey) -> dict[str, str]:
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    return {
        "keyid": key.public.keyid,
        "sig": base64.b64encode(signature).decode("ascii"),
    }


def _parse(payload: bytes) -> dict[str, Any]:
    """Read a statement strictly; the names of its subjects are all different."""
    parsed = read_document(_Statement, payload, what="statement")
    names = [subject.name for subject in parsed.subject]
    if len(set(names)) != len(names):
        raise DocumentError(
            "the statement names one subject twice",
            hint="give every file of a statement a name of its own",
        )
    return canonical.read_json(payload, what="statement")
