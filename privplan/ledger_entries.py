"""What a ledger says: its entries, and the chain between them.

Each entry carries the hash of the entry before it:

    hash = SHA256(tag || previous || length of body || body)

so changing line k breaks line k, and dropping it breaks line k + 1. A chain shows
*edits*. Someone who holds the whole file can cut its end off or write it anew, and
nothing inside the file can tell; an earlier head kept elsewhere can.

    genesis   what the run is bound to: plan, data, code, and the most steps per phase
    open      a process took the run over; whoever had it before is fenced off; how
              many processes it speaks for, where there are several
    intent    steps that are about to touch the data: they count from here on
    settle    steps that were done; informative, gives nothing back
    release   something left the run: a checkpoint, a report
    abort     a session gave up; what it began stays counted
    unsafe    something was done that voids the claim; it stays said for good

An opening carries a random nonce, so that a ledger which was rolled back and taken up
again can never grow the same entries anew.

Intents carry no time: under Poisson sampling the time of a step shows the size of its
batch, which is private.

Source: hash-chaining after Haber & Stornetta 1991, doi:10.1007/BF00196791.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from privplan import canonical, checks, events
from privplan.errors import DocumentError, ParameterError
from privplan.events import ComposedEvent, Event, SelfComposedEvent

FORMAT = "privplan-ledger/1"
NO_HASH = "0" * 64
_TAG = b"privplan-ledger-entry/1\0"
_DATA_TAG = b"privplan-ledger-data/1\0"
_KEY_TAG = b"privplan-ledger-key/1\0"

_FIELDS: dict[str, dict[str, type]] = {
    "genesis": {
        "format": str,
        "ledger_id": str,
        "plan_digest": str,
        "data_commitment": str,
        "key_digest": str,
        "allowances": list,
        "time": str,
    },
    "open": {"session": int, "code_digest": str, "nonce": str, "time": str},
    "intent": {"session": int, "phase": str, "count": int},
    "settle": {"session": int, "phase": str, "count": int},
    "release": {
        "session": int,
        "name": str,
        "digest": str,
        "facts": dict,
        "time": str,
    },
    "abort": {"session": int, "time": str},
    "unsafe": {"session": int, "what": str, "time": str},
}
_OPTIONAL: dict[str, dict[str, type]] = {"open": {"processes": int}}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHead:
    """The end of a ledger at some moment: enough to recognise it later.

    Attributes:
        sequence: Number of the last entry; the first is 1.
        hash: Its hash, in hex.
    """

    sequence: int
    hash: str


START = LedgerHead(sequence=0, hash=NO_HASH)
"""Before the first entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line of a ledger.

    Attributes:
        sequence: Its number; the first is 1.
        previous: Hash of the entry before it; zeros for the first.
        kind: genesis, open, intent, settle, release, abort or unsafe.
        body: Everything it says, `kind` and `sequence` included.
        hash: Hash over `previous` and the canonical bytes of `body`, in hex.
    """

    sequence: int
    previous: str
    kind: str
    body: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The most steps of one phase that may ever begin, on any branch of the run.

    Attributes:
        phase: Name of the phase in the plan.
        event: What one step does to the data: a leaf event.
        steps: The most steps; at least 1.
    """

    phase: str
    event: Event
    steps: int

    def __post_init__(self) -> None:
        checks.count(steps=self.steps)
        if not 1 <= len(self.phase) <= 200:
            raise ParameterError(
                f"the name of a phase has {len(self.phase)} characters",
                hint="name every phase of the plan with 1 to 200 characters",
            )
        if isinstance(self.event, SelfComposedEvent | ComposedEvent):
            raise ParameterError(
                f"the event of phase '{self.phase}' is composed, but it must be that "
                "of one step",
                hint="give the event of a single step and the number of steps",
            )


