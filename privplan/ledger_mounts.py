"""Where a ledger may live: on a disk that one machine has to itself.

Two processes on one ledger fence each other off through locks and shared memory. Over
a network file system neither is dependable: two machines could each believe to be the
newest session, and both would count from the same line. So such a place is refused
where it can be recognised, which is on Linux, from the table of mounts.

Edges: reads /proc/mounts.
Source: SQLite documentation, "Write-Ahead Logging": WAL does not work over a network
file system.
"""

from __future__ import annotations

import re
from pathlib import Path

_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "coda",
        "ceph",
        "ceph-fuse",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "pvfs2",
        "orangefs",
        "davfs",
        "sshfs",
        "s3fs",
        "rclone",
        "gcsfuse",
        "goofys",
        "juicefs",
        "moosefs",
        "drive",
    }
)
_MOUNTS = Path("/proc/mounts")


def network_file_system(folder: Path) -> str | None:
    """Name the network file system a folder is on; None if local or not known.

    Args:
        folder: An existing folder; links are followed.
    """
    try:
        table = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    kind = file_system(folder.resolve(), table)
    return kind if kind.removeprefix("fuse.") in _NETWORK else None


def file_system(folder: Path, table: str) -> str:
    r"""Look up the type of the file system that holds a folder.

    Args:
        folder: An absolute path without links.
        table: Lines of "device mountpoint type options ...", later ones on top of
            earlier ones; a space in a path is written as an octal escape.

    Returns:
        The type, or "" if no line fits.

    Example:
        >>> table = "/dev/a / ext4 rw 0 0\nserver:/x /home/my\\040data nfs4 rw 0 0\n"
        >>> file_system(Path("/home/my data/run"), table)
        'nfs4'
        >>> file_system(Path("/home/other"), table)
        'ext4'
    """
    found, depth = "", 0
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", _character, fields[1]))
        if folder.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = fields[2], len(point.parts)
    return found


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))
