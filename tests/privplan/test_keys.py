# ruff: noqa: S105, S106 - passphrases made up for the tests
"""Key files: who can read them, what a changed one does, what a passphrase costs."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import key_seal
from privplan.errors import (
    DocumentError,
    IntegrityError,
    ParameterError,
    PolicyError,
    PrivplanError,
)
from privplan.keys import (
    PublicKey,
    Role,
    load_key,
    load_public,
    needs_passphrase,
    new_key,
    write_public,
)

PASSPHRASE = "four quiet words here"


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch):
    """2^17 costs half a second a key; what is tested does not depend on it."""
    monkeypatch.setattr(key_seal, "_SCRYPT_N", 2**10)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trainer.key"


def edit(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE, "p", "Füße 🔑", "x" * 5000])
@pytest.mark.parametrize("role", list(Role))
def test_a_key_comes_back_and_its_signature_verifies(path, role, passphrase):
    """A key that cannot be read back has signed its last report."""
    public = new_key(path, role=role, passphrase=passphrase)
    key = load_key(path, passphrase=passphrase)
    assert key.public == public == load_public(path.with_suffix(".pub"))
    assert (public.role, needs_passphrase(path)) == (role, passphrase is not None)
    signature = key.sign(b"message")
    assert public.verify(signature, b"message")
    assert not public.verify(signature, b"massage")
    assert not public.verify(signature[:-1], b"message")
    assert not public.verify(b"", b"message")
    # a second route: the library's own verification, from the raw bytes
    Ed25519PublicKey.from_public_bytes(public.raw).verify(signature, b"message")


def test_a_keyid_is_the_digest_of_the_der_bytes(path):
    """Another program that computes the keyid must arrive at the same one."""
    public = new_key(path, role=Role.OFFICER, passphrase=None)
    # RFC 8410: the fixed SubjectPublicKeyInfo header of an Ed25519 key
    der = bytes.fromhex("302a300506032b6570032100") + public.raw
    assert public.keyid == hashlib.sha256(der).hexdigest()
    assert public.fingerprint.replace(" ", "") == public.keyid[:20]


def test_two_keys_are_never_alike(tmp_path):
    """Randomness that repeats would give one person another one's signature."""
    publics = {
        new_key(tmp_path / f"{n}.key", role=Role.TRAINER, passphrase=None).raw
        for n in range(20)
    }
    secrets = {
        json.loads((tmp_path / f"{n}.key").read_text())["secret"] for n in range(20)
    }
    assert (len(publics), len(secrets)) == (20, 20)


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_an_existing_key_is_never_overwritten(path, passphrase):
    """Overwriting the only copy of a key makes its signer disappear."""
    new_key(path, role=Role.TRAINER, passphrase=passphrase)
    files = (path, path.with_suffix(".pub"))
    before = [file.read_bytes() for file in files]
    with pytest.raises(PolicyError, match="never overwritten"):
        new_key(path, role=Role.TRAINER, passphrase=passphrase)
    assert [file.read_bytes() for file in files] == before
    for kept, removed in (files, files[::-1]):
        removed.unlink()
        with pytest.raises(PolicyError, match="never overwritten"):
            new_key(path, role=Role.TRAINER, passphrase=passphrase)
        assert kept.exists()
        assert not removed.exists()
        removed.write_bytes(before[files.index(removed)])


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_private_key_belongs_to_its_owner_alone(path):
    """A key that others can read is theirs too."""
    new_key(path, role=Role.TRAINER, passphrase=None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o620, 0o602, 0o644, 0o777, 0o610):
        path.chmod(mode)
        for use in (load_key, needs_passphrase):
            with pytest.raises(PolicyError) as refusal:
                use(path)
            assert f"chmod 600 {path}" in refusal.value.hint
    path.chmod(0o400)
    assert load_key(path).public.role is Role.TRAINER


def test_a_wrong_or_missing_passphrase_opens_nothing(path):
    """A wrong passphrase that returned some key would sign with nobody's."""
    new_key(path, role=Role.TRAINER, passphrase=PASSPHRASE)
    for wrong in ("four quiet words", PASSPHRASE + " ", PASSPHRASE.upper()):
        with pytest.raises(IntegrityError, match="passphrase is wrong") as refusal:
            load_key(path, passphrase=wrong)
        assert wrong not in str(refusal.value)
    with pytest.raises(PolicyError, match="no passphrase"):
        load_key(path)
    with pytest.raises(ParameterError, match="empty"):
        load_key(path, passphrase="")


