"""Large data: records found through an index and read when a batch is drawn.

    shards, a large folder  --build-->  index  --opened-->  IndexedPixels
                                                             └─ read(indices)

Whatever the number of records, memory holds the index's pages, one label and one unit
number for each record, and the batch. Every record is decoded once while the index is
made, so a damaged one is found before anything is spent; later a record whose SHA-256
has changed is refused.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.readers import index_build, index_file
from diffusion.readers.captions import Captions, captioned
from diffusion.readers.decoding import decoded
from diffusion.readers.entries import RecordFiles, Where, no_column, no_labels
from diffusion.readers.image_set import DataShape
from diffusion.readers.index_file import Index
from diffusion.readers.records import Split, allow_size
from diffusion.readers.units import Units, grouped, kept_records
from privplan import canonical
from privplan.budget import PrivacyUnit
from privplan.errors import DataError

DEFAULT_CLASSES = 10


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class IndexedPixels:
    """The pixels of chosen records of an index; a `PixelStore`.

    Attributes:
        source: What the user typed; the only path that messages name.
        index: Where the records lie.
        files: Reads them.
        kept: Which records of the index are here, increasing.
        shape: (records, channels, height, width).
        image_size: Side to resize to; None keeps the size.
    """

    source: Path
    index: Index
    files: RecordFiles
    kept: NDArray[np.int64]
    shape: tuple[int, int, int, int]
    image_size: int | None

    def __repr__(self) -> str:
        return "IndexedPixels(hidden)"

    def read(self, indices: Tensor) -> Tensor:
        """Read and decode some records; order and repeats are kept.

        Raises:
            DataError: A record is not as it was when the index was made.
        """
        rows, back = np.unique(self.kept[indices.numpy()], return_inverse=True)
        allow = len(rows) * int(np.prod(self.shape[1:], dtype=object))
        if len(rows):
            allow_size(f"a batch of '{self.source}'", decoded=allow)
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for target, content in zip(pixels, self._contents(rows), strict=True):
            target[:] = self._pixels(content)
        return torch.from_numpy(pixels[back])

    def content_digest(self, classes: int) -> str:
        """Return the SHA-256 that a ledger commits to; private.

        Of the shape the images come in, labels, who belongs to whom, and the SHA-256 of
        every record's file, whichever of them a bound per unit lets in.
        """
        columns = self.index.columns
        header = canonical.canonical_bytes(
            {
                "form": "indexed/1",
                "shape": [len(self.index), *self.shape[1:]],
                "classes": classes,
                "unit_column": self.index.facts["unit_column"],
            }
        )
        sha = hashlib.sha256(len(header).to_bytes(8, "big") + header)
        for name in ("digest", "label", "unit"):
            sha.update(columns[name].data)
        return sha.hexdigest()

    def _contents(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        columns = self.index.columns
        where = Where(
            place=columns["place"][rows],
            start=columns["start"][rows],
            size=columns["size"][rows],
            names=columns["names"],
        )
        digests = columns["digest"].reshape(-1, 32)[rows]
        found = self.files.contents(where)
        for digest, content in zip(digests, found, strict=True):
            if hashlib.sha256(content).digest() != digest.tobytes():
                raise index_build.changed(self.source)
            yield content

    def _pixels(self, content: bytes) -> NDArray[np.uint8]:
        return decoded(
            content,
            mode="L" if self.shape[1] == 1 else "RGB",
            image_size=self.image_size,
            what=f"an image in '{self.source}'",
        )


class Loaded(NamedTuple):
    """What an image set is made of, see `image_set.ImageSet`."""

    pixels: IndexedPixels
    labels: Tensor
    classes: int
    units: Units | None
    captions: Captions | None


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class IndexedSet:
    """A source whose index is open and fresh.

    Attributes:
        source: What the user typed; the only path that messages name.
        index: Where the records lie.
        files: Reads them.
        classes: Number of classes that was given; None takes the form's, else 10.
        unit: The column that says whose a record is, and the bound on records.
        column: Of captions; None where records have classes.
    """

    source: Path
    index: Index
    files: RecordFiles
    classes: int | None
    unit: PrivacyUnit | None
    column: str | None = None

    def __repr__(self) -> str:
        return "IndexedSet(hidden)"

    def shape(self, image_size: int | None) -> DataShape:
        """Say what there is: records, or units where a column says whose they are.

        Raises:
            DataError: The sizes differ and no `image_size` was given.
        """
        channels, height, width = self._axes(image_size)
        numbers = self.index.columns["unit"]
        records = len(self.index) if self.unit is None else int(numbers.max()) + 1
        return DataShape(
            records=records,
            channels=channels,
            height=height,
            width=width,
            classes=self._classes(),
        )

    def load(self, image_size: int | None) -> Loaded:
        """Return the set; keeps at most the bound of each unit's records.

        Raises:
            DataError: As `shape`.
        """
        shape, columns = self.shape(image_size), self.index.columns
        kept, units = np.arange(len(self.index)), None
        if self.unit is not None:
            kept = kept_records(
                columns["unit"],
                columns["digest"].reshape(-1, 32),
                columns["label"],
                max_records=self.unit.max_records,
            )
            units = grouped(
                columns["unit"][kept],
                column=self.unit.name,
                max_records=self.unit.max_records,
            )
        pixels = IndexedPixels(
            source=self.source,
            index=self.index,
            files=self.files,
            kept=kept,
            shape=(len(kept), shape.channels, shape.height, shape.width),
            image_size=image_size,
        )
        labels, captions = self._labels()
        return Loaded(pixels, labels[kept], shape.classes, units, captions)

    def _labels(self) -> tuple[Tensor, Captions | None]:
        """Return what each record of the index is shown with."""
        if self.column is None:
            known = self.index.columns["label"].astype(np.int64)
            return torch.from_numpy(known), None
        labels, captions = captioned(
            self.files.captions(self.column), column=self.column
        )
        if len(labels) != len(self.index):
            raise index_build.changed(self.source)
        return labels, captions

    def check_captions(self) -> None:
        """Read the captions once, if any are asked for, so that a plan can be made.

        Raises:
            DataError: There is no such column, or it holds no text.
        """
        if self.column is not None:
            self._labels()

    def _classes(self) -> int:
        if self.column is not None:
            return 1
        return self.classes or self.index.facts["classes"] or DEFAULT_CLASSES

    def _axes(self, image_size: int | None) -> tuple[int, int, int]:
        facts = self.index.facts
        if image_size is None and not facts["uniform"]:
            raise DataError(
                f"the images in '{self.source}' are not all of one size",
                hint="resize them on the way in with --image-size, such as 32",
            )
        height, width = facts["size"] if image_size is None else (image_size,) * 2
        return len(facts["mode"]), height, width


def open_indexed(
    source: Path,
    split: Split,
    *,
    classes: int | None,
    unit: PrivacyUnit | None,
    captions: str | None = None,
) -> IndexedSet | None:
    """Open large data through their index; make it where there is none yet.

    Args:
        source: Shards, a folder, or an index file.
        split: "train" or "test".
        classes: Number of classes; None takes what the form tells, else 10.
        unit: Whose presence is protected; None if every record stands for itself.
        captions: The column of captions; None where records have classes.

    Returns:
        None if the source is none of them: a small folder, say.

    Raises:
        DataError: The data are damaged, changed since the index was made, or lack the
            column of the unit.
    """
    column = None if unit is None else unit.name
    if source.suffix == index_file.SUFFIX:
        place = source
    else:
        named = unit is not None or captions is not None
        kind = index_build.kind_of(source, split, by_column=named)
        if kind is None:
            return None
        place = index_build.place_of(source, split, column)
        if not place.exists():
            index_build.build(source, kind, split, column, place)
    index = index_file.read(place)
    data = Path(index.facts["source"])
    if index.facts["split"] != split:
        raise DataError(
            f"the index '{source}' is of the {index.facts['split']} split",
            hint=f"make one of the {split} split, or name the data themselves",
        )
    if column is not None and index.facts["unit_column"] != column:
        raise no_column(column, source)
    if not data.exists():
        raise DataError(
            f"the data of the index '{source}' are no longer where they were",
            hint="put them back, or make the index again",
        )
    files = index_build.record_files(index.facts["kind"], data, split)
    index_build.check_fresh(index, files, source)
    if captions is None and not index.facts.get("labelled", True):
        raise no_labels(source)
    return IndexedSet(
        source=source,
        index=index,
        files=files,
        classes=classes,
        unit=unit,
        column=captions,
    )
