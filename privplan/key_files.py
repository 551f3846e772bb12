"""Key files on disk: read by their owner alone, and never overwritten.

A key file holds a few hundred bytes. Whatever is larger is something else, and
whatever exists already may be somebody's only copy.

Edges: reads and writes files.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from privplan import canonical
from privplan.errors import DocumentError, PolicyError

_MAX_BYTES = 64 * 1024


def read(path: Path, *, owner_only: bool) -> bytes:
    """Read a key file.

    Args:
        path: The file.
        owner_only: Refuse it if anybody but its owner may read or change it.

    Raises:
        DocumentError: It cannot be read, or is too large for a key file.
        PolicyError: Others may read or change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(
            f"the key file {path} cannot be read: {error.strerror}",
            hint="give the path of a key file made by privplan",
        ) from error
    if len(text) > _MAX_BYTES:
        raise DocumentError(
            f"{path.name} is too large for a key file",
            hint="give the path of a key file made by privplan",
        )
    if owner_only and os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise PolicyError(
            f"others than its owner may read or change the private key {path.name}",
            hint=f"run: chmod 600 {path}",
        )
    return text


def write_new(path: Path, document: canonical.Json, *, mode: int) -> None:
    """Write a key file that does not exist yet, forced to disk.

    Args:
        path: The file.
        document: What it says.
        mode: Who may read it, as for chmod.

    Raises:
        PolicyError: The file exists.
        DocumentError: It cannot be written.
    """
    text = json.dumps(document, indent=2) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise PolicyError(
            f"{path} exists, and a key is never overwritten",
            hint="choose another name, or move the old key away first",
        ) from error
    except OSError as error:
        raise DocumentError(
            f"the key file {path} cannot be written: {error.strerror}",
            hint="give a path in a folder that exists and can be written",
        ) from error
