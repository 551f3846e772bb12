"""How much of one record's gradient may enter a step.

The noise of a private step hides a contribution of size C and no larger, so every
record's gradient is scaled into the ball of radius C before anything is summed. The
scale is one number per record, computed from that record's norm alone.

    fixed        min(1, C / norm)       short gradients keep their length
    normalised   C / (norm + gamma)     every gradient is given almost the length C
    adaptive     as fixed               and one number more leaves the engine: the sum
                                        over the records of b - 1/2, where b is 1 for a
                                        norm of at most C and else 0

That sum is as private as the others. It moves by 1/2 with one record, and gets noise of
its own before C follows it; see `diffusion.adaptive_clipping`.

A norm that is not finite gives the factor zero and raises nothing: an exception that
one record can trigger is a release nobody accounted for.

Units: norms and C are in gradient units. The factors are float64, so that no finite
float32 gradient overflows its own norm.
Source: Abadi et al. 2016, Algorithm 1, arXiv:1607.00133 (fixed); Bu et al. 2023,
AUTO-S with gamma = 0.01, arXiv:2206.07136 (normalised).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from privplan import checks
from privplan.errors import ParameterError

ClippingKind = Literal["fixed", "normalised", "adaptive"]
STABILITY = 0.01  # gamma of AUTO-S: a zero gradient must not be divided by zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """The rule that bounds one record's contribution to a step.

    Attributes:
        max_grad_norm: C, in gradient units; public, above 0.
        kind: "fixed" keeps gradients below C as they are; "normalised" scales every
            gradient to a length just below C; "adaptive" is "fixed", and counts.

    Raises:
        ParameterError: `max_grad_norm` is not a positive finite number, or `kind` is
            not one of the three words.

    Example:
        >>> clipping = Clipping(max_grad_norm=1.0)
        >>> clipping.factors(torch.tensor([0.5, 4.0, float("nan")]))
        tensor([1.0000, 0.2500, 0.0000], dtype=torch.float64)
    """

    max_grad_norm: float
    kind: ClippingKind = "fixed"

    def __post_init__(self) -> None:
        checks.positive(max_grad_norm=self.max_grad_norm)
        if self.kind not in get_args(ClippingKind):
            raise ParameterError(
                f"kind is {self.kind!r}, but it must be 'fixed', 'normalised' or "
                "'adaptive'",
                hint="give 'fixed' unless the plan asks for normalised clipping",
            )

    def factors(self, norms: Tensor) -> Tensor:
        """Return what each record's gradient is multiplied by.

        Args:
            norms: (records,) L2 norms over all trainable parameters; any may be zero,
                infinite or NaN.

        Returns:
            (records,) float64 factors; factor times norm never exceeds C up to float64
            rounding, and is 0 where the norm is not finite.
        """
        wide = norms.to(torch.float64)
        # A number over a tensor is taken as a product with a rounded reciprocal; a
        # tensor over a tensor is rounded once, so that C / C is 1.
        bound = torch.full_like(wide, self.max_grad_norm)
        if self.kind == "normalised":
            scale = bound / (wide + STABILITY)
        else:
            scale = bound / torch.maximum(wide, bound)
        return torch.where(wide.isfinite(), scale, torch.zeros_like(scale))

    def balance(self, norms: Tensor) -> list[Tensor]:
        """Return what leaves the engine beside the gradients, by the kind.

        Args:
            norms: As in `factors`; none are allowed.

        Returns:
            For "adaptive", one float64 number: records of norm at most C, less those
            above, halved. A norm that is not finite counts as above. Else nothing.
        """
        if self.kind != "adaptive":
            return []
        below = norms.to(torch.float64) <= self.max_grad_norm
        return [(below.to(torch.float64) - 0.5).sum()]
