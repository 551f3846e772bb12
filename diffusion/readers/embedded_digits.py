"""The digits that come with scikit-learn: 8x8, grey, ten classes, no download.

The first 1437 images are `train`, the last 360 `test`. The file holds values 0..16;
they are spread over 0..255 here, so that a black pixel is -1 and a white one 1.

Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", in
the copy that scikit-learn ships.
"""

from dataclasses import dataclass

import numpy as np

from diffusion.readers.image_set import DataShape
from diffusion.readers.records import Records, Split, resized_stack
from privplan.errors import DataError

CLASSES = 10
TRAIN_RECORDS = 1437
_RECORDS = 1797
_SIZE = 8
_MAX_VALUE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedDigits:
    """One split of the embedded digits.

    Attributes:
        split: "train" or "test".
        classes: Number of classes declared; 10 unless the user says otherwise.
    """

    split: Split
    classes: int

    def shape(self) -> DataShape:
        """Say what is known beforehand.

        Example:
            >>> EmbeddedDigits(split="test", classes=10).shape().records
            360
        """
        train = self.split == "train"
        return DataShape(
            records=TRAIN_RECORDS if train else _RECORDS - TRAIN_RECORDS,
            channels=1,
            height=_SIZE,
            width=_SIZE,
            classes=self.classes,
        )

    def read(self, image_size: int | None) -> Records:
        """Load the images; resize to a square of `image_size` where given.

        Raises:
            DataError: The installed scikit-learn ships another set.
        """
        # imported on use: scikit-learn is slow to load and most data are elsewhere
        from sklearn.datasets import load_digits  # noqa: PLC0415

        digits = load_digits()
        if digits.images.shape != (_RECORDS, _SIZE, _SIZE):
            raise DataError(
                "the digits shipped with the installed scikit-learn have changed",
                hint="install the version of scikit-learn that constraints.txt names",
            )
        train = self.split == "train"
        rows = slice(None, TRAIN_RECORDS) if train else slice(TRAIN_RECORDS, None)
        scaled = np.rint(digits.images[rows] * (255 / _MAX_VALUE)).astype(np.uint8)
        return Records(
            pixels=resized_stack(scaled[..., None], image_size),
            labels=digits.target[rows].astype(np.int64),
        )