def entry_hash(previous: str, body: bytes) -> str:
    """Chain the canonical bytes of a body to the hash of the entry before it.

    Example:
        >>> entry_hash(NO_HASH, b"{}")[:16]
        '68b05e2fe0073dd6'
    """
    chained = bytes.fromhex(previous) + len(body).to_bytes(8, "big") + body
    return hashlib.sha256(_TAG + chained).hexdigest()


def key_digest(key: bytes) -> str:
    """Return the digest by which the chain vouches for the ledger's secret key."""
    return hashlib.sha256(_KEY_TAG + key).hexdigest()


def commit(key: bytes, data_digest: str) -> str:
    """Commit to a data set without showing its digest.

    A plain digest would let anyone who knows all records but one test a guess of the
    last. This value can be tested only by those who hold the key.

    Args:
        key: 32 random bytes that belong to one ledger.
        data_digest: SHA-256 of the canonical data, in hex; private, never printed.

    Raises:
        ParameterError: `data_digest` is not 64 hex digits.
    """
    check_digest(data_digest=data_digest)
    message = _DATA_TAG + bytes.fromhex(data_digest)
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def check_digest(**values: str) -> None:
    """Require SHA-256 digests in lower-case hex; the values are never printed.

    Raises:
        ParameterError: A value is something else.
    """
    for name, value in values.items():
        if len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise ParameterError(
                f"{name} is not a SHA-256 digest",
                hint=f"give {name} as 64 lower-case hex digits",
            )


def write_allowances(allowances: Sequence[Allowance]) -> list[canonical.Json]:
    """Write allowances as JSON, in the order of the plan.

    Example:
        >>> one = Allowance(phase="stage-1", event=events.NoOpEvent(), steps=9)
        >>> write_allowances([one])
        [{'phase': 'stage-1', 'event': {'type': 'no-op'}, 'steps': 9}]
    """
    return [
        {
            "phase": allowance.phase,
            "event": events.to_json(allowance.event),
            "steps": allowance.steps,
        }
        for allowance in allowances
    ]


def read_allowances(values: list[Any]) -> tuple[Allowance, ...]:
    """Read what `write_allowances` wrote.

    Raises:
        DocumentError: A missing, unknown or malformed field.
        ParameterError: A number is outside its range, or a phase occurs twice.
    """
    for value in values:
        if not isinstance(value, dict) or set(value) != {"phase", "event", "steps"}:
            raise malformed("an allowance has a missing or unknown field")
    allowances = tuple(
        Allowance(
            phase=str(value["phase"]),
            event=events.from_json(value["event"]),
            steps=value["steps"],
        )
        for value in values
    )
    check_phases(allowances)
    return allowances


def check_phases(allowances: Sequence[Allowance]) -> None:
    """Require at least one phase, and every phase once.

    Raises:
        ParameterError: There is none, or a name occurs twice.
    """
    names = [allowance.phase for allowance in allowances]
    if not names or len(set(names)) != len(names):
        raise ParameterError(
            f"the run has {len(names)} phases with {len(set(names))} different names",
            hint="give at least one phase, and every phase a name of its own",
        )


def read_body(text: bytes, sequence: int) -> dict[str, Any]:
    """Read the body of an entry: a known kind, exactly its fields, of their types.

    Raises:
        DocumentError: It is something else.
    """
    body = canonical.read_json(text, what="ledger entry")
    kind = body.get("kind")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or (kind == "genesis") != (sequence == 1):
        raise malformed("its kind is unknown or out of place")
    further = {n: t for n, t in _OPTIONAL.get(body["kind"], {}).items() if n in body}
    fields = fields | further
    if body.keys() != fields.keys() | {"kind", "sequence"}:
        raise malformed("it has a missing or unknown field")
    if type(body["sequence"]) is not int or body["sequence"] != sequence:
        raise malformed("its body belongs to another line")
    if not all(type(body[name]) is kind for name, kind in fields.items()):
        raise malformed("a field has a wrong type")
    return body


def malformed(problem: str) -> DocumentError:
    """Return the error for an entry that says what no ledger says."""
    return DocumentError(problem, hint="use a ledger written by privplan, unchanged")
