"""The network as a person types it: `--network width=16,levels=1+2+2,attention=7`.

    width=W            feature channels at full size; a multiple of 8
    levels=M+M+...     channels of each level over W; each after the first halves the
                       image
    blocks=B           residual blocks per level
    attention=S+S+...  longer sides at which a level uses attention; none: attention=0
    patch=P            squares of P x P pixels become one position; a divisor of the
                       sides, 1 for every pixel its own

What is not named comes from the recipe for this size of image.
"""

from __future__ import annotations

from dataclasses import dataclass

from privplan.errors import ParameterError
from privplan.recipes import Recipe

_EXAMPLE = "write it like --network width=16,levels=1+2+2,blocks=1,attention=7"
_KEYS = ("width", "levels", "blocks", "attention", "patch")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWishes:
    """What a user pinned of the network; None means by recipe.

    Attributes:
        base_width: Feature channels at full size.
        width_multipliers: Channels of each level, in units of it.
        blocks: Residual blocks per level.
        attention_resolutions: Longer sides at which a level uses attention.
        patch: Side of the squares of pixels that become one position.
    """

    base_width: int | None = None
    width_multipliers: tuple[int, ...] | None = None
    blocks: int | None = None
    attention_resolutions: tuple[int, ...] | None = None
    patch: int | None = None

    def over(self, settings: Recipe, *, height: int, width: int) -> NetworkWishes:
        """Fill in what is not pinned by recipe.

        Args:
            settings: The recipe.
            height: Rows of the images, in pixels.
            width: Columns, in pixels.

        Raises:
            ParameterError: No level has a side at which attention is asked for, or
                the patches do not tile the images.
        """
        multipliers = self.width_multipliers or settings.width_multipliers
        patch = self.patch or settings.patch
        if height % patch or width % patch:
            raise ParameterError(
                f"--network has patches of {patch}, which do not tile {height} x "
                f"{width} pixels",
                hint="give a patch that divides both sides, such as patch=1",
            )
        attention = self.attention_resolutions
        if attention is None:
            attention = settings.attention_resolutions
        else:
            _check_sides(attention, max(height, width) // patch, len(multipliers))
        return NetworkWishes(
            base_width=self.base_width or settings.base_width,
            width_multipliers=multipliers,
            blocks=self.blocks or settings.blocks,
            attention_resolutions=attention,
            patch=patch,
        )


def parse(text: str) -> NetworkWishes:
    """Read the text of `--network`.

    Raises:
        ParameterError: It is not in the grammar, or a number is not allowed.

    Example:
        >>> parse("width=16,attention=7+14").attention_resolutions
        (7, 14)
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in text.strip().split(","):
        key, _, value = part.partition("=")
        numbers = value.split("+")
        known = key in _KEYS and key not in found
        if not known or not all(n.isascii() and n.isdecimal() for n in numbers):
            raise _unread(part)
        found[key] = tuple(int(number[:9]) for number in numbers)
    for key in ("width", "blocks", "patch"):
        if len(found.get(key, (1,))) != 1:
            raise _unread(key)
    (width,), (blocks,) = found.get("width", (0,)), found.get("blocks", (0,))
    _check(width=width if "width" in found else 8, rest=found)
    sides = tuple(side for side in found.get("attention", ()) if side)
    return NetworkWishes(
        base_width=width or None,
        width_multipliers=found.get("levels"),
        blocks=blocks or None,
        patch=found["patch"][0] if "patch" in found else None,
        attention_resolutions=sides if "attention" in found else None,
    )


def _check(*, width: int, rest: dict[str, tuple[int, ...]]) -> None:
    if not 8 <= width <= 1024 or width % 8:
        raise ParameterError(
            f"--network has width {width}, but it must be a multiple of 8",
            hint="give a width such as 16 or 32",
        )
    for key in ("levels", "blocks", "patch"):
        if not all(1 <= number <= 16 for number in rest.get(key, (1,))):
            raise ParameterError(f"--network has {key} outside 1 to 16", hint=_EXAMPLE)


def _check_sides(attention: tuple[int, ...], longer_side: int, levels: int) -> None:
    sides = [-(-longer_side // 2**level) for level in range(levels)]
    for side in attention:
        if side not in sides:
            raise ParameterError(
                f"--network asks for attention at side {side}, which no level has",
                hint=f"the levels have sides {', '.join(str(s) for s in sides)}",
            )


def _unread(part: str) -> ParameterError:
    return ParameterError(
        f"--network has '{part[:40]}', which does not describe a network",
        hint=_EXAMPLE,
    )
