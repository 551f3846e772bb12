"""One process per run: a lock that lives exactly as long as its process.

Fencing makes a second trainer safe: the older one is refused at its next reservation.
It does not make it cheap, because a second `train --resume` typed by mistake would
still end the run that was going well. So whoever writes to a ledger holds a lock beside
it. The kernel drops the lock when the process dies, however it dies, so a crash leaves
nothing to clean up; the file left behind locks nobody out.

A lock can be lost: somebody deletes its file, or the system has no such locks. Then
fencing alone remains, and it is what the count rests on.

Edges: writes an empty file beside the ledger, and removes it.
Source: flock(2).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from privplan.errors import LedgerError, PolicyError

if sys.platform != "win32":
    import fcntl


class RunLock:
    """Held by the one process that may write to a ledger; see `take`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._process = os.getpid()

    def release(self) -> None:
        """Let the next process have the run; twice is once, in a forked copy never."""
        if self._descriptor < 0 or os.getpid() != self._process:
            return
        if _is_at(self._path, self._descriptor):
            with suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def lock_path(ledger: Path) -> Path:
    """Return where the lock of a ledger is.

    Example:
        >>> lock_path(Path("run/ledger.sqlite")).as_posix()
        'run/ledger.sqlite.lock'
    """
    return Path(f"{ledger}.lock")


def take(ledger: Path) -> RunLock:
    """Take the lock of a ledger, at once or not at all.

    Raises:
        PolicyError: Another process holds it: the run is going on there.
        LedgerError: The folder is missing or cannot be written.
    """
    path = lock_path(ledger)
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise LedgerError(
                f"ledger {ledger.name} cannot be locked: {error.strerror}",
                hint="give a ledger in a folder that exists and can be written",
            ) from error
        if not _lock(descriptor):
            os.close(descriptor)
            raise PolicyError(
                f"another process is writing to ledger {ledger.name} at this moment",
                hint="let it finish, or stop it with Ctrl-C; then resume the run",
            )
        if _is_at(path, descriptor):
            return RunLock(path, descriptor)
        os.close(descriptor)  # its last owner removed it just now


def _lock(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Tell whether a path still names the file that is open here."""
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
