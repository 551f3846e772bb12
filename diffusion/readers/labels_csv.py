"""labels.csv: which image has which label, where classes are not folders.

    file,label
    scans/0001.png,3
    scans/0002.png,0

The header is required; other columns are allowed, and read only where one is named as
the unit of privacy. `file` is a path inside the folder, `label` a whole number from 0.
Names are refused: to number them one would have to collect the names that occur, which
is a fact about the records.
"""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion.readers.records import refusing
from privplan.errors import DataError

NAME = "labels.csv"


class Table(NamedTuple):
    """The rows of a labels.csv, in order.

    Attributes:
        files: Paths of the images.
        labels: The labels as written; `label_numbers` reads them.
    """

    files: tuple[Path, ...]
    labels: tuple[str, ...]


def read_table(root: Path, *, source: Path) -> Table:
    """Read which files there are, leaving labels as text.

    Args:
        root: The folder with labels.csv.
        source: What the user typed; the only path that messages name.

    Raises:
        DataError: Not a table with both columns, a ragged row, a file named twice,
            missing, or outside the folder.
    """
    what = f"labels.csv in '{source}'"
    found = list(rows(root / NAME, what))
    names = tuple(PurePosixPath(row["file"]) for row in found)
    if len(set(names)) != len(names):
        raise named_twice(what)
    for name in names:
        check_name(name, what)
    files = tuple(root / name for name in names)
    if not all(file.is_file() for file in files):
        raise DataError(
            f"{what} names a file that does not exist",
            hint="write paths as they are spelled in the folder, ending included",
        )
    return Table(files=files, labels=tuple(row["label"] for row in found))


def label_numbers(labels: tuple[str, ...], *, source: Path) -> NDArray[np.int64]:
    """Read labels as whole numbers.

    Raises:
        DataError: A label is something else.

    Example:
        >>> label_numbers(("3", " 0"), source=Path("scans"))
        array([3, 0])
    """
    texts = [label.strip() for label in labels]
    if not all(text.isdecimal() and len(text) < 10 for text in texts):
        raise DataError(
            f"a label in '{source}' is not a whole number of at least 0",
            hint="number the classes 0, 1, 2, ... or use one subfolder per class",
        )
    return np.array([int(text) for text in texts], dtype=np.int64)


def check_name(name: PurePosixPath, what: str) -> None:
    """Refuse a path that leads out of the folder.

    Raises:
        DataError: It does.
    """
    if name.is_absolute() or ".." in name.parts:
        raise DataError(
            f"{what} names a file outside the folder",
            hint="write paths from the folder of labels.csv downwards",
        )


def named_twice(what: str) -> DataError:
    """Return the refusal of a record that is there twice.

    Counted twice, it would weigh twice as much as its noise hides.
    """
    return DataError(f"{what} names a file twice", hint="keep one row per image")


def rows(
    path: Path, what: str, *, needs: tuple[str, ...] = ("file", "label")
) -> Iterator[dict[str, str]]:
    """Yield the rows of a table by the names of its columns.

    Args:
        path: The table.
        what: What it is called in messages.
        needs: Columns that must be there.

    Raises:
        DataError: It is no table, lacks a column, or a row is ragged.
    """
    try:
        with refusing(what), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if not set(needs) <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{what} lacks the column {' or '.join(map(repr, needs))}",
                    hint="let its first line be: file,label",
                )
            for row in reader:
                # csv marks a long row by the key None and fills a short one with None
                if None in row or None in row.values():
                    raise DataError(
                        f"{what} has a row with more or fewer fields than its first "
                        "line",
                        hint="quote fields that contain commas",
                    )
                yield row
    except csv.Error:
        raise DataError(
            f"{what} is not a table of comma-separated values",
            hint="save it as CSV with commas, in UTF-8",
        ) from None
