"""Webdataset shards: plain tar files in which files of one stem are one record.

    train-000.tar     0001.png   the image; any ending of `decoding.FORMATS`
                      0001.cls   its label, a whole number as text
                      0001.json  optional: {"patient": "p7", "label": 3}
                      0001.txt   a caption, with --caption-column txt; or a field of
                                 the .json. Then labels may be missing

Files of one record follow one another. Without a .cls the label is the field `label` of
the .json. A packed tar (.tar.gz) is refused, because a record inside it cannot be read
without all that comes before.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.readers.captions import caption_text
from diffusion.readers.decoding import FORMATS
from diffusion.readers.entries import (
    Entry,
    Where,
    find_shards,
    no_column,
    unit_text,
)
from diffusion.readers.records import refusing
from privplan.errors import DataError

SUFFIXES = {".tar"}
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TarShards:
    """Tar files of one split.

    Attributes:
        source: What the user typed; the only path that messages name.
        shards: The files, in the order of the records.
        classes: Never told by this form.
    """

    source: Path
    shards: tuple[Path, ...]
    classes: None = None

    @property
    def watched(self) -> tuple[Path, ...]:
        """Return the shards."""
        return self.shards

    def entries(self, unit_column: str | None) -> Iterator[Entry]:
        """Yield the records of all shards.

        Raises:
            DataError: A shard is damaged, cut short or packed; a record lacks its
                image or unit.
        """
        for place, shard in enumerate(self.shards):
            with self._reading(), tarfile.open(shard, mode="r:") as archive:
                for files in self._samples(archive):
                    yield self._entry(archive, files, place, unit_column)
                self._check_end(shard, archive)

    def contents(self, where: Where) -> Iterator[bytes]:
        """Yield the bytes of some records, opening each shard once."""
        place, file = -1, -1
        try:
            for number, start, size in zip(*where[:3], strict=True):
                if number != place:
                    if file >= 0:
                        os.close(file)
                    file = os.open(self.shards[number], os.O_RDONLY)
                    place = int(number)
                yield os.pread(file, int(size), int(start))
        finally:
            if file >= 0:
                os.close(file)

    def captions(self, column: str) -> Iterator[str]:
        """Yield the caption of every record: a file of that ending, or a field.

        Raises:
            DataError: A shard is damaged, or no record has any.
        """
        there = False
        for shard in self.shards:
            with self._reading(), tarfile.open(shard, mode="r:") as archive:
                for files in self._samples(archive):
                    fields = self._fields(archive, files.get("json"))
                    value = fields.get(column)
                    if column in files:
                        value = self._text(archive, files[column])
                    there = there or value is not None
                    yield caption_text(value, self.source)
        if not there:
            raise no_column(column, self.source)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with refusing(f"a shard of '{self.source}'"):
            try:
                yield
            except tarfile.TarError:
                raise EOFError from None

    def _samples(
        self, archive: tarfile.TarFile
    ) -> Iterator[dict[str, tarfile.TarInfo]]:
        """Yield the files of each record by their endings."""
        stem, files = "", dict[str, tarfile.TarInfo]()
        for member in archive:
            # else a shard's whole list stays in memory
            archive.members.clear()  # type: ignore[attr-defined]
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise self._refused("holds something that is not a plain file")
            folder, _, name = member.name.rpartition("/")
            key, _, ending = name.partition(".")
            if files and f"{folder}/{key}" != stem:
                yield files
                files = {}
            if ending in files:
                raise self._refused("holds two files of one name")
            stem, files[ending.lower()] = f"{folder}/{key}", member
        if files:
            yield files

    def _entry(
        self,
        archive: tarfile.TarFile,
        files: dict[str, tarfile.TarInfo],
        place: int,
        unit_column: str | None,
    ) -> Entry:
        images = [m for ending, m in files.items() if f".{ending}" in FORMATS]
        if len(images) != 1:
            raise self._refused("has a record without an image, or with several")
        fields = self._fields(archive, files.get("json"))
        label = fields.get("label")
        if "cls" in files:
            label = self._text(archive, files["cls"])
        unit = None
        if unit_column is not None:
            unit = unit_text(fields.get(unit_column), unit_column, self.source)
        return Entry(
            place=place,
            start=images[0].offset_data,
            label=None if label is None else str(label),
            unit=unit,
            content=_bytes(archive, images[0]),
        )

    def _fields(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo | None
    ) -> dict[str, Any]:
        found = {} if member is None else json.loads(self._text(archive, member))
        if not isinstance(found, dict):
            raise self._refused("has a .json that is not one object")
        return found

    def _text(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
        return _bytes(archive, member).decode("utf-8")

    def _check_end(self, shard: Path, archive: tarfile.TarFile) -> None:
        """Require the empty block at the end: a cut between two files lacks it."""
        with shard.open("rb") as file:
            file.seek(archive.offset)
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise EOFError

    def _refused(self, problem: str) -> DataError:
        return DataError(
            f"a shard of '{self.source}' {problem}",
            hint="give every record one image and one label: 0001.png and 0001.cls",
        )


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise EOFError
    return content


def tar_shards(root: Path, source: Path) -> TarShards:
    """Find the tar files of a folder, or take the one that was named."""
    return TarShards(source=source, shards=find_shards(root, SUFFIXES, source))
