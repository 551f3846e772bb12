"""Trust: which keys may act as what, since when, until when.

Expired and revoked are two things. What a key signed while it was valid still holds
after it *expired*. A *revoked* key may be in a thief's hands, and a thief writes any
date: from the revocation on nothing it ever signed counts, and neither do the keys it
vouched for, until a root adds them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from privplan import moments
from privplan.keys import PublicKey, Role

FIRST = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Why a key counts no more.

    Attributes:
        start: From when on.
        reason: In the words of whoever revoked it.
    """

    start: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key, and what it may do.

    Attributes:
        public: The key, with the role it is trusted in.
        owner: Whose it is.
        valid_from: It may sign from then on; None means always.
        valid_until: And until then; None means without end.
        vouched_by: Keyid of whoever added it; None for keys chosen by the reader.
        revoked: Since when it counts no more; None if it does.
    """

    public: PublicKey
    owner: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    vouched_by: str | None = None
    revoked: Revocation | None = None

    def valid_at(self, moment: datetime) -> bool:
        """Tell whether a moment lies in the time of this key."""
        after = self.valid_from is None or self.valid_from <= moment
        return after and (self.valid_until is None or moment <= self.valid_until)


@dataclass(slots=True, kw_only=True)
class Trust:
    """Keys and their roles: from a trust file, or chosen by the reader.

    Attributes:
        keys: By keyid.
        links: How many links were followed; 0 if the keys come from no file.
        head: Digest of the last link.
    """

    keys: dict[str, TrustedKey] = field(default_factory=dict)
    links: int = 0
    head: str = FIRST

    @classmethod
    def of(cls, keys: Sequence[PublicKey]) -> Trust:
        """Trust keys in the roles their files name, because the reader chose them."""
        return cls(keys={key.keyid: TrustedKey(public=key) for key in keys})

    def public_keys(self, role: Role | None = None) -> tuple[PublicKey, ...]:
        """Return all keys, or those of a role; valid or not, see `problem`."""
        known = (key.public for key in self.keys.values())
        return tuple(key for key in known if role in {None, key.role})

    def problem(
        self, keyid: str, role: Role, *, written: datetime | None, now: datetime
    ) -> str | None:
        """Say why a signature does not count, or None if it does.

        Args:
            keyid: Whose signature.
            role: What the signer must be.
            written: When the signed document says it was written; believed only as
                far as the time of a key that was never revoked goes.
            now: When this is asked.

        Example:
            >>> Trust().problem("ab" * 32, Role.OFFICER, written=None, now=_DAY)
            'key abababababababab is not among the trusted keys'
        """
        key = self.keys.get(keyid)
        if key is None:
            return f"key {keyid[:16]} is not among the trusted keys"
        if key.public.role is not role:
            return f"key {keyid[:16]} has the role {key.public.role}, not {role}"
        gone = self._revocation(keyid, now)
        if gone is not None:
            return gone
        at = written or now
        if not key.valid_at(at):
            start = _said(key.valid_from, "the beginning")
            end = _said(key.valid_until, "further notice")
            on = moments.text(at)
            return f"key {keyid[:16]} is valid from {start} to {end}, not on {on}"
        return None

    def stands(self, keyid: str) -> bool:
        """Tell whether neither a key nor any that vouched for it was ever revoked."""
        return self._revocation(keyid, _END) is None

    def _revocation(self, keyid: str, now: datetime) -> str | None:
        place: str | None = keyid
        seen: set[str] = set()
        while place is not None and place not in seen:
            seen.add(place)
            key = self.keys[place]
            if key.revoked is not None and key.revoked.start <= now:
                whose = f"key {place[:16]}"
                if place != keyid:
                    whose = f"key {keyid[:16]} was vouched for by {whose}, which"
                since = moments.text(key.revoked.start)
                return f"{whose} was revoked from {since} on: {key.revoked.reason}"
            place = key.vouched_by
        return None


_DAY = moments.parse("2026-01-01")
_END = moments.parse("9999-12-31")


def _said(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else moments.text(moment)
