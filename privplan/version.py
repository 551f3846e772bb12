"""The version of privplan, from the installed package."""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("privplan")
except metadata.PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
