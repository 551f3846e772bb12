"""What an index asks of a form of data: every record once, and later any of them.

    RecordFiles.entries()     every record in order, once, while the index is made
    RecordFiles.contents()    the bytes of chosen records, whenever a batch is drawn
    RecordFiles.captions()    the captions of all records, once, when a run begins

The forms are `tar_shards`, `arrow_shards` and `many_files`. A record says where it lies
in two numbers whose meaning is its form's own. Messages name the source that was typed
and nothing inside it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from privplan.errors import DataError

Kind = Literal["tar", "arrow", "files"]
_IDLE = {".json", ".txt", ".md", ".yaml", ".yml", ".csv"}


class Entry(NamedTuple):
    """One record, read while the index is made.

    Attributes:
        place: Where it lies; for tar and Arrow the number of the shard.
        start: Where it lies there.
        label: As written; None where the data have none.
        unit: Whose it is, as written; None where no column was asked for.
        content: The bytes of its image file.
        name: Its path below the folder, for files of their own; else empty.
    """

    place: int
    start: int
    label: str | None
    unit: str | None
    content: bytes
    name: bytes = b""


class Where(NamedTuple):
    """Where some records lie, increasing.

    Attributes:
        place: As in `Entry`.
        start: As in `Entry`.
        size: Bytes of each.
        names: The paths of all files, one after the other.
    """

    place: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    names: NDArray[np.uint8]


@runtime_checkable
class RecordFiles(Protocol):
    """One data set in a form that can be read record by record."""

    @property
    def watched(self) -> tuple[Path, ...]:
        """Return the files and folders whose change makes an index stale."""
        ...

    @property
    def classes(self) -> int | None:
        """Return the number of classes, where the form tells it."""
        ...

    def entries(self, unit_column: str | None) -> Iterator[Entry]:
        """Yield every record; the column says whose each is."""
        ...

    def contents(self, where: Where) -> Iterator[bytes]:
        """Yield the bytes of some records, in the order asked for."""
        ...

    def captions(self, column: str) -> Iterator[str]:
        """Yield the caption of every record, in the order of `entries`."""
        ...


def find_shards(root: Path, suffixes: set[str], source: Path) -> tuple[Path, ...]:
    """List the shards of a folder, or the one that was named, in order of their names.

    Raises:
        DataError: The folder holds something beside them, which would be passed over.
    """
    if root.is_file():
        return (root,)
    seen = sorted(p for p in root.iterdir() if not p.name.startswith("."))
    shards = tuple(p for p in seen if p.suffix.lower() in suffixes and p.is_file())
    if any(p.suffix.lower() not in _IDLE for p in seen if p not in set(shards)):
        raise DataError(
            f"'{source}' holds something beside its shards",
            hint="keep shards of one form there, and nothing else that holds records",
        )
    return shards


def label_number(text: str, source: Path) -> int:
    """Read a label as a whole number.

    Raises:
        DataError: It is something else.

    Example:
        >>> label_number(" 3", Path("scans"))
        3
    """
    stripped = text.strip()
    if not (stripped.isdecimal() and len(stripped) < 10):
        raise DataError(
            f"a label in '{source}' is not a whole number of at least 0",
            hint="number the classes 0, 1, 2, ...",
        )
    return int(stripped)


def unit_text(value: object, column: str, source: Path) -> str:
    """Return whose a record is, as text; spaces around it do not make it another.

    Raises:
        DataError: The field is missing, empty, or neither text nor a whole number.

    Example:
        >>> unit_text(" p7 ", "patient", Path("scans")), unit_text(7, "p", Path("s"))
        ('p7', '7')
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    text = str(value).strip() if whole or isinstance(value, str) else ""
    if not text:
        raise DataError(
            f"a record in '{source}' has no '{column}'",
            hint="give every record its unit, as text or a whole number",
        )
    return text


def no_labels(source: Path) -> DataError:
    """Return the refusal of data without labels where nothing else is asked for."""
    return DataError(
        f"'{source}' has a record without a label",
        hint="give every record one, in a column label or a .cls; or name captions "
        "with --caption-column",
    )


def no_column(column: str, source: Path) -> DataError:
    """Return the refusal of a data set without the unit's column, or the captions'."""
    return DataError(
        f"'{source}' has no column '{column}'",
        hint="name a column of labels.csv or of the shards, or a field of their .json",
    )
