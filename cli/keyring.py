"""Where the signing key is, and how its passphrase gets in.

A passphrase comes from a prompt on a terminal or from a file, never from an argument
or the environment, where other programs could read it.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from privplan import files, keys
from privplan.errors import DocumentError
from privplan.keys import SigningKey

PassphraseFile = Annotated[
    Path | None, typer.Option(help="File whose first line is the passphrase.")
]


def default_key() -> Path:
    """Return where the user's trainer key lives."""
    return Path(platformdirs.user_data_dir("privplan")) / "keys" / "trainer.key"


def choose(passphrase_file: Path | None) -> str | None:
    """Get the passphrase of a new key; None leaves the key unencrypted.

    Raises:
        DocumentError: The file cannot be read.
    """
    if passphrase_file is not None:
        return _first_line(passphrase_file)
    if sys.stdin.isatty():
        first = getpass.getpass("passphrase for the new key (empty for none): ")
        if first:
            if getpass.getpass("again: ") == first:
                return first
            raise DocumentError(
                "the two passphrases differ", hint="run the command again"
            )
    return None


def load(path: Path, passphrase_file: Path | None) -> SigningKey:
    """Load a signing key, asking for its passphrase where it has one.

    Raises:
        PrivplanError: It is missing, damaged, readable by others, or still locked.
    """
    if not path.exists():
        raise DocumentError(
            f"there is no signing key at {path}",
            hint="make one with privplan keys new, or give --key",
        )
    if path.suffix == ".pub":
        raise DocumentError(
            f"{path} is a public key, and signing needs the private one",
            hint=f"give --key {path.with_suffix('.key')}",
        )
    if not keys.needs_passphrase(path):
        return keys.load_key(path)
    if passphrase_file is not None:
        return keys.load_key(path, passphrase=_first_line(passphrase_file))
    if not sys.stdin.isatty():
        raise DocumentError(
            f"the key {path} is encrypted and there is no terminal to ask on",
            hint="give --passphrase-file",
        )
    return keys.load_key(path, passphrase=getpass.getpass(f"passphrase of {path}: "))


def make_folder(path: Path) -> None:
    """Make the folder of a new key.

    Raises:
        DocumentError: It cannot be made.
    """
    files.make_folder(path.parent)


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise DocumentError(
            f"the passphrase file {path} cannot be read",
            hint="put the passphrase on its first line",
        ) from error
