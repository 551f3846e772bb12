"""Which rules a run began under: the policy and the approval, by digest, in its ledger.

    policy.toml            --sha256-->  an entry of the ledger, before the first record
    plan.approval.json     --sha256-->  the same entry

The report repeats the entry, so whoever has the two files can see that they are the
ones the run was held to, and hold it to them again (`verify --policy`). A policy that
was written afterwards has another digest.

Edges: writes ledgers.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan import canonical
from privplan.errors import IntegrityError
from privplan.events import NoOpEvent
from privplan.ledger import Ledger, LedgerContent, LedgerEntry
from privplan.report_schema import RulesPart

RULES = "rules"
APPROVAL_NAME = "plan.approval.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules:
    """What a run was held to before it began; at least one of the two.

    Attributes:
        policy: SHA-256 of the policy file, in hex.
        approval: SHA-256 of the approval's envelope, in hex.
    """

    policy: str | None = None
    approval: str | None = None

    def facts(self) -> dict[str, str]:
        """Return the digests that are there, by name.

        Example:
            >>> RunRules(policy="ab" * 32).facts() == {"policy": "ab" * 32}
            True
        """
        both = {"policy": self.policy, "approval": self.approval}
        return {name: digest for name, digest in both.items() if digest is not None}

    def bind(self, run: Ledger, content: LedgerContent) -> None:
        """Note the rules in a ledger, unless its newest note says the same.

        Args:
            run: Open for writing.
            content: The same ledger, as it was read.

        Raises:
            PolicyError: Another process has the run now.
            LedgerError: It could not be written.
        """
        facts, newest = self.facts(), entry_of(content)
        if facts and (newest is None or newest.body["facts"] != facts):
            run.record_release(RULES, canonical.digest(facts), **facts)


def entry_of(content: LedgerContent) -> LedgerEntry | None:
    """Return the first note of rules in a ledger; None if there is none.

    The first one counts: what is added once records were read binds nobody.
    """
    for entry in content.entries:
        if entry.kind == "release" and entry.body["name"] == RULES:
            return entry
    return None


def rules_of(content: LedgerContent) -> RulesPart | None:
    """Return what a report says of the rules a run began under."""
    entry = entry_of(content)
    if entry is None:
        return None
    facts = entry.body["facts"]
    return RulesPart(
        policy=facts.get("policy"),
        approval=facts.get("approval"),
        sequence=entry.sequence,
        hash=entry.hash,
        noted=entry.body["time"],
    )


def check_noted(part: RulesPart, content: LedgerContent) -> None:
    """Require the note a report repeats, in its ledger, before any record was read.

    Raises:
        IntegrityError: It is another note, or came too late.
    """
    if part != rules_of(content):
        raise IntegrityError(
            f"entry {part.sequence} of the ledger does not say what the report says of "
            "policy and approval",
            hint="ask the one who signed",
        )
    free = {a.phase for a in content.allowances if isinstance(a.event, NoOpEvent)}
    for entry in content.entries[: part.sequence]:
        if entry.kind == "intent" and entry.body["phase"] not in free:
            raise IntegrityError(
                "policy and approval were noted after records had been read",
                hint="ask the one who signed",
            )
