"""A folder of images: one subfolder per class, or a labels.csv.

    scans/normal/0001.png            scans/labels.csv
    scans/pneumonia/0001.png         scans/0001.png

Class folders are numbered in the order of their names; an empty one is a class too,
so the number of classes is a choice of the owner and not a fact about the records.
With labels.csv it is declared, else 10. Where a folder `train` holds such a layout,
a folder `test` beside it is the test split, numbered as in `train`.

Whether the set is grey or RGB is read from the header of the first file, and all are
converted to it. Nothing is skipped in silence: a class folder with a file that is no
image is refused, because a record dropped unseen makes the declared n wrong. Files
and folders whose names begin with a dot do not count. EXIF rotation is not applied.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.readers import labels_csv
from diffusion.readers.decoding import FORMATS, mode_of, opened
from diffusion.readers.image_set import DataShape
from diffusion.readers.records import Records, Split, allow_size, refusing, resized
from privplan.errors import DataError

DEFAULT_CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """The files of one split, found but not opened.

    Attributes:
        source: What the user typed; the only path that messages name.
        files: One path per record, in the order of the records.
        labels: One label per record, as text.
        classes: Number of classes.
    """

    source: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    classes: int

    def shape(self) -> DataShape:
        """Read the header of the first file.

        Raises:
            DataError: That file is not an image.
        """
        mode, height, width = self._first()
        return DataShape(
            records=len(self.files),
            channels=len(mode),
            height=height,
            width=width,
            classes=self.classes,
        )

    def read(self, image_size: int | None) -> Records:
        """Decode every file; resize to a square of `image_size` where given.

        Raises:
            DataError: A file is not an image, or the sizes differ and no `image_size`
                was given.
        """
        mode, height, width = self._first()
        if image_size is not None:
            height = width = image_size
        size = (len(self.files), height, width, len(mode))
        allow_size(f"'{self.source}'", decoded=int(np.prod(size, dtype=object)))
        pixels = np.empty(size, dtype=np.uint8)
        for file, target in zip(self.files, pixels, strict=True):
            decoded = self._decode(file, mode, image_size)
            if decoded.shape[:2] != (height, width):
                raise DataError(
                    f"the images in '{self.source}' are not all of one size",
                    hint="resize them on the way in with --image-size, such as 32",
                )
            target[:] = decoded.reshape(target.shape)
        labels = labels_csv.label_numbers(self.labels, source=self.source)
        return Records(pixels=pixels, labels=labels)

    def _first(self) -> tuple[str, int, int]:
        with self._opened(self.files[0]) as image:
            return mode_of(image), image.height, image.width

    def _decode(
        self, file: Path, mode: str, image_size: int | None
    ) -> NDArray[np.uint8]:
        with self._opened(file) as image:
            converted = image.convert(mode)
            if image_size is not None:
                converted = resized(converted, image_size)
            return np.asarray(converted, dtype=np.uint8)

    def _opened(self, file: Path) -> AbstractContextManager[Image.Image]:
        return opened(
            file,
            kinds=(FORMATS[file.suffix.lower()],),
            what=f"an image in '{self.source}'",
        )


def find_images(source: Path, split: Split, classes: int | None) -> ImageFolder:
    """List the images of one split without opening any.

    Args:
        source: The folder.
        split: "train" or "test".
        classes: Number of classes; None counts the class folders, else takes 10.

    Raises:
        DataError: No images, no labels, no such split, or a file that is no image.
    """
    with refusing(f"'{source}'"):
        root, catalogue = split_root(source, split)
        if (root / labels_csv.NAME).exists():
            table = labels_csv.read_table(root, source=source)
            files, labels = table.files, table.labels
            found = DEFAULT_CLASSES
        else:
            names = [folder.name for folder in class_folders(catalogue)]
            files, labels = _fromclass_folders(root, names, source)
            found = len(names)
    if not files:
        raise DataError(
            f"'{source}' holds no images",
            hint="give a folder with one subfolder per class, or with labels.csv",
        )
    if not all(file.suffix.lower() in FORMATS for file in files):
        raise DataError(
            f"'{source}' holds a file that is not an image of a known kind",
            hint="keep only " + ", ".join(sorted(FORMATS)) + " files there",
        )
    return ImageFolder(
        source=source, files=files, labels=labels, classes=classes or found
    )


def split_root(source: Path, split: Split) -> tuple[Path, Path]:
    """Return the folder of the split, and the one that numbers the classes.

    Raises:
        DataError: There is no such split.
    """
    train = source / "train"
    if _is_layout(train):
        root = source / split
        if _is_layout(root):
            return root, train
    elif split == "train":
        return source, source
    raise DataError(
        f"'{source}' has no {split} split",
        hint="make two folders, train and test, and put the images into them",
    )


def _is_layout(folder: Path) -> bool:
    if (folder / labels_csv.NAME).is_file():
        return True
    return folder.is_dir() and bool(class_folders(folder))


def class_folders(folder: Path) -> list[Path]:
    """Return the subfolders that stand for classes, in order of their names."""
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _visible(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def _fromclass_folders(
    root: Path, names: list[str], source: Path
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    if any(entry.suffix.lower() in FORMATS for entry in _visible(root)):
        raise DataError(
            f"'{source}' holds images that belong to no class",
            hint="put them into one subfolder per class, or add a labels.csv",
        )
    if any(folder.name not in names for folder in class_folders(root)):
        raise DataError(
            f"'{source}' has a class in test that is not in train",
            hint="name the class folders alike; an empty one is allowed",
        )
    pairs = [
        (file, str(number))
        for number, name in enumerate(names)
        if (root / name).is_dir()
        for file in _visible(root / name)
    ]
    if not all(file.is_file() for file, _ in pairs):
        raise DataError(
            f"a class folder in '{source}' holds something that is not a file",
            hint="class folders hold images only: no folders, no broken links",
        )
    return tuple(file for file, _ in pairs), tuple(label for _, label in pairs)
