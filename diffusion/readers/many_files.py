"""A folder of very many image files, in the layouts of `folder`, listed as it is read.

    scans/normal/0001.png            scans/labels.csv     file,label,patient
    scans/pneumonia/0001.png         scans/0001.png

Nothing is kept of a file but where it is, so a million of them take no more memory
than an index does. Only labels.csv can say whose an image is, or hold captions; beside
captions it may leave the column `label` away.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from diffusion.readers import labels_csv
from diffusion.readers.captions import caption_text
from diffusion.readers.decoding import FORMATS
from diffusion.readers.entries import Entry, Where, no_column, unit_text
from diffusion.readers.folder import class_folders, split_root
from diffusion.readers.records import Split, refusing
from privplan.errors import DataError

LARGE = 100_000
"""A folder of more files than this is indexed; fewer are read into memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyFiles:
    """The image files of one split, not listed yet.

    Attributes:
        source: What the user typed; the only path that messages name.
        root: The folder of the split.
        catalogue: The folder whose subfolders number the classes.
    """

    source: Path
    root: Path
    catalogue: Path

    @property
    def watched(self) -> tuple[Path, ...]:
        """Return labels.csv, or the folders of the classes."""
        if self._has_table:
            return (self.root / labels_csv.NAME,)
        own = (self.root, *class_folders(self.root))
        return own if self.catalogue == self.root else (*own, self.catalogue)

    @property
    def classes(self) -> int | None:
        """Return the number of class folders; None where labels.csv tells labels."""
        return None if self._has_table else len(class_folders(self.catalogue))

    def entries(self, unit_column: str | None) -> Iterator[Entry]:
        """Yield the records.

        Raises:
            DataError: A file is no image or cannot be read, a row names none, or no
                column says whose the records are.
        """
        with refusing(f"an image or labels.csv in '{self.source}'"):
            if self._has_table:
                found = self._from_table(unit_column)
            elif unit_column is None:
                found = self._from_folders()
            else:
                raise no_column(unit_column, self.source)
            start = 0
            for name, label, unit in found:
                if Path(name).suffix.lower() not in FORMATS:
                    raise DataError(
                        f"'{self.source}' holds a file that is not an image of a known "
                        "kind",
                        hint="keep only " + ", ".join(sorted(FORMATS)) + " files there",
                    )
                path = os.fsencode(name)
                yield Entry(
                    place=len(path),
                    start=start,
                    label=label,
                    unit=unit,
                    content=(self.root / name).read_bytes(),
                    name=path,
                )
                start += len(path)

    def contents(self, where: Where) -> Iterator[bytes]:
        """Yield the bytes of some records; `place` is the length of a path."""
        with refusing(f"an image in '{self.source}'"):
            for length, start in zip(where.place, where.start, strict=True):
                name = where.names[int(start) : int(start + length)].tobytes()
                yield (self.root / os.fsdecode(name)).read_bytes()

    def captions(self, column: str) -> Iterator[str]:
        """Yield the caption of every record, from labels.csv.

        Raises:
            DataError: There is no such table or column.
        """
        if not self._has_table:
            raise no_column(column, self.source)
        for row in self._rows():
            if column not in row:
                raise no_column(column, self.source)
            yield caption_text(row[column], self.source)

    def _rows(self) -> Iterator[dict[str, str]]:
        what = f"labels.csv in '{self.source}'"
        return labels_csv.rows(self.root / labels_csv.NAME, what, needs=("file",))

    @property
    def _has_table(self) -> bool:
        return (self.root / labels_csv.NAME).exists()

    def _from_folders(self) -> Iterator[tuple[str, str, None]]:
        names = [folder.name for folder in class_folders(self.catalogue)]
        if any(folder.name not in names for folder in class_folders(self.root)):
            raise DataError(
                f"'{self.source}' has a class in test that is not in train",
                hint="name the class folders alike; an empty one is allowed",
            )
        if any(Path(name).suffix.lower() in FORMATS for name in _files(self.root)):
            raise DataError(
                f"'{self.source}' holds images that belong to no class",
                hint="put them into one subfolder per class, or add a labels.csv",
            )
        for number, name in enumerate(names):
            if not (self.root / name).is_dir():
                continue
            for file in _files(self.root / name):
                yield f"{name}/{file}", str(number), None

    def _from_table(
        self, unit_column: str | None
    ) -> Iterator[tuple[str, str | None, str | None]]:
        what = f"labels.csv in '{self.source}'"
        seen: set[PurePosixPath] = set()
        for row in self._rows():
            if unit_column is not None and unit_column not in row:
                raise no_column(unit_column, self.source)
            name = PurePosixPath(row["file"])
            labels_csv.check_name(name, what)
            if name in seen:
                raise labels_csv.named_twice(what)
            seen.add(name)
            unit = None
            if unit_column is not None:
                unit = unit_text(row[unit_column], unit_column, self.source)
            yield str(name), row.get("label"), unit


def _files(folder: Path) -> list[str]:
    """Return the names in a folder, in order, hidden ones left out."""
    with os.scandir(folder) as found:
        return sorted(x.name for x in found if not x.name.startswith("."))


def many_files(source: Path, split: Split) -> ManyFiles:
    """Find the folder of a split.

    Raises:
        DataError: There is no such split.
    """
    root, catalogue = split_root(source, split)
    return ManyFiles(source=source, root=root, catalogue=catalogue)


def is_large(source: Path, split: Split) -> bool:
    """Return whether a folder holds more than `LARGE` files; stops counting there."""
    root = split_root(source, split)[0]
    table = root / labels_csv.NAME
    if table.is_file():
        with table.open("rb") as lines:
            return sum(1 for _ in islice(lines, LARGE + 2)) > LARGE + 1
    counted = 0
    for folder in class_folders(root):
        with os.scandir(folder) as found:
            counted += sum(1 for _ in islice(found, LARGE + 1))
        if counted > LARGE:
            return True
    return False
