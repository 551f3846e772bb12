"""Making an index: one pass over all records, each read and decoded once.

What the pass refuses, it refuses before anything is planned or spent: a shard cut
short, a record without image, label or unit, an image that cannot be decoded.
"""

import hashlib
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from diffusion.readers import arrow_shards, index_file, many_files, tar_shards
from diffusion.readers.decoding import KINDS, decoded, mode_of, opened
from diffusion.readers.entries import Entry, Kind, RecordFiles, label_number
from diffusion.readers.index_file import Index
from diffusion.readers.records import Split, refusing
from privplan import canonical
from privplan.errors import DataError

NO_LABEL = -1


def kind_of(source: Path, split: Split, *, by_column: bool) -> Kind | None:
    """Say in which form of large data a source is; None if it is no large data.

    Args:
        source: A file or folder.
        split: "train" or "test".
        by_column: Whether a column says whose the records are, or holds their
            captions; then a folder of any size is indexed.
    """
    root = _root(source, split)
    seen = [root] if root.is_file() else list(_some(root))
    endings = {path.suffix.lower() for path in seen}
    if endings & tar_shards.SUFFIXES:
        return "tar"
    if endings & arrow_shards.SUFFIXES:
        return "arrow"
    if source.is_dir() and (by_column or many_files.is_large(source, split)):
        return "files"
    return None


def record_files(kind: Kind, source: Path, split: Split) -> RecordFiles:
    """Return what reads the records of a source.

    Raises:
        DataError: It holds something else beside.
    """
    if kind == "files":
        return many_files.many_files(source, split)
    if source.is_file() and split == "test":
        raise DataError(
            f"'{source}' has no test split",
            hint="make two folders, train and test, and put the shards into them",
        )
    root = _root(source, split)
    if kind == "tar":
        return tar_shards.tar_shards(root, source)
    return arrow_shards.arrow_shards(root, source)


def make(source: str, split: Split, column: str | None, out: Path | None) -> Path:
    """Make the index of a source anew, replacing one that is there.

    Args:
        source: What the user typed.
        split: "train" or "test".
        column: As in `build`.
        out: Where the index goes; None takes `place_of`.

    Returns:
        Where it is.

    Raises:
        DataError: The source is missing or in no form that is indexed, or as `build`.
    """
    path = Path(source)
    with refusing(f"'{source}'"):
        path.stat()
        kind = kind_of(path, split, by_column=True)
        if kind is None:
            raise DataError(
                f"'{source}' is not in a form that is indexed",
                hint="give tar or Arrow shards, a folder of them, or one of images",
            )
        place = place_of(path, split, column) if out is None else out
        if path.is_dir() and place.resolve().is_relative_to(path.resolve()):
            raise DataError(
                f"the index '{place}' would lie among the data",
                hint="give --out a path outside them: a new file makes an index stale",
            )
        build(path, kind, split, column, place)
    return place


def build(source: Path, kind: Kind, split: Split, unit: str | None, out: Path) -> None:
    """Read every record once and write the index.

    Args:
        source: The data.
        kind: Their form.
        split: "train" or "test".
        unit: The column that says whose a record is; None if each stands for itself.
        out: Where the index goes.

    Raises:
        DataError: The data are damaged or empty, or the index cannot be written.
    """
    files = record_files(kind, source, split)
    what = f"an image in '{source}'"
    before = _stamps(files)
    columns, numbers = index_file.empty_columns(), dict[str, int]()
    first: tuple[str, int, int] | None = None
    uniform = True
    for entry in files.entries(unit):
        if first is None:
            first = _first(entry, what)
        pixels = decoded(entry.content, mode=first[0], image_size=None, what=what)
        uniform = uniform and pixels.shape[1:] == first[1:]
        _add(columns, entry, numbers, source)
    if first is None:
        raise DataError(f"'{source}' holds no images", hint="give data with images")
    if _stamps(files) != before:
        raise changed(source)
    facts = {
        "kind": kind,
        "source": str(source.resolve()),
        "split": split,
        "unit_column": unit,
        "mode": first[0],
        "size": [*first[1:]],
        "uniform": uniform,
        "classes": files.classes,
        "labelled": NO_LABEL not in columns.label,
        "watched": before,
    }
    index_file.write(out, facts, columns)


def check_fresh(index: Index, files: RecordFiles, source: Path) -> None:
    """Refuse an index whose data were changed since.

    Raises:
        DataError: A shard, a folder or labels.csv has another size or time.
    """
    if index.facts["watched"] != _stamps(files):
        raise changed(source)


def _add(
    columns: index_file.Columns, entry: Entry, units: dict[str, int], source: Path
) -> None:
    columns.place.append(entry.place)
    columns.start.append(entry.start)
    columns.size.append(len(entry.content))
    label = NO_LABEL if entry.label is None else label_number(entry.label, source)
    columns.label.append(label)
    columns.digest += hashlib.sha256(entry.content).digest()
    columns.names += entry.name
    if entry.unit is not None:
        columns.unit.append(units.setdefault(entry.unit, len(units)))


def _first(entry: Entry, what: str) -> tuple[str, int, int]:
    with opened(BytesIO(entry.content), kinds=KINDS, what=what) as image:
        return mode_of(image), image.height, image.width


def place_of(source: Path, split: Split, column: str | None) -> Path:
    """Return where the index of a source is kept: beside it, else in the user's cache.

    Each split, and each column that says whose a record is, has an index of its own.
    """
    chosen = hashlib.sha256(canonical.canonical_bytes([split, column])).hexdigest()[:8]
    whole = source.resolve()
    beside = whole.parent / f".{whole.name}.{chosen}{index_file.SUFFIX}"
    if beside.exists() or os.access(whole.parent, os.W_OK):
        return beside
    cache = user_cache_path("privplan") / "indexes"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    named = hashlib.sha256(os.fsencode(beside)).hexdigest()
    return cache / f"{named}{index_file.SUFFIX}"


def _stamps(files: RecordFiles) -> list[Any]:
    """Return name, size and time of what must not change; times as text, for JSON."""
    found = [(path.name, path.stat(), path.is_file()) for path in files.watched]
    return [
        [name, stat.st_size if plain else 0, str(stat.st_mtime_ns)]
        for name, stat, plain in found
    ]


def _root(source: Path, split: Split) -> Path:
    if source.is_dir() and (source / "train").is_dir():
        return source / split if (source / split).is_dir() else source
    return source


def _some(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        if not path.name.startswith(".") and not path.is_dir():
            yield path


def changed(source: Path) -> DataError:
    """Return the refusal of data that are not those of their index."""
    return DataError(
        f"'{source}' is not as it was when its index was made",
        hint="make the index again with privplan index, and plan for these data anew",
    )
