"""Keys: who may say what about a run, and how a private key rests on disk.

A signature says who made a statement and that nobody edited it; it does not say the
statement is true. So keys have roles: a *trainer* signs reports, an *officer* approves
plans, grants budgets and counter-signs, a *root* says which keys to trust. The role in
a file is a claim of its owner. Which public keys are trusted, and as what, is decided
by whoever hands them to `open_envelope`, never by a document that a key has signed.

    new_key("trainer.key")  ->  trainer.key   0600, scrypt + ChaCha20-Poly1305
                                trainer.pub   for everyone

Edges: reads and writes key files; takes randomness from the operating system.
Source: Ed25519, RFC 8032.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from privplan import canonical, key_files, key_seal
from privplan.errors import DocumentError, IntegrityError, ParameterError, PolicyError
from privplan.fields import Digest, Document, naming, read_document


class Role(StrEnum):
    """What a key is for."""

    OFFICER = "officer"
    TRAINER = "trainer"
    ROOT = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The half of a key that everyone may have.

    Attributes:
        role: What its owner says it is for.
        raw: The 32 bytes of the Ed25519 public key.
    """

    role: Role
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ParameterError(
                f"an Ed25519 public key has 32 bytes, but this one has {len(self.raw)}",
                hint="read it from a .pub file with load_public",
            )

    @property
    def keyid(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
        der = self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The first 80 bits of the keyid in groups of four, to be read aloud."""
        return " ".join(self.keyid[start : start + 4] for start in range(0, 20, 4))

    def pem(self) -> bytes:
        """Return the key as other programs read it: SubjectPublicKeyInfo, PEM."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Tell whether the owner of this key signed exactly this message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """The half of a key that stays with its owner; it never shows itself.

    Attributes:
        public: The other half.
    """

    public: PublicKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a message."""
        return self._private.sign(message)


class _PublicFile(Document):
    format: Literal["privplan-public-key/1"]
    role: Role
    keyid: Digest
    public_key: Digest


class _KeyFile(Document):
    format: Literal["privplan-key/1"]
    role: Role
    keyid: Digest
    public_key: Digest
    encryption: Literal["none"] | key_seal.Encryption
    secret: key_seal.Hex


def new_key(path: Path, *, role: Role, passphrase: str | None) -> PublicKey:
    """Make a key pair: the private half at `path`, the public half at `path.pub`.

    Args:
        path: File of the private key; never overwritten, readable by its owner only.
            The public half goes beside it, with the suffix `.pub`.
        role: What the key is for.
        passphrase: Encrypts the private half; None leaves it in the clear, and the
            file says so.

    Raises:
        ParameterError: The passphrase is empty, or `path` itself ends in `.pub`.
        PolicyError: One of the two files exists.
        DocumentError: A file cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "trainer.key"
        >>> public = new_key(path, role=Role.TRAINER, passphrase=None)
        >>> load_key(path).public == load_public(path.with_suffix(".pub")) == public
        True
        >>> folder.cleanup()
    """
    if not path.name or path.suffix == ".pub":
        raise ParameterError(
            f"{str(path)!r} cannot be the name of a private key",
            hint="give it a name such as trainer.key; .pub is for the public half",
        )
    public_path = path.with_suffix(".pub")
    private = Ed25519PrivateKey.generate()
    public = PublicKey(role=role, raw=private.public_key().public_bytes_raw())
    header: dict[str, canonical.Json] = {
        "format": "privplan-key/1",
        "role": role.value,
        "keyid": public.keyid,
        "public_key": public.raw.hex(),
    }
    sealed = _sealed(header, private.private_bytes_raw(), passphrase)
    write_public(public, public_path)
    try:
        key_files.write_new(path, sealed, mode=0o600)
    except BaseException:
        public_path.unlink(missing_ok=True)
        raise
    return public


def load_key(path: Path, *, passphrase: str | None = None) -> SigningKey:
    """Read a private key.

    Raises:
        PolicyError: Others than the owner may read the file, or it is encrypted and
            no passphrase was given.
        ParameterError: A passphrase was given for a file that has none.
        DocumentError: The file cannot be read, or is not a private key.
        IntegrityError: The passphrase is wrong, or the file was changed.
    """
    file = _read_private(path)
    if file.encryption == "none" and passphrase is not None:
        raise ParameterError(
            f"{path.name} is not encrypted, but a passphrase was given",
            hint="leave the passphrase out, or make a new key with one",
        )
    private = Ed25519PrivateKey.from_private_bytes(_unsealed(file, passphrase))
    public = PublicKey(role=file.role, raw=private.public_key().public_bytes_raw())
    if (public.raw.hex(), public.keyid) != (file.public_key, file.keyid):
        raise IntegrityError(
            f"the two halves of {path.name} do not belong together",
            hint="the file was changed or damaged; restore it from your copy",
        )
    return SigningKey(public=public, _private=private)


def needs_passphrase(path: Path) -> bool:
    """Tell whether a private key file is encrypted.

    Raises:
        PolicyError: Others than the owner may read the file.
        DocumentError: The file cannot be read, or is not a private key.
    """
    return _read_private(path).encryption != "none"


def load_public(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        DocumentError: The file cannot be read, or is not a public key.
        IntegrityError: Its keyid is not that of its key.
    """
    text = key_files.read(path, owner_only=False)
    with naming(path):
        file = read_document(_PublicFile, text, what="public key")
    public = PublicKey(role=file.role, raw=bytes.fromhex(file.public_key))
    if public.keyid != file.keyid:
        raise IntegrityError(
            f"the keyid in {path.name} is not that of its key",
            hint="ask the owner for the .pub file again, and compare the fingerprint",
        )
    return public


def write_public(public: PublicKey, path: Path) -> None:
    """Write the public half of a key, for others to trust or not.

    Args:
        public: The key.
        path: Where to; if it holds this very key already, nothing happens.

    Raises:
        PolicyError: Another file is there.
        DocumentError: The file cannot be written.
    """
    document = {
        "format": "privplan-public-key/1",
        "role": public.role.value,
        "keyid": public.keyid,
        "public_key": public.raw.hex(),
    }
    try:
        key_files.write_new(path, document, mode=0o644)
    except PolicyError:
        if _holds(path) != public:
            raise


def _holds(path: Path) -> PublicKey | None:
    try:
        return load_public(path)
    except (DocumentError, IntegrityError):
        return None


def _sealed(
    header: dict[str, canonical.Json], secret: bytes, passphrase: str | None
) -> dict[str, canonical.Json]:
    if passphrase is None:
        return {**header, "encryption": "none", "secret": secret.hex()}
    encryption = key_seal.fresh_encryption()
    header = {**header, "encryption": encryption.model_dump()}
    sealed = key_seal.seal(secret, passphrase, encryption, header)
    return {**header, "secret": sealed.hex()}


def _unsealed(file: _KeyFile, passphrase: str | None) -> bytes:
    secret = bytes.fromhex(file.secret)
    if file.encryption != "none":
        if passphrase is None:
            raise PolicyError(
                "the private key is encrypted, and no passphrase was given",
                hint="give the passphrase of the key file",
            )
        header = file.model_dump(mode="json", exclude={"secret"})
        secret = key_seal.unseal(secret, passphrase, file.encryption, header)
    if len(secret) != key_seal.SECRET_BYTES:
        raise DocumentError(
            "the key file holds a secret of the wrong length",
            hint="use a key file made by privplan, unchanged",
        )
    return secret


def _read_private(path: Path) -> _KeyFile:
    return read_document(
        _KeyFile, key_files.read(path, owner_only=True), what="private key"
    )
