"""A report taken apart, so that a stranger can check it without our code.

    report.pae      the exact bytes that were signed (DSSE pre-authentication encoding)
    report.sig      the 64 bytes of the signature
    signer.pem      the public key
    statement.json  what the signed bytes say: files, plan, claim, counts
    recompute.py    epsilon from that statement, by dp-accounting alone

The signature can be checked by OpenSSL, the files by any SHA-256, epsilon by any
accountant. Nothing in the five files is believed because it stands here: `report.pae`
is whatever the signer signed, and the key must come from the signer.

Source: DSSE v1, protocol.md; RFC 8032 (Ed25519); dp-accounting of
google/differential-privacy.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import signing
from privplan.keys import PublicKey

PAE_NAME, SIGNATURE_NAME, KEY_NAME = "report.pae", "report.sig", "signer.pem"
STATEMENT_NAME, SCRIPT_NAME = "statement.json", "recompute.py"

OPENSSL = (
    f"openssl pkeyutl -verify -pubin -inkey {KEY_NAME} -rawin -in {PAE_NAME} "
    f"-sigfile {SIGNATURE_NAME}",
    f"openssl pkey -pubin -in {KEY_NAME} -outform DER | openssl dgst -sha256",
)
"""Run where the files are; the second prints the key's whole fingerprint."""

SCRIPT = '''\
"""Recompute epsilon from statement.json with dp-accounting; nothing else is asked."""
import json, sys
from dp_accounting import dp_event as e
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

said = json.load(open(sys.argv[1] if sys.argv[1:] else "statement.json"))["predicate"]
z = lambda step: e.GaussianDpEvent(float(step["noise_multiplier"]))
sampled = lambda step: e.PoissonSampledDpEvent(float(step["sample_rate"]), z(step))
EVENTS = {"no-op": lambda step: e.NoOpDpEvent(), "gaussian": z,
    "poisson-sampled-gaussian": sampled, "poisson-sampled-discrete-gaussian": sampled}
# Discrete noise costs what continuous noise does at whole Renyi orders, and only there.
discrete = any("discrete" in p["event"]["type"] for p in said["plan"]["phases"])
orders = [*range(2, 513), 768, 1024, 1536, 2048, 4096]
accountant = RdpAccountant(orders) if discrete else PLDAccountant()
for phase in said["plan"]["phases"]:
    accountant.compose(EVENTS[phase["event"]["type"]](phase["event"]), phase["steps"])
found = accountant.get_epsilon(float(said["claim"]["delta"]))
claimed = float(said["claim"]["epsilon"]["upper"])
print(f"recomputed {found:.6f}, claimed {claimed:.6f}")
sys.exit(not found <= claimed * 1.01)  # 1 %: dp-accounting rounds up on a grid
'''

LINES: tuple[tuple[str, str, str], ...] = (
    (
        "subject[].digest.sha256",
        "SHA-256 of each file named",
        "sha256sum",
    ),
    (
        "predicate.plan.digest",
        "SHA-256 of the plan without `digest`, as RFC 8785 JSON",
        "any RFC 8785 library",
    ),
    (
        "predicate.claim.epsilon",
        "epsilon at delta of all phases, each `steps` times its `event`",
        SCRIPT_NAME,
    ),
    (
        "predicate.accounting",
        "the same, by two more accountants",
        "dp-accounting, prv-accountant",
    ),
    (
        "predicate.realised.phases",
        "sum of `count` over the intents of each phase",
        "the ledger's export",
    ),
    (
        "predicate.ledger.head_hash",
        "SHA-256 chain up to entry `head_sequence`",
        "the ledger's export",
    ),
    (
        "predicate.data.value",
        "HMAC-SHA256 under a key that the ledger's owner holds",
        "nobody else",
    ),
)
"""What to recompute: field, formula, with what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A report taken apart.

    Attributes:
        files: Content by name.
        keyid: Whose signature it is: SHA-256 of the key as DER, in hex.
    """

    files: dict[str, bytes]
    keyid: str


def explain(text: bytes, key: PublicKey) -> Explained:
    """Take a signed report apart.

    Args:
        text: The bytes of the report.
        key: Who should have signed it.

    Raises:
        DocumentError: This is not a signed statement.
        IntegrityError: This key did not sign it.
    """
    message, signature = signing.detached(text, key)
    opened = signing.open_envelope(text, trusted=[key])
    return Explained(
        files={
            PAE_NAME: message,
            SIGNATURE_NAME: signature,
            KEY_NAME: key.pem(),
            STATEMENT_NAME: opened.payload,
            SCRIPT_NAME: SCRIPT.encode(),
        },
        keyid=key.keyid,
    )
