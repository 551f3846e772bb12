"""What the audits share: how far they are, and whom they tell."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told what is going on, how many parts are done, and of how many."""


def silent(what: str, done: int, of: int) -> None:
    """Tell nobody."""
