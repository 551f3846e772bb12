"""The envelope of signed statements: its fields, its bytes, what a signature covers.

    PAE = "DSSEv1" SP len(type) SP type SP len(bytes) SP bytes
    signature = Ed25519(PAE)

Nothing here says whom to believe; `signing` does.

Source: DSSE v1 (protocol.md and envelope.md of secure-systems-lab dsse).
"""

from __future__ import annotations

import base64
import binascii
import json

from pydantic import Field

from privplan import canonical
from privplan.errors import DocumentError
from privplan.fields import Document, Name, read_document

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 64


class Signature(Document):
    """One signature; the name of its key is not signed, so it decides nothing."""

    keyid: str = Field(default="", max_length=200)
    sig: str = Field(max_length=200)


class Envelope(Document):
    """Stricter than DSSE, which ignores unknown fields: unsigned text misleads."""

    payload: str
    payload_type: Name = Field(alias="payloadType")
    signatures: list[Signature] = Field(min_length=1, max_length=MAX_SIGNATURES)


def unpack(text: bytes) -> tuple[Envelope, bytes]:
    """Return an envelope and the bytes inside it; no signature is checked.

    Raises:
        DocumentError: This is not an envelope.
    """
    envelope = read_document(Envelope, text, what="signed envelope")
    return envelope, decode(envelope.payload)


def check_type(envelope: Envelope) -> None:
    """Require an envelope that holds a statement.

    Raises:
        DocumentError: It holds something else.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise DocumentError(
            f"the envelope holds a {envelope.payload_type[:80]!r}, not a statement",
            hint=f"privplan reads envelopes of type {PAYLOAD_TYPE}",
        )


def write(payload: bytes, signatures: list[dict[str, str]]) -> bytes:
    """Write an envelope: indented JSON, UTF-8, with a final newline.

    Raises:
        DocumentError: It would be too large.
    """
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": signatures,
    }
    text = (json.dumps(envelope, indent=2) + "\n").encode()
    if len(text) > canonical.MAX_DOCUMENT_BYTES:
        raise DocumentError(
            f"the signed statement would have {len(text):,} bytes, more than "
            f"{canonical.MAX_DOCUMENT_BYTES:,}",
            hint="put large content into a file of its own and sign its digest",
        )
    return text


def pae(payload_type: str, payload: bytes) -> bytes:
    r"""Return the bytes that a signature covers: type and payload, with lengths.

    Without the lengths, a byte could move from the type to the payload unnoticed.

    Source:
        DSSE v1, protocol.md, "Signature Definition".

    Example:
        >>> pae("http://example.com/HelloWorld", b"hello world")
        b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def decode(text: str) -> bytes:
    """Decode base64, in the standard or the URL-safe alphabet.

    Raises:
        DocumentError: It is something else.
    """
    try:
        standard = text.replace("-", "+").replace("_", "/")
        return binascii.a2b_base64(standard.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise DocumentError(
            f"a field of the signed envelope is not base64 ({error})",
            hint="give an envelope written by privplan, unchanged",
        ) from error