def test_one_passphrase_typed_on_two_keyboards_is_one_passphrase(path):
    """é may be one character or two; a user cannot see which."""
    new_key(path, role=Role.TRAINER, passphrase="caf\u00e9")
    assert load_key(path, passphrase="cafe\u0301").public.role is Role.TRAINER


def test_a_key_without_passphrase_says_so_and_takes_none(path):
    """Someone who types a passphrase believes that the file is encrypted."""
    new_key(path, role=Role.TRAINER, passphrase=None)
    assert json.loads(path.read_text())["encryption"] == "none"
    with pytest.raises(ParameterError, match="not encrypted"):
        load_key(path, passphrase=PASSPHRASE)


def test_an_empty_passphrase_is_not_taken_for_none(tmp_path, path):
    """An empty answer to a prompt must not write a key that looks protected."""
    with pytest.raises(ParameterError, match="empty"):
        new_key(path, role=Role.TRAINER, passphrase="")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "officer"},
        {"keyid": "0" * 64},
        {"public_key": "0" * 64},
        {"secret": "00" * 48},
        {"secret": "00"},
    ],
)
def test_no_field_of_an_encrypted_key_can_be_swapped(path, changes):
    """A trainer key that calls itself an officer's would grant budgets."""
    new_key(path, role=Role.TRAINER, passphrase=PASSPHRASE)
    edit(path, **changes)
    with pytest.raises(IntegrityError):
        load_key(path, passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", 2), ("n", 2**30), ("n", 0), ("r", 9), ("p", 2), ("nonce", "00" * 11)],
)
def test_a_file_cannot_ask_for_less_work_or_for_all_memory(path, field, value):
    """A cheap key file can be guessed; one that asks for 2^30 stops the machine."""
    new_key(path, role=Role.TRAINER, passphrase=PASSPHRASE)
    encryption = json.loads(path.read_text())["encryption"]
    edit(path, encryption=encryption | {field: value})
    with pytest.raises(DocumentError):
        load_key(path, passphrase=PASSPHRASE)


@pytest.mark.parametrize("field", ["salt", "nonce"])
def test_another_salt_or_nonce_does_not_open_the_key(path, field):
    """Both are part of the key that the passphrase makes."""
    new_key(path, role=Role.TRAINER, passphrase=PASSPHRASE)
    encryption = json.loads(path.read_text())["encryption"]
    edit(path, encryption=encryption | {field: "00" * (len(encryption[field]) // 2)})
    with pytest.raises(IntegrityError):
        load_key(path, passphrase=PASSPHRASE)


def test_calling_an_encrypted_key_unencrypted_opens_nothing(path):
    """The ciphertext must not be taken for a key."""
    new_key(path, role=Role.TRAINER, passphrase=PASSPHRASE)
    edit(path, encryption="none")
    with pytest.raises(DocumentError, match="wrong length"):
        load_key(path)


def test_the_halves_of_an_unencrypted_key_must_belong_together(path):
    """A swapped secret would sign under a name that is not its own."""
    new_key(path, role=Role.TRAINER, passphrase=None)
    edit(path, secret="11" * 32)
    with pytest.raises(IntegrityError, match="belong together"):
        load_key(path)


def test_no_changed_byte_of_a_public_key_gives_another_key(path):
    """A reader who trusts a damaged key trusts somebody else."""
    public = new_key(path, role=Role.OFFICER, passphrase=None)
    file = path.with_suffix(".pub")
    content = file.read_bytes()
    refused = 0
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            assert load_public(file) == public
        except PrivplanError:
            refused += 1
    # What is not refused is white space between the fields.
    assert refused > 7 * len(content)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"format": "privplan-key/2"}',
        b" " * 100_000,
    ],
)
def test_a_file_that_is_no_key_is_refused(path, text):
    """A wrong path must give one clear line and not a stack of Python."""
    path.write_bytes(text)
    path.chmod(0o600)
    for use in (load_key, load_public, needs_passphrase):
        with pytest.raises(DocumentError):
            use(path)


def test_a_key_file_is_read_strictly(path):
    """A field given twice, or one too many, means two readers see two keys."""
    new_key(path, role=Role.TRAINER, passphrase=None)
    text = path.read_text()
    for changed in (
        text.replace('"role"', '"role": "officer", "role"'),
        text.replace('"role"', '"note": "hello", "role"'),
        text.replace('"trainer"', '"king"'),
        text.replace('"trainer"', "NaN"),
    ):
        assert changed != text
        path.write_text(changed)
        with pytest.raises(DocumentError):
            load_key(path)


