"""Captions of records: the distinct texts, and as labels which record has which.

    label   0          some caption, where no record is near: preflight, timing
            1          no caption: what label dropout and guidance show
            2 and up   the first text of the set, the second, ...

So inside a network a label picks a row of a table of encodings, and rows of records,
engines and clipping stay what they are for classes. Captions are as private as images,
and so is how many distinct ones there are: nothing here shows one.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from privplan.borrowed import PUBLIC_TEXTS
from privplan.errors import DataError

SOME, NONE, FIRST = 0, 1, PUBLIC_TEXTS


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Captions:
    """The captions of a set.

    Attributes:
        column: Where they come from; public, a plan names it.
        texts: The distinct ones, in the order they first occur.
        digest: SHA-256 over the caption of every record, in order; private.
    """

    column: str
    texts: tuple[str, ...]
    digest: str

    def __repr__(self) -> str:
        return "Captions(hidden)"


def captioned(
    found: Iterable[str], *, column: str = "caption"
) -> tuple[Int64[Tensor, " records"], Captions]:
    """Number the captions of records.

    Args:
        found: One for each record.
        column: What a plan calls them.

    Returns:
        The records' labels, and the captions.

    Example:
        >>> labels, captions = captioned(["dark", "bright", "dark"])
        >>> labels.tolist(), captions
        ([2, 3, 2], Captions(hidden))
    """
    numbers: dict[str, int] = {}
    labels, sha = [], hashlib.sha256()
    for text in found:
        labels.append(FIRST + numbers.setdefault(text, len(numbers)))
        content = text.encode()
        sha.update(len(content).to_bytes(8, "big") + content)
    captions = Captions(column=column, texts=tuple(numbers), digest=sha.hexdigest())
    return torch.tensor(labels, dtype=torch.int64), captions


def caption_text(value: object, source: object) -> str:
    """Return a caption as text; a record without one has the empty caption.

    Args:
        value: What the column holds.
        source: What the user typed.

    Raises:
        DataError: The column holds something else.

    Example:
        >>> caption_text(None, "scans"), caption_text(" dark ", "scans")
        ('', 'dark')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"the captions of '{source}' are not text",
            hint="name a column that holds one text for each record",
        )
    return value.encode("utf-8", "replace").decode().strip()


def check_labels(labels: Tensor, captions: Captions, classes: int) -> None:
    """Require that labels pick captions.

    Raises:
        DataError: One picks none, or there are classes beside.
    """
    inside = (labels >= FIRST) & (labels < FIRST + len(captions.texts))
    if classes != 1 or not bool(inside.all()):
        raise DataError(
            "the labels do not pick captions",
            hint="take both from diffusion.readers.captions.captioned, and 1 class",
        )
