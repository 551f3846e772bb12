"""An index: where every record lies and what it is, in one file; never a pixel.

    magic | digest of header | header | place start size label unit digest names

It is made once, in one pass that reads and decodes every record, and is mapped into
memory afterwards. It names who belongs together and how many records there are, so it
is as private as the data: only its owner may read it (mode 0600).

It holds for the data it was made of: sizes and times of the shards or folders are
compared when it is opened, and the SHA-256 of each record whenever that record is read.

Edges: writes the index.
"""

import hashlib
import os
import tempfile
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privplan import canonical
from privplan.errors import DataError, PrivplanError

SUFFIX = ".privplan-index"
_MAGIC = b"privplan-index/1\n"
_TYPES = {
    "place": "<i8",
    "start": "<i8",
    "size": "<i8",
    "label": "<i8",
    "unit": "<i8",
    "digest": "|u1",
    "names": "|u1",
}


@dataclass(slots=True, kw_only=True)
class Columns:
    """The records while they are counted up; some hundred bytes for each."""

    place: "array[int]"
    start: "array[int]"
    size: "array[int]"
    label: "array[int]"
    unit: "array[int]"
    digest: bytearray
    names: bytearray


def empty_columns() -> Columns:
    """Return columns without a record."""
    numbers = {name: array("q") for name, kind in _TYPES.items() if kind == "<i8"}
    return Columns(**numbers, digest=bytearray(), names=bytearray())


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Index:
    """An index that was opened.

    Attributes:
        facts: What the header says: form, source, split, mode and size of the images.
        columns: The arrays, mapped; `unit` is empty where no column was asked for.
    """

    facts: Mapping[str, Any]
    columns: Mapping[str, NDArray[Any]]

    def __repr__(self) -> str:
        return "Index(hidden)"

    def __len__(self) -> int:
        """Return how many records there are; private like the rest."""
        return len(self.columns["label"])


def write(path: Path, facts: Mapping[str, Any], columns: Columns) -> None:
    """Write an index, whole or not at all, for its owner's eyes.

    Raises:
        DataError: The folder is missing or not writable.
    """
    sections, parts, offset = {}, [], 0
    for name, kind in _TYPES.items():
        content = np.frombuffer(getattr(columns, name), dtype=kind)
        sections[name] = [
            offset,
            len(content),
            hashlib.sha256(content.data).hexdigest(),
        ]
        parts.append(content)
        offset += content.nbytes
    header = canonical.canonical_bytes({**facts, "sections": sections})
    header += b" " * (-(len(_MAGIC) + 40 + len(header)) % 64)
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(number, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(header).digest())
            file.write(len(header).to_bytes(8, "big") + header)
            for part in parts:
                file.write(part.data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)  # mkstemp made it readable for its owner alone
    except OSError as error:
        raise DataError(
            f"the index cannot be written to '{path}': {error.strerror}",
            hint="give --out a path in a folder that can be written",
        ) from None


def read(path: Path) -> Index:
    """Map an index into memory and check that it is whole.

    Raises:
        DataError: It is damaged, cut short or something else.
    """
    try:
        facts, start = _header(path)
        columns = {
            name: _section(path, start, facts["sections"][name], kind)
            for name, kind in _TYPES.items()
        }
    except (OSError, EOFError, KeyError, TypeError, ValueError, PrivplanError):
        raise DataError(
            f"'{path}' is not a whole index",
            hint="make it again: privplan index DATA --out FILE",
        ) from None
    return Index(facts=facts, columns=columns)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC) + 40)
        digest, length = head[-40:-8], int.from_bytes(head[-8:], "big")
        if not head.startswith(_MAGIC) or length > path.stat().st_size:
            raise EOFError
        text = file.read(length)
        if hashlib.sha256(text).digest() != digest:
            raise EOFError
        return canonical.read_json(text, what="index"), file.tell()


def _section(path: Path, start: int, where: list[Any], kind: str) -> NDArray[Any]:
    offset, length, digest = where
    if length == 0:
        return np.empty(0, dtype=kind)
    found = np.memmap(path, kind, "r", offset=start + offset, shape=(length,))
    if hashlib.sha256(found.data).hexdigest() != digest:
        raise EOFError
    return found
