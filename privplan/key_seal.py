"""A secret at rest: 32 bytes under a passphrase, with their header authenticated.

A stolen key file should be worth as little as possible. Guessing one passphrase costs
128 MiB of memory, and the cost is fixed by the format: a file cannot ask for less of
it, nor for all the memory there is. The header goes in as associated data, so no field
of an encrypted file (role, public key, parameters) can be swapped.

Edges: takes randomness from the operating system.
Source: scrypt, RFC 7914; ChaCha20-Poly1305, RFC 8439.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import Field

from privplan import canonical
from privplan.errors import DocumentError, IntegrityError, ParameterError
from privplan.fields import Document

SECRET_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16
_SCRYPT_N = 2**17

Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=1024)]
"""Bytes in lower-case hex."""


class Encryption(Document):
    """How a secret is encrypted; the numbers are written for readers without us."""

    kdf: Literal["scrypt"]
    n: int
    r: Literal[8]
    p: Literal[1]
    salt: Hex
    cipher: Literal["chacha20-poly1305"]
    nonce: Hex


def fresh_encryption() -> Encryption:
    """Return parameters with a salt and a nonce that were never used before."""
    return Encryption(
        kdf="scrypt",
        n=_SCRYPT_N,
        r=8,
        p=1,
        salt=os.urandom(_SALT_BYTES).hex(),
        cipher="chacha20-poly1305",
        nonce=os.urandom(_NONCE_BYTES).hex(),
    )


def seal(
    secret: bytes, passphrase: str, encryption: Encryption, header: canonical.Json
) -> bytes:
    """Encrypt a secret under a passphrase.

    Args:
        secret: What is kept.
        passphrase: Never empty; spellings of one text in Unicode count as equal.
        encryption: From `fresh_encryption`, used once.
        header: The rest of the file, which must come back unchanged.

    Raises:
        ParameterError: The passphrase is empty.

    Example:
        >>> how = fresh_encryption()
        >>> sealed = seal(b"s" * 32, "four quiet words here", how, {"role": "trainer"})
        >>> unseal(sealed, "four quiet words here", how, {"role": "trainer"})[:4]
        b'ssss'
    """
    cipher = ChaCha20Poly1305(_stretch(passphrase, encryption))
    return cipher.encrypt(
        bytes.fromhex(encryption.nonce), secret, canonical.canonical_bytes(header)
    )


def unseal(
    sealed: bytes, passphrase: str, encryption: Encryption, header: canonical.Json
) -> bytes:
    """Decrypt what `seal` returned.

    Raises:
        ParameterError: The passphrase is empty.
        DocumentError: The parameters are not those of the format.
        IntegrityError: The passphrase is wrong, or secret or header were changed.
    """
    nonce = bytes.fromhex(encryption.nonce)
    if encryption.n != _SCRYPT_N or len(nonce) != _NONCE_BYTES:
        raise DocumentError(
            "the key file has encryption parameters that privplan does not write",
            hint="use a key file made by privplan, unchanged",
        )
    cipher = ChaCha20Poly1305(_stretch(passphrase, encryption))
    try:
        return cipher.decrypt(nonce, sealed, canonical.canonical_bytes(header))
    except InvalidTag as error:
        raise IntegrityError(
            "the key file does not open: the passphrase is wrong, or the file changed",
            hint="type the passphrase again, or restore the file from your copy",
        ) from error


def _stretch(passphrase: str, encryption: Encryption) -> bytes:
    if not passphrase:
        raise ParameterError(
            "the passphrase is empty", hint="give a passphrase of several words"
        )
    # Two keyboards may spell the same letter in two ways.
    text = unicodedata.normalize("NFC", passphrase)
    salt = bytes.fromhex(encryption.salt)
    stretch = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=8, p=1)
    return stretch.derive(text.encode("utf-8", "surrogatepass"))
