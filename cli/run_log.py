"""The progress of a run as JSON lines, for machines: one object per line.

    {"event": "ready", "plan": ..., "target_epsilon": ..., "phases": [...]}
    {"event": "begin", "phase": ..., "done": 0, "lost": 0, "steps": 100, "epsilon": ...}
    {"event": "progress", "phase": ..., "done": 1, "steps": 100, "epsilon": ...}
    {"event": "preview", "phase": ..., "done": 40, "file": ...}
    {"event": "end", "finished": true}

A line is due after every hundredth of a phase, which the plan decides and the records
do not. There is no time in it: how long a step took tells the size of its batch, and
that size is private. Epsilon is decimal text, rounded up.

Edges: appends to a file.
"""

from __future__ import annotations

import json
from pathlib import Path

from privplan.errors import DocumentError

LOG_NAME = "progress.jsonl"
_LINES_PER_PHASE = 100


class RunLog:
    """Appends lines to a file that is opened when there is something to say."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **facts: object) -> None:
        """Append one line.

        Raises:
            DocumentError: The file cannot be written.
        """
        line = json.dumps({"event": event, **facts}, allow_nan=False)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise DocumentError(
                f"the log {self._path} cannot be written: {error.strerror}",
                hint="give --log a file in a folder that exists and can be written",
            ) from error


def is_due(*, done: int, steps: int) -> bool:
    """Return whether a line is due after so many steps of a phase.

    Example:
        >>> [done for done in range(1, 251) if is_due(done=done, steps=250)][:4]
        [1, 3, 6, 9]
    """
    every = -(-steps // _LINES_PER_PHASE)
    return done in {1, steps} or done % every == 0