def test_a_public_key_is_not_a_private_one_and_not_the_other_way_round(path):
    """Handing out the wrong file must fail at once."""
    new_key(path, role=Role.TRAINER, passphrase=None)
    path.with_suffix(".pub").chmod(0o600)
    with pytest.raises(DocumentError):
        load_key(path.with_suffix(".pub"))
    with pytest.raises(DocumentError):
        load_public(path)


def test_missing_files_and_folders_are_named(tmp_path):
    """Which path was wrong is the only thing a user can act on."""
    for use in (load_key, load_public, needs_passphrase):
        with pytest.raises(DocumentError, match="missing"):
            use(tmp_path / "missing.key")
    nowhere = tmp_path / "no folder" / "a.key"
    with pytest.raises(DocumentError, match="no folder"):
        new_key(nowhere, role=Role.TRAINER, passphrase=None)
    for name in ("a.pub", "."):
        with pytest.raises(ParameterError):
            new_key(Path(name), role=Role.TRAINER, passphrase=None)


def test_a_public_key_may_be_written_again_but_not_over_another(tmp_path, path):
    """Whoever trusts a file must not find somebody else in it tomorrow."""
    public = new_key(path, role=Role.TRAINER, passphrase=None)
    other = new_key(tmp_path / "other.key", role=Role.TRAINER, passphrase=None)
    copy = tmp_path / "copy.pub"
    write_public(public, copy)
    before = copy.read_bytes()
    write_public(public, copy)
    with pytest.raises(PolicyError, match="never overwritten"):
        write_public(other, copy)
    assert copy.read_bytes() == before == path.with_suffix(".pub").read_bytes()
    copy.write_text("notes")
    with pytest.raises(PolicyError, match="never overwritten"):
        write_public(public, copy)
    assert copy.read_text() == "notes"


def test_a_failed_second_file_takes_the_first_one_back(path, monkeypatch):
    """A public key without its private half would be trusted and never used."""
    real = os.open

    def refuse(file, flags, mode=0o777, **kwargs):
        if str(file) == str(path):
            raise OSError(28, "No space left on device")
        return real(file, flags, mode, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(DocumentError, match="No space"):
            new_key(path, role=Role.TRAINER, passphrase=None)
    assert list(path.parent.iterdir()) == []


def test_a_key_never_shows_its_secret(path):
    """Logs and tracebacks print what they are given."""
    new_key(path, role=Role.TRAINER, passphrase=None)
    key = load_key(path)
    secret = json.loads(path.read_text())["secret"]
    for text in (repr(key), str(key), repr(key.public)):
        assert secret not in text
        assert repr(bytes.fromhex(secret))[2:-1] not in text
    with pytest.raises(ParameterError):
        PublicKey(role=Role.TRAINER, raw=b"short")


@settings(max_examples=40, deadline=None)
@given(
    secret=st.binary(min_size=1, max_size=64),
    passphrase=st.text(min_size=1).filter(lambda text: text.isprintable()),
)
def test_whatever_is_sealed_comes_out_again_and_only_as_it_was(secret, passphrase):
    """Sealing is the one place where a secret could be lost for good."""
    how, header = key_seal.fresh_encryption(), {"role": "trainer"}
    sealed = key_seal.seal(secret, passphrase, how, header)
    assert key_seal.unseal(sealed, passphrase, how, header) == secret
    for changed in (
        lambda: key_seal.unseal(sealed, passphrase + "x", how, header),
        lambda: key_seal.unseal(sealed, passphrase, how, {"role": "officer"}),
        lambda: key_seal.unseal(sealed[:-1], passphrase, how, header),
        lambda: key_seal.unseal(
            sealed, passphrase, key_seal.fresh_encryption(), header
        ),
    ):
        with pytest.raises(IntegrityError):
            changed()


def test_a_real_key_file_costs_128_mib_per_guess(path, monkeypatch):
    """A cheap default would be used by everybody and noticed by nobody."""
    monkeypatch.undo()
    new_key(path, role=Role.TRAINER, passphrase=PASSPHRASE)
    encryption = json.loads(path.read_text())["encryption"]
    # RFC 7914: scrypt needs 128 * n * r bytes
    assert 128 * encryption["n"] * encryption["r"] == 128 * 2**20
    assert load_key(path, passphrase=PASSPHRASE).public.role is Role.TRAINER
