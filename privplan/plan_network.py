"""What a plan says of its own network and of its draws of sigma.

`plan.Plan` puts both beside its other parts; a network of another library is described
in `privplan.borrowed`.
"""

from __future__ import annotations

from pydantic import Field

from privplan.fields import Count, Document, Number


def _is_single(value: int) -> bool:
    return value == 1


class PlanNetwork(Document):
    """The U-Net."""

    base_width: Count
    width_multipliers: tuple[Count, ...]
    blocks: Count
    attention_resolutions: tuple[Count, ...]
    patch: Count = Field(default=1, exclude_if=_is_single)
    seed: int


class PlanMixture(Document):
    """Shares of the draws below, between and above two cuts of sigma."""

    cuts: tuple[Number, Number]
    shares: tuple[Number, Number, Number]
