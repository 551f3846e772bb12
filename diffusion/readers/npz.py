"""NumPy archives: `train_images`, `train_labels`, `test_images`, `test_labels`.

Images are uint8, [N, H, W] or [N, H, W, C] with C 1 or 3; labels are whole numbers,
[N] or [N, 1]. Values are 0..255 by definition, and the range is never read off the
pixels, because the largest pixel of a private set is private. Three optional keys say
what pixels cannot, and are read as public:

    max_value     a number: the value that means white (say 16); others scale to it
    classes       how many classes: a number, or an array with one entry per class
    class_names   an array with one name per class; only its length is used

Without `max_value`, an archive of the scikit-learn digits with values 0..16 looks
almost black; the embedded set, source "digits", is scaled already.

Nothing is unpickled: an archive of objects is refused from its header.
"""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from diffusion.readers.image_set import DataShape
from diffusion.readers.records import (
    Records,
    Split,
    allow_size,
    refusing,
    resized_stack,
)
from privplan.errors import DataError

DEFAULT_CLASSES = 10
WHITE = 255.0


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NpzFile:
    """One split of an archive.

    Attributes:
        source: The archive, as the user typed it.
        split: "train" or "test".
        classes: Number of classes; None takes it from the archive, else 10.
    """

    source: Path
    split: Split
    classes: int | None

    def shape(self) -> DataShape:
        """Read the headers of the arrays, not the arrays.

        Raises:
            DataError: The archive or an array in it is not as this module says.
        """
        with refusing(self._name()), zipfile.ZipFile(self.source) as archive:
            return self._shape(archive)

    def read(self, image_size: int | None) -> Records:
        """Read images and labels; resize to a square of `image_size` where given.

        Raises:
            DataError: As `shape`, or the contents end early or fail their checksum.
        """
        with refusing(self._name()), zipfile.ZipFile(self.source) as archive:
            shape = self._shape(archive)
            pixels = _array(archive, f"{self.split}_images")
            labels = _array(archive, f"{self.split}_labels")
            white = self._max_value(archive)
        stack = pixels.reshape(shape.records, shape.height, shape.width, shape.channels)
        if white != WHITE:
            stack = _scaling(white)[stack]
        return Records(
            pixels=resized_stack(stack, image_size),
            labels=labels.reshape(shape.records).astype(np.int64),
        )

    def _shape(self, archive: zipfile.ZipFile) -> DataShape:
        images = self._required(archive, f"{self.split}_images")
        labels = self._required(archive, f"{self.split}_labels")
        records, height, width, channels = self._image_axes(images)
        if labels.dtype.kind not in "iu":
            raise DataError(
                f"the labels in '{self.source}' are of type {labels.dtype}",
                hint="labels are whole numbers: 0, 1, 2, ...",
            )
        if labels.shape not in ((records,), (records, 1)):
            raise DataError(
                f"the labels in '{self.source}' do not match its images",
                hint="give one label per image, as an array [N] or [N, 1]",
            )
        return DataShape(
            records=records,
            channels=channels,
            height=height,
            width=width,
            classes=self._classes(archive),
        )

    def _image_axes(self, header: _Header) -> tuple[int, int, int, int]:
        if header.dtype != np.uint8:
            raise DataError(
                f"the images in '{self.source}' are of type {header.dtype}, not uint8",
                hint="save pixels as uint8 with values 0..255",
            )
        axes = header.shape if len(header.shape) == 4 else (*header.shape, 1)
        if len(axes) != 4 or axes[3] not in (1, 3):
            raise DataError(
                f"the images in '{self.source}' have the wrong axes",
                hint="save them as [N, H, W], or [N, H, W, C] with C 1 or 3",
            )
        allow_size(self._name(), decoded=math.prod(axes))
        return axes[0], axes[1], axes[2], axes[3]

    def _classes(self, archive: zipfile.ZipFile) -> int:
        if self.classes is not None:
            return self.classes
        names = self._header(archive, "class_names")
        declared = self._header(archive, "classes")
        if declared is not None and declared.shape == ():
            number = float(_array(archive, "classes"))
            if not (1 <= number < math.inf and number == int(number)):
                raise DataError(
                    f"the key 'classes' in '{self.source}' is no number of classes",
                    hint="save a whole number of at least 1, or one name per class",
                )
            return int(number)
        for header in (declared, names):
            if header is not None and len(header.shape) == 1 and header.shape[0]:
                return header.shape[0]
        return DEFAULT_CLASSES

    def _max_value(self, archive: zipfile.ZipFile) -> float:
        header = self._header(archive, "max_value")
        if header is None:
            return WHITE
        scalar = header.shape == () and header.dtype.kind in "iuf"
        value = float(_array(archive, "max_value")) if scalar else math.nan
        if not 0 < value < math.inf:
            raise DataError(
                f"the key 'max_value' in '{self.source}' is not a number above 0",
                hint="save the value that means white, such as 255",
            )
        return value

    def _required(self, archive: zipfile.ZipFile, key: str) -> _Header:
        header = self._header(archive, key)
        if header is None:
            raise DataError(
                f"'{self.source}' has no array '{key}'",
                hint="save train_images and train_labels, and test_ likewise",
            )
        return header

    def _header(self, archive: zipfile.ZipFile, key: str) -> _Header | None:
        name = f"{key}.npy"
        if name not in archive.namelist():
            return None
        what = f"the array '{key}' in '{self.source}'"
        info = archive.getinfo(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{what} is packed in a way that is not read here",
                hint="save the archive with numpy.savez_compressed",
            )
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        stored = min(info.compress_size, self.source.stat().st_size)
        allow_size(what, decoded=info.file_size, stored=stored if deflated else None)
        with archive.open(info) as file:
            header = _npy_header(file)
            length = file.tell()
        if header.dtype.hasobject:
            raise DataError(
                f"{what} holds Python objects", hint="save numbers: uint8 or int64"
            )
        body = math.prod(header.shape) * header.dtype.itemsize
        if info.file_size != length + body or (not deflated and stored < length + body):
            raise DataError(
                f"{what} is longer or shorter than its header says",
                hint="save the archive again",
            )
        return header

    def _name(self) -> str:
        return f"'{self.source}'"


def _npy_header(file: Any) -> _Header:  # noqa: ANN401 - numpy reads any file object
    if npy.read_magic(file) == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(file)
    else:
        shape, _, dtype = npy.read_array_header_2_0(file)
    return _Header(shape=shape, dtype=dtype)


def _array(archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    with archive.open(f"{key}.npy") as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def _scaling(white: float) -> NDArray[np.uint8]:
    """Return the byte for each stored value; what lies above white is white."""
    levels = np.rint(np.arange(256) * (WHITE / white))
    table: NDArray[np.uint8] = np.clip(levels, 0, WHITE).astype(np.uint8)
    return table
