"""Files replaced whole or not at all.

A plan, report or checkpoint that is half written is worse than none. So content goes
to a temporary file in the same folder, is forced to disk, and takes the place of the
old file in one step of the file system.

Edges: writes files.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from privplan.errors import DocumentError


def write_text(path: Path, text: str, *, what: str) -> None:
    """Replace a file by new text, whole or not at all.

    Raises:
        DocumentError: The folder is missing or not writable.
    """
    write_bytes(path, text.encode(), what=what)


def write_bytes(path: Path, content: bytes, *, what: str) -> None:
    """Replace a file by new bytes, whole or not at all.

    Raises:
        DocumentError: The folder is missing or not writable.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise DocumentError(
            f"the {what} cannot be written to {path}: {error.strerror}",
            hint="give --out a path in a folder that exists and can be written",
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder and its parents, if they are not there.

    Raises:
        DocumentError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DocumentError(
            f"the folder {path} cannot be made: {error.strerror}",
            hint="give --out a folder that can be written",
        ) from error
