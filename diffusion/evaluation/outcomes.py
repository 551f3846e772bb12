"""What a number was computed from decides who may see it, and that is its type.

    Public   samples against images that anyone may see: post-processing of a release
    Charged  samples against a noisy answer that the ledger holds
    Local    anything that looked at private images without being charged

A report takes the first two. `Local` (diffusion.local) has no exporter.

Samples are themselves post-processing of a charged run, so a score of theirs against
public images costs nothing more and may be published beside the claim.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from diffusion.local import Local

ValueT = TypeVar("ValueT")


class Kind(StrEnum):
    """The badge of a number."""

    CHARGED = "charged"
    PUBLIC = "public"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Public(Generic[ValueT]):
    """A value computed from releases and public images.

    Attributes:
        value: It.
    """

    value: ValueT


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged(Generic[ValueT]):
    """A value computed from a noisy answer that a plan paid for.

    Attributes:
        value: It.
        phase: Name of the phase that asked the records.
    """

    value: ValueT
    phase: str


def kind_of(outcome: Public[ValueT] | Charged[ValueT] | Local[ValueT]) -> Kind:
    """Return the badge of an outcome.

    Example:
        >>> kind_of(Public(value=0.9)).value, kind_of(Local(0.9)).value
        ('public', 'local')
    """
    match outcome:
        case Public():
            return Kind.PUBLIC
        case Charged():
            return Kind.CHARGED
        case Local():
            return Kind.LOCAL
