"""Which code ran: one digest over the sources of the three houses.

A run is bound to the code that began it. If the sources change in the middle, a
resume must say so, because the ledger's promise is about code that drew the noise.

Edges: reads the installed source files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_HOUSES = ("privplan", "diffusion", "cli")


def source_digest() -> str:
    """Return the SHA-256 over names and contents of all source files, in hex.

    Example:
        >>> len(source_digest())
        64
    """
    root = Path(__file__).parent.parent
    found = hashlib.sha256()
    for house in _HOUSES:
        for path in sorted((root / house).rglob("*.py")):
            name = path.relative_to(root).as_posix().encode()
            content = path.read_bytes()
            found.update(b"%d %s %d\n" % (len(name), name, len(content)))
            found.update(content)
    return found.hexdigest()
