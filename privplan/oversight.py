"""What an office checks of a report beyond the report itself, when it can.

    V11  signers    the keys that signed may act in that role, and none is revoked;
                    an officer counter-signed, if that is required
    V12  register   the run was paid for before it began, and by this register
    V13  anchor     the ledger still holds what an officer noted elsewhere
    V14  policy     the run kept the rules of a policy, and what it says it began under
                    is what its ledger noted before the first record

Each needs something the report does not carry: a trust file, a register, an anchor, a
policy. They are taken only if these are given, and then they count like any other step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from privplan import ledger_anchor, moments, policy, register, run_evidence
from privplan.errors import IntegrityError, PrivplanError
from privplan.findings import Finding, Outcome, Verdict
from privplan.keys import Role
from privplan.register import Reservation
from privplan.report_schema import Predicate, ReservationPart
from privplan.trust import Trust
from privplan.verify import LEDGER_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What an office has at hand.

    Attributes:
        trust: Its trust file, or the keys that were given.
        pinned: Whether it is a trust file; then roles are always asked for.
        require: A role that must be among the signers beside the trainer.
        register: The register that should have paid.
        now: When this is asked.
        anchor: Where the ledger stood at some earlier time.
        policy: The policy the run should have kept.
        folder: Where the approval is, if there is one.
        ledger: The run's ledger, or its export.
    """

    trust: Trust
    pinned: bool
    require: Role | None = None
    register: Path | None = None
    now: datetime
    anchor: Path | None = None
    policy: Path | None = None
    folder: Path = Path()
    ledger: Path | None = None


def extend(verdict: Verdict, office: Office) -> Verdict:
    """Add to a verdict what an office can check.

    Args:
        verdict: From `verify.verify`.
        office: What is at hand.

    Returns:
        The verdict with V11 to V14, as far as they could be asked for.

    Raises:
        DocumentError: The anchor or the policy cannot be read.
    """
    said = verdict.predicate
    if said is None:
        return verdict
    added = []
    if office.pinned or office.require is not None:
        added.append(_found("V11", "signers", lambda: _signers(verdict, said, office)))
    path = office.register
    if path is not None:
        trust = office.trust if office.pinned else None
        added.append(_found("V12", "register", lambda: _register(said, path, trust)))
    added += _evidence(said, office)
    return replace(verdict, findings=(*verdict.findings, *added))


def signers(
    keyids: tuple[str, ...], trust: Trust, *, written: datetime | None, now: datetime
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Sort signers into trainers and officers whose word counts, and what is wrong.

    Returns:
        Keyids of trainers, keyids of officers, and one text per key that is neither.
    """
    found: dict[Role, list[str]] = {Role.TRAINER: [], Role.OFFICER: []}
    problems = []
    for keyid in keyids:
        key = trust.keys.get(keyid)
        role = Role.TRAINER if key is None else key.public.role
        asked = role if role in found else Role.TRAINER
        problem = trust.problem(keyid, asked, written=written, now=now)
        if problem is None:
            found[asked].append(keyid)
        else:
            problems.append(problem)
    return tuple(found[Role.TRAINER]), tuple(found[Role.OFFICER]), tuple(problems)


def _signers(verdict: Verdict, said: Predicate, office: Office) -> str:
    written = None if said.written is None else moments.parse(said.written)
    trainers, officers, problems = signers(
        verdict.keyids, office.trust, written=written, now=office.now
    )
    if not (trainers or officers):
        raise _wrong("; ".join(problems))
    if office.require is Role.OFFICER and not officers:
        besides = f" ({'; '.join(problems)})" if problems else ""
        raise _wrong(f"no officer counter-signed this report{besides}")
    texts = [f"trainer {_owner(office.trust, keyid)}" for keyid in trainers]
    texts += [f"officer {_owner(office.trust, keyid)}" for keyid in officers]
    if not trainers and problems:
        texts.append(f"the officer vouches although {'; '.join(problems)}")
    if office.trust.links:
        texts.append(
            f"trust file of {office.trust.links} links, head {office.trust.head[:16]}"
        )
    return "; ".join(texts)


def _evidence(said: Predicate, office: Office) -> list[Finding]:
    found, anchor, rules = [], office.anchor, office.policy
    ledger = office.ledger or office.folder / LEDGER_FILE
    if anchor is not None:
        ledger_anchor.read(anchor)  # what cannot be read is no finding about the report
        step = partial(run_evidence.check_anchor, said, anchor, ledger)
        found.append(_found("V13", "anchor", step))
    if rules is not None:
        policy.read(rules)
        step = partial(
            run_evidence.check_policy,
            said,
            rules,
            folder=office.folder,
            ledger=ledger,
            trust=office.trust if office.pinned else None,
        )
        found.append(_found("V14", "policy", step))
    return found


def _register(said: Predicate, path: Path, trust: Trust | None) -> str:
    part = said.reservation
    if part is None:
        raise _wrong("the report names no reservation: no register paid for this run")
    content = register.read(path, trust)
    opening = content.tally.opening
    if opening is None or opening.register_id != part.register_id:
        raise _wrong("the run was paid for by another register")
    if content.hash_at(part.sequence) != part.hash:
        raise _wrong(
            f"entry {part.sequence} of the register is not the one the report names: "
            "the register was rewritten, shortened, or a copy was used"
        )
    found = content.tally.reservation(part.reservation)
    if found is None:
        raise _wrong("the register does not know the reservation")
    data_set, reserved = found
    _check_paid(said, part, reserved)
    if data_set.void is not None:
        raise _wrong(
            f"the grant of data set '{data_set.name}' counts no more: {data_set.void}"
        )
    epsilon, delta = data_set.left
    return (
        f"entry {part.sequence} of the register paid for it; data set "
        f"'{data_set.name}' has epsilon {epsilon:.4g}, delta {delta:.3g} left"
    )


def _check_paid(said: Predicate, part: ReservationPart, reserved: Reservation) -> None:
    if (reserved.entry.plan_digest, reserved.entry.data_set) != (
        said.plan.digest,
        part.data_set,
    ):
        raise _wrong("the reservation is for another plan or data set")
    if reserved.begun is None or reserved.begun.ledger_id != said.ledger.ledger_id:
        raise _wrong("the reservation belongs to another run")
    if reserved.settled is not None:
        counted = {part.phase: part.counted for part in said.realised.phases}
        if any(
            counted.get(phase, 0) > count
            for phase, count in reserved.settled.counted.items()
        ):
            raise _wrong("the run was settled for fewer steps than the report counts")


def _owner(trust: Trust, keyid: str) -> str:
    owner = trust.keys[keyid].owner
    return f"key {keyid[:16]} of {owner}" if owner else f"key {keyid[:16]}"


def _found(number: str, name: str, step: Callable[[], str]) -> Finding:
    try:
        outcome, text = Outcome.PASSED, step()
    except run_evidence.NotTakenError as reason:
        outcome, text = Outcome.NOT_TAKEN, str(reason)
    except PrivplanError as error:
        outcome, text = Outcome.FAILED, error.message
    return Finding(number=number, name=name, outcome=outcome, text=text)


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(problem, hint="ask the one who signed, or an officer")
