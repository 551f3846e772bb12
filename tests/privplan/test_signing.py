"""Signed statements: one changed byte, one key too few, one wrong type is refused."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from privplan import signing
from privplan.canonical import canonical_bytes
from privplan.errors import (
    DocumentError,
    IntegrityError,
    ParameterError,
    PolicyError,
    PrivplanError,
)
from privplan.keys import Role, SigningKey, load_key, new_key

KIND = "https://example.org/dp-training/v1"


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, SigningKey]:
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name, role in (
        ("trainer", Role.TRAINER),
        ("officer", Role.OFFICER),
        ("stranger", Role.TRAINER),
    ):
        new_key(folder / f"{name}.key", role=role, passphrase=None)
        made[name] = load_key(folder / f"{name}.key")
    return made


@pytest.fixture
def said():
    return signing.statement(
        subjects={"model.safetensors": "ab" * 32},
        predicate_type=KIND,
        predicate={"epsilon": "8.0", "steps": 1000},
    )


@pytest.fixture
def text(said, keys) -> bytes:
    return signing.sign(said, keys["trainer"])


def change(text: bytes, **fields: object) -> bytes:
    return json.dumps(json.loads(text) | fields).encode()


def forge(payload: bytes, key: SigningKey, kind: str = signing.PAYLOAD_TYPE) -> bytes:
    """Sign any bytes under any type, as another program with our key could."""
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    signature = base64.b64encode(key.sign(pae)).decode()
    return json.dumps(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [{"keyid": key.public.keyid, "sig": signature}],
        }
    ).encode()


def test_a_signed_statement_opens_to_what_was_said(text, said, keys):
    """The reader must get the bytes that were signed, and who signed them."""
    opened = signing.open_envelope(text, trusted=[keys["trainer"].public])
    assert opened.statement == said
    assert opened.payload == canonical_bytes(said)
    assert opened.keyids == (keys["trainer"].public.keyid,)


def test_the_signature_is_over_the_pae_by_a_second_route(text, keys):
    """A private format that only we can check is worth nothing to an officer."""
    envelope = json.loads(text)
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    message = b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload]
    )
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    public = Ed25519PublicKey.from_public_bytes(keys["trainer"].public.raw)
    public.verify(signature, message)
    with pytest.raises(InvalidSignature):
        public.verify(signature, payload)


def test_openssl_agrees_about_the_signature(text, keys, tmp_path):
    """A third route, with no Python in it."""
    der = bytes.fromhex("302a300506032b6570032100") + keys["trainer"].public.raw
    envelope = json.loads(text)
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "public.der").write_bytes(der)
    (tmp_path / "pae").write_bytes(signing.pae(envelope["payloadType"], payload))
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    (tmp_path / "sig").write_bytes(signature)
    line = (
        "openssl pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin "
        "-in pae -sigfile sig"
    )
    try:
        done = subprocess.run(
            line.split(), cwd=tmp_path, capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.returncode == 0, done.stderr


def test_every_flipped_bit_is_refused_or_changes_nothing_that_was_said(
    text, said, keys
):
    """A report that can be edited at one place will be edited there."""
    refused = 0
    for bit in range(8 * len(text)):
        damaged = bytearray(text)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            opened = signing.open_envelope(
                bytes(damaged), trusted=[keys["trainer"].public]
            )
        except (IntegrityError, DocumentError):
            refused += 1
        else:
            assert opened.statement == said
            assert opened.payload == canonical_bytes(said)
    # What is not refused: the unsigned keyid, white space, unused bits of base64.
    assert refused > 6 * len(text)


def test_an_edited_and_re_encoded_claim_is_refused(text, keys):
    """The obvious forgery: decode, write a smaller epsilon, encode."""
    payload = base64.b64decode(json.loads(text)["payload"])
    smaller = base64.b64encode(payload.replace(b'"8.0"', b'"1.0"')).decode()
    with pytest.raises(IntegrityError):
        signing.open_envelope(
            change(text, payload=smaller), trusted=[keys["trainer"].public]
        )


def test_a_signature_for_one_type_is_none_for_another(text, keys):
    """CVE-2022-35929: a type that is checked beside the signature can be swapped."""
    with pytest.raises(IntegrityError):
        signing.open_envelope(
            change(text, payloadType="text/plain"), trusted=[keys["trainer"].public]
        )


def test_an_unknown_type_is_refused_even_when_well_signed(said, keys):
    """A trusted key may sign other things; they are not statements."""
    text = forge(canonical_bytes(said), keys["trainer"], kind="text/plain")
    with pytest.raises(DocumentError, match="text/plain"):
        signing.open_envelope(text, trusted=[keys["trainer"].public])


def test_only_trusted_keys_count(text, keys):
    """Anyone can make a key and sign with it."""
    with pytest.raises(IntegrityError, match="not signed by the key you trust"):
        signing.open_envelope(text, trusted=[keys["stranger"].public])
    with pytest.raises(IntegrityError, match="0 of the 0 trusted"):
        signing.open_envelope(text, trusted=[])


def test_the_keyid_in_an_envelope_decides_nothing(text, keys):
    """It is not signed: it can neither lend trust nor take it away."""
    signature = json.loads(text)["signatures"][0]
    trusted = [keys["trainer"].public]
    for keyid in ("", "nonsense", keys["stranger"].public.keyid):
        renamed = change(text, signatures=[signature | {"keyid": keyid}])
        opened = signing.open_envelope(renamed, trusted=trusted)
        assert opened.keyids == (keys["trainer"].public.keyid,)
    without = change(text, signatures=[{"sig": signature["sig"]}])
    assert signing.open_envelope(without, trusted=trusted).keyids
    spoofed = change(
        text, signatures=[signature | {"keyid": keys["stranger"].public.keyid}]
    )
    with pytest.raises(IntegrityError, match="the signature is not that key's"):
        signing.open_envelope(spoofed, trusted=[keys["stranger"].public])


def test_a_detached_signature_is_what_other_programs_need(text, keys):
    """The bytes handed out must be those that were signed, and by that key."""
    trainer = keys["trainer"].public
    message, signature = signing.detached(text, trainer)
    assert trainer.verify(signature, message)
    opened = signing.open_envelope(text, trusted=[trainer])
    assert message == signing.pae(signing.PAYLOAD_TYPE, opened.payload)
    with pytest.raises(IntegrityError, match="not signed by the key"):
        signing.detached(text, keys["stranger"].public)


def test_a_threshold_counts_keys_and_not_signatures(text, keys):
    """One person who signs twice is still one person."""
    signature = json.loads(text)["signatures"][0]
    twice = change(text, signatures=[signature, signature])
    trainer, officer = keys["trainer"].public, keys["officer"].public
    for trusted in ([trainer, officer], [trainer, trainer]):
        with pytest.raises(IntegrityError, match="but 2 must"):
            signing.open_envelope(twice, trusted=trusted, threshold=2)
    assert len(signing.open_envelope(twice, trusted=[trainer, trainer]).keyids) == 1


@pytest.mark.parametrize("threshold", [0, -1, True, 1.0, float("nan")])
def test_a_threshold_below_one_is_refused(text, keys, threshold):
    """With a threshold of zero nobody has to sign."""
    with pytest.raises(ParameterError):
        signing.open_envelope(
            text, trusted=[keys["trainer"].public], threshold=threshold
        )


def test_a_counter_signature_counts_and_keeps_the_first_one(text, said, keys):
    """The officer signs what the trainer signed, to the byte."""
    both = signing.add_signature(text, keys["officer"])
    publics = [keys["trainer"].public, keys["officer"].public]
    opened = signing.open_envelope(both, trusted=publics, threshold=2)
    assert opened.statement == said
    assert set(opened.keyids) == {public.keyid for public in publics}
    for public in publics:
        assert signing.open_envelope(both, trusted=[public]).statement == said
    with pytest.raises(PolicyError, match="already"):
        signing.add_signature(both, keys["officer"])
    with pytest.raises(IntegrityError):
        signing.open_envelope(text, trusted=publics, threshold=2)


def test_nobody_counter_signs_what_is_no_statement(said, keys):
    """A signature under unknown bytes is a blank cheque."""
    trainer, officer = keys["trainer"], keys["officer"]
    for text in (
        b"",
        forge(b"{}", trainer),
        forge(canonical_bytes(said), trainer, kind="text/plain"),
    ):
        with pytest.raises(DocumentError):
            signing.add_signature(text, officer)


def test_an_envelope_takes_only_so_many_signatures(text, keys):
    """A thousand signatures are a thousand verifications for whoever reads it."""
    signature = json.loads(text)["signatures"][0]
    full = change(text, signatures=[signature] * 64)
    trusted = [keys["trainer"].public]
    assert signing.open_envelope(full, trusted=trusted).keyids
    with pytest.raises(PolicyError, match="64"):
        signing.add_signature(full, keys["officer"])
    with pytest.raises(DocumentError):
        signing.open_envelope(
            change(text, signatures=[signature] * 65), trusted=trusted
        )
    with pytest.raises(DocumentError):
        signing.open_envelope(change(text, signatures=[]), trusted=trusted)


def test_both_alphabets_of_base64_are_read_and_nothing_else(keys):
    """DSSE obliges readers to take both; anything looser is a second spelling."""
    said = signing.statement(
        subjects={}, predicate_type=KIND, predicate={"odd": "\x7f~~~???ÿÿþ"}
    )
    text = signing.sign(said, keys["trainer"])
    payload = json.loads(text)["payload"]
    assert set(payload) & set("+/")
    trusted = [keys["trainer"].public]
    url_safe = change(text, payload=payload.replace("+", "-").replace("/", "_"))
    assert signing.open_envelope(url_safe, trusted=trusted).statement == said
    for wrong in (
        payload + "=",
        payload + "=" * 4,
        payload + "\n",
        " " + payload,
        payload[:-1],
        payload.rstrip("=") + "é",
        payload + payload,
    ):
        with pytest.raises((DocumentError, IntegrityError)):
            signing.open_envelope(change(text, payload=wrong), trusted=trusted)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"_type": NaN}',
        b'{"_type":"https://in-toto.io/Statement/v0.1","subject":[],'
        b'"predicateType":"x","predicate":{}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],'
        b'"predicateType":"x","predicate":[]}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],'
        b'"predicateType":"x","predicate":{},"more":1}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],'
        b'"predicateType":"x","predicate":{"epsilon":"1","epsilon":"8"}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],'
        b'"predicateType":"x","predicate":{"epsilon":NaN}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a",'
        b'"digest":{"sha256":"00"}}],"predicateType":"x","predicate":{}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a",'
        b'"digest":{"md5":"00"}}],"predicateType":"x","predicate":{}}',
    ],
)
def test_what_was_signed_is_still_read_strictly(payload, keys):
    """A good signature does not make two readings of one text into one."""
    text = forge(payload, keys["trainer"])
    with pytest.raises(DocumentError):
        signing.open_envelope(text, trusted=[keys["trainer"].public])


def test_a_statement_names_every_file_once(keys):
    """Two digests for one name let the reader choose."""
    subject = {"name": "a", "digest": {"sha256": "00" * 32}}
    other = {"name": "a", "digest": {"sha256": "11" * 32}}
    payload = canonical_bytes(
        {
            "_type": signing.STATEMENT_TYPE,
            "subject": [subject, other],
            "predicateType": KIND,
            "predicate": {},
        }
    )
    with pytest.raises(DocumentError, match="twice"):
        signing.open_envelope(
            forge(payload, keys["trainer"]), trusted=[keys["trainer"].public]
        )


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace(b'"payload"', b'"payload": "AAAA", "payload"', 1),
        lambda text: text.replace(b'"payload"', b'"note": "epsilon 1", "payload"', 1),
        lambda text: text.replace(b'"sig"', b'"note": "epsilon 1", "sig"', 1),
        lambda text: text.replace(b'"payloadType"', b'"payload_type"'),
        lambda text: text[:-3],
        lambda text: text + b"{}",
        lambda text: b"[" + text + b"]",
        lambda _text: b"not json",
        lambda _text: b"",
    ],
)
def test_an_envelope_is_read_strictly(text, keys, edit):
    """Unsigned text inside a signed report would be read as if it were signed."""
    edited = edit(text)
    assert edited != text
    with pytest.raises(DocumentError):
        signing.open_envelope(edited, trusted=[keys["trainer"].public])


def test_an_envelope_too_large_is_refused_before_it_is_parsed(text, keys):
    """A gigabyte of JSON is an attack on whoever opens the mail."""
    with pytest.raises(DocumentError, match="more than"):
        signing.open_envelope(text + b" " * 4_300_000, trusted=[keys["trainer"].public])
    large = signing.statement(
        subjects={}, predicate_type=KIND, predicate={"x": "y" * 3_500_000}
    )
    with pytest.raises(DocumentError, match="more than"):
        signing.sign(large, keys["trainer"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"subjects": {"a": "00"}},
        {"subjects": {"": "00" * 32}},
        {"subjects": {"a": "AB" * 32}},
        {"predicate_type": ""},
        {"predicate": {"epsilon": float("nan")}},
        {"predicate": {"count": 2**60}},
        {"predicate": {"path": Path("x")}},
    ],
)
def test_what_cannot_be_said_is_refused_before_it_is_signed(wrong):
    """A statement that no verifier can read must not be signed first."""
    with pytest.raises(PrivplanError):
        signing.statement(
            **({"subjects": {}, "predicate_type": KIND, "predicate": {}} | wrong)
        )


def test_only_a_statement_can_be_signed(keys):
    """Signing any dictionary would make the type under the signature a lie."""
    for wrong in ({}, {"_type": signing.STATEMENT_TYPE}, {"epsilon": "8.0"}):
        with pytest.raises(DocumentError):
            signing.sign(wrong, keys["trainer"])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def trainer(keys):
    return keys["trainer"]


@given(predicate=st.dictionaries(st.text("abc", min_size=1), JSON, max_size=5))
def test_whatever_is_said_is_read_back_as_it_was_said(trainer, predicate):
    """Two routes: what went in, and what an independent JSON reader finds inside."""
    said = signing.statement(subjects={}, predicate_type=KIND, predicate=predicate)
    text = signing.sign(said, trainer)
    opened = signing.open_envelope(text, trusted=[trainer.public])
    assert opened.statement["predicate"] == predicate
    inside = json.loads(base64.b64decode(json.loads(text)["payload"]))
    assert inside == opened.statement


@given(left=st.tuples(st.text(), st.binary()), right=st.tuples(st.text(), st.binary()))
def test_two_different_messages_never_have_one_pae(left, right):
    """If they had, a signature for one would be a signature for the other."""
    same = signing.pae(*left) == signing.pae(*right)
    assert same == (left == right)


def test_a_boundary_between_type_and_payload_cannot_move():
    """The lengths are what keeps a byte from changing sides."""
    assert signing.pae("ab", b"c") != signing.pae("a", b"bc")
    assert signing.pae("a 1 b", b"c") != signing.pae("a", b"b 1 c")
