"""Weights that others wrote, as safetensors: in one file, or in several with an index.

    NAME.safetensors                     one file
    NAME.safetensors.index.json          which tensor is in which of
    NAME-00001-of-00002.safetensors      these files, beside the index

The digest of one file is its SHA-256. That of several is the SHA-256 of the lines that
`sha256sum` writes of them, in the order of their names:

    LC_ALL=C sha256sum NAME-* NAME.safetensors.index.json | sha256sum

Only safetensors are read: other formats run code when they are opened. An index may
name files beside itself and nothing else.

Edges: reads files.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from privplan import canonical
from privplan.errors import DataError

PLAN_FACT: Final = "plan_sha256"
_DIGEST = re.compile("[0-9a-f]{64}")
_SUFFIX: Final = ".safetensors"
_SAVE_AGAIN: Final = (
    "save it again as safetensors: save_pretrained(folder, safe_serialization=True)"
)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that hold the weights called `path`, an index among them.

    Args:
        path: As they are called when they are in one file.

    Raises:
        DataError: There are none, or both one file and an index, or the index is
            damaged or names a file that is not beside it.
    """
    index = _index_of(path)
    if not index.is_file():
        return (path,)
    if path.is_file():
        raise DataError(
            f"{path.parent} holds both {path.name} and {index.name}",
            hint="remove the one that is out of date",
        )
    names = sorted({*_weight_map(index).values(), index.name})
    return tuple(index.parent / name for name in names)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read weights as float32, from one file or from several.

    Raises:
        DataError: They are missing or damaged, or files and index do not agree.
    """
    index = _index_of(path)
    if files_of(path) == (path,):
        return _of_one(path)
    listed = _weight_map(index)
    found: dict[str, Tensor] = {}
    for name in sorted(set(listed.values())):
        own = _of_one(index.parent / name)
        if own.keys() != {tensor for tensor, file in listed.items() if file == name}:
            raise DataError(
                f"{index.parent / name} does not hold the tensors that {index.name} "
                "says are in it",
                hint=_SAVE_AGAIN,
            )
        found |= own
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of weights; see the module docstring.

    Raises:
        DataError: They are missing, or their index is damaged.
    """
    files = files_of(path)
    try:
        return canonical.file_digest(path) if files == (path,) else joint_digest(files)
    except OSError as error:
        raise _unread(path) from error


def plan_of(path: Path) -> str | None:
    """Return the digest of the plan that weights were trained under; None if unknown.

    Exports of privplan carry it in their metadata, and other programs may drop it.

    Raises:
        DataError: They are missing or damaged.
    """
    for one in files_of(path):
        if one.suffix != _SUFFIX:
            continue
        try:
            with safe_open(one, framework="pt") as file:
                found = str((file.metadata() or {}).get(PLAN_FACT))
        except (OSError, SafetensorError) as error:
            raise _unread(one) from error
        if _DIGEST.fullmatch(found):
            return found
    return None


def joint_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of what `sha256sum` prints of files, in order of their names.

    Raises:
        OSError: A file cannot be read.
    """
    ordered = sorted(files, key=lambda path: path.name)
    lines = [f"{canonical.file_digest(path)}  {path.name}\n" for path in ordered]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _index_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.index.json")


def _weight_map(index: Path) -> dict[str, str]:
    """Read which tensor is in which file; every file is one beside the index."""
    try:
        found: Any = json.loads(index.read_bytes())["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{index} is no index of weights", hint=_SAVE_AGAIN) from error
    if not isinstance(found, dict) or not found:
        raise DataError(f"{index} names no weights", hint=_SAVE_AGAIN)
    for name in found.values():
        if not isinstance(name, str) or not _is_beside(name):
            raise DataError(
                f"{index} names the file '{str(name)[:60]}', and may name only "
                "safetensors files beside itself",
                hint=_SAVE_AGAIN,
            )
    return found


def _is_beside(name: str) -> bool:
    """Return whether a name stays in its folder, on every operating system."""
    return name.endswith(_SUFFIX) and not any(sign in name for sign in "/\\:\0")


def _of_one(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError) as error:
        raise _unread(path) from error


def _unread(path: Path) -> DataError:
    pickled = path.with_suffix(".bin")
    if not path.exists() and pickled.exists():
        return DataError(
            f"{pickled} is a pickle, which runs code when it is opened",
            hint=_SAVE_AGAIN,
        )
    return DataError(f"{path} is missing or damaged", hint=_SAVE_AGAIN)
