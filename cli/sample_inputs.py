"""What `privplan sample` is told, turned into what sampling takes."""

from __future__ import annotations

from privplan.errors import ParameterError


def labels_of(text: str | None, *, classes: int) -> tuple[int, ...] | None:
    """Read `--labels`: whole numbers with commas between them.

    Args:
        text: As typed; None for every class.
        classes: How many there are; labels are below it.

    Raises:
        ParameterError: Something in it is no label of this plan.

    Example:
        >>> labels_of("3,3,7", classes=10)
        (3, 3, 7)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        whole = part.isascii() and part.isdecimal() and len(part) < 9
        if not whole or int(part) >= classes:
            raise ParameterError(
                f"--labels has '{part[:40]}', which is no class of this plan",
                hint=f"give whole numbers from 0 to {classes - 1}, as in --labels "
                f"0,{classes - 1}; labels take turns",
            )
    return tuple(int(part) for part in parts)
