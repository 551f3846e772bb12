"""Arrow and Parquet shards: a column of image files, one of labels, one of units.

    image     bytes of an image file; or a struct with a field `bytes`
    label     whole numbers
    patient   whatever --unit-column names: text or whole numbers
    text      whatever --caption-column names; then labels may be missing

`img` and `png`, `cls` and `labels` are taken too. Arrow files, .arrow or .feather, are
mapped and read row by row. A row of a Parquet file costs its whole row group, so write
row groups of some hundred rows, or convert to Arrow.

pyarrow is an extra: `pip install privplan[arrow]`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.readers.captions import caption_text
from diffusion.readers.entries import (
    Entry,
    Where,
    find_shards,
    no_column,
    unit_text,
)
from diffusion.readers.records import refusing
from privplan.errors import DataError

SUFFIXES = {".arrow", ".feather", ".parquet"}
_IMAGES = ("image", "img", "png", "jpg", "jpeg", "bytes")
_LABELS = ("label", "labels", "cls", "class")
_OPEN_SHARDS = 16
_ROWS = 2**32
"""Where a row lies is one number: its group times this, plus its row in the group."""


@dataclass(slots=True)
class _Shard:
    """One file, open."""

    names: list[str]
    groups: int
    file: Any
    batches: list[Any] | None
    kept: tuple[int, Any] = (-1, None)

    def group(self, number: int) -> Any:  # noqa: ANN401 - a pyarrow table or batch
        """Return the rows of a group; the last one asked for is kept."""
        if self.batches is not None:
            return self.batches[number]
        if self.kept[0] != number:
            self.kept = (number, self.file.read_row_group(number))
        return self.kept[1]

    def column(self, number: int, name: str) -> Any:  # noqa: ANN401 - pyarrow's
        """Return one column of a group, leaving the others where they are."""
        if self.batches is not None:
            return self.batches[number].column(name)
        return self.file.read_row_group(number, columns=[name]).column(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrowShards:
    """Arrow or Parquet files of one split.

    Attributes:
        source: What the user typed; the only path that messages name.
        shards: The files, in the order of the records.
        classes: Never told by this form.
    """

    source: Path
    shards: tuple[Path, ...]
    classes: None = None
    _open: dict[int, _Shard] = field(default_factory=dict, repr=False)

    @property
    def watched(self) -> tuple[Path, ...]:
        """Return the shards."""
        return self.shards

    def entries(self, unit_column: str | None) -> Iterator[Entry]:
        """Yield the records of all shards.

        Raises:
            DataError: A shard is damaged or lacks a column, a field is empty, or
                pyarrow is not installed.
        """
        for place in range(len(self.shards)):
            with self._reading():
                shard = self._shard(place)
                image = self._column(shard, _IMAGES)
                label = next((name for name in _LABELS if name in shard.names), None)
                if unit_column is not None and unit_column not in shard.names:
                    raise no_column(unit_column, self.source)
                for number in range(shard.groups):
                    group = shard.group(number)
                    for row in range(group.num_rows):
                        unit = None
                        if unit_column is not None:
                            value = group.column(unit_column)[row].as_py()
                            unit = unit_text(value, unit_column, self.source)
                        yield Entry(
                            place=place,
                            start=number * _ROWS + row,
                            label=None
                            if label is None
                            else str(group.column(label)[row].as_py()),
                            unit=unit,
                            content=self._content(group.column(image)[row].as_py()),
                        )

    def contents(self, where: Where) -> Iterator[bytes]:
        """Yield the bytes of some records, reading each group once."""
        keys = np.stack([where.place, where.start // _ROWS], axis=1)
        ends = np.flatnonzero(np.any(np.diff(keys, axis=0) != 0, axis=1)) + 1
        for rows in np.split(np.arange(len(keys)), ends):
            if not len(rows):
                continue
            with self._reading():
                shard = self._shard(int(keys[rows[0], 0]))
                group = shard.group(int(keys[rows[0], 1]))
                column = group.column(self._column(shard, _IMAGES))
                inside = (where.start[rows] % _ROWS).tolist()
                found = [self._content(column[row].as_py()) for row in inside]
            yield from found

    def captions(self, column: str) -> Iterator[str]:
        """Yield the caption of every record; of Parquet, reads that column alone.

        Raises:
            DataError: A shard is damaged, or has no such column of text.
        """
        for place in range(len(self.shards)):
            with self._reading():
                shard = self._shard(place)
                if column not in shard.names:
                    raise no_column(column, self.source)
                for number in range(shard.groups):
                    for value in shard.column(number, column).to_pylist():
                        yield caption_text(value, self.source)

    def _shard(self, place: int) -> _Shard:
        if place not in self._open:
            if len(self._open) >= _OPEN_SHARDS:
                self._open.pop(next(iter(self._open)))
            self._open[place] = _opened(self.shards[place])
        return self._open[place]

    def _column(self, shard: _Shard, names: tuple[str, ...]) -> str:
        for name in names:
            if name in shard.names:
                return name
        raise DataError(
            f"a shard of '{self.source}' has no column '{names[0]}'",
            hint="name the columns image and label",
        )

    def _content(self, value: object) -> bytes:
        found = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(found, bytes):
            raise DataError(
                f"a record in '{self.source}' has no image",
                hint="let the column hold the bytes of image files",
            )
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with refusing(f"a shard of '{self.source}'"):
            try:
                yield
            except ImportError:
                raise _missing() from None
            except (TypeError, KeyError, IndexError):
                raise EOFError from None


def _opened(path: Path) -> _Shard:
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import ipc, parquet  # noqa: PLC0415

    if path.suffix.lower() == ".parquet":
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        return _Shard(names, file.metadata.num_row_groups, file, None)
    mapped = pa.memory_map(str(path))
    try:
        reader = ipc.open_file(mapped)
        batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
    except pa.ArrowInvalid:
        mapped.seek(0)
        reader = ipc.open_stream(mapped)
        batches = list(reader)
    return _Shard(list(reader.schema.names), len(batches), mapped, batches)


def _missing() -> DataError:
    return DataError(
        "Arrow and Parquet files need pyarrow, which is not installed",
        hint="install it with: pip install privplan[arrow]",
    )


def arrow_shards(root: Path, source: Path) -> ArrowShards:
    """Find the Arrow or Parquet files of a folder, or take the one that was named."""
    return ArrowShards(source=source, shards=find_shards(root, SUFFIXES, source))
