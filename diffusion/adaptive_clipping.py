"""A bound C that follows the gradients, at a price that is counted.

C should sit near the median gradient: far above it, noise drowns what is learned; far
below, every gradient is cut to a direction. Reading the median from the records would
be an uncharged release, so it is asked for, with noise, in every step:

    b_i = 1 where record i's gradient is no longer than C, else 0
    sum of (b_i - 1/2)  +  noise of std s_b     moves by 1/2 with one record
    sum of clipped gradients  +  noise of std z_g C     moves by C with one record

Scaled by their noise, both together are one vector that moves by at most
sqrt(z_g^-2 + (2 s_b)^-2). So with

    z_g = (z^-2 - (2 s_b)^-2)^(-1/2)

the pair is exactly one Gaussian query with multiplier z, and a Poisson-sampled step
costs what the plan's event says, no more. What the answer does to C afterwards is
post-processing: C is public.

Units: C in gradient units; s_b in records.
Source: Andrew, Thakkar, McMahan & Ramaswamy 2021, arXiv:1905.03871, theorem 1 and
algorithm 1 (geometric update).
"""

import math
from dataclasses import dataclass

from privplan import checks
from privplan.budget_lines import ClippingQuantile
from privplan.errors import ParameterError

COUNT_SENSITIVITY = 0.5
_WIDEST = 1e6  # C stays within this factor of where it began, whatever the noise says


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveClipping:
    """How C follows the gradients; public constants of a plan.

    Attributes:
        initial: C of the first step, in gradient units.
        quantile: The fraction of records that should stay unclipped; inside (0, 1).
        count_noise: s_b, the standard deviation of the noise on the count, in records.
        learning_rate: How fast ln C follows.

    Raises:
        ParameterError: A number is outside its range.

    Example:
        >>> rule = AdaptiveClipping(initial=1.0, count_noise=5.0)
        >>> round(rule.gradient_noise_multiplier(1.0), 4)
        1.005
        >>> rule.following(1.0, noisy_balance=0.0, expected_batch_size=100.0)
        1.0
    """

    initial: float
    count_noise: float
    quantile: float = 0.5
    learning_rate: float = 0.2

    def __post_init__(self) -> None:
        checks.positive(
            initial=self.initial,
            count_noise=self.count_noise,
            learning_rate=self.learning_rate,
        )
        if not 0 < self.quantile < 1:
            raise ParameterError(
                f"quantile is {self.quantile!r}, but it must be between 0 and 1",
                hint="give quantile a value such as 0.5",
            )

    @property
    def count_noise_multiplier(self) -> float:
        """Noise of the count over its sensitivity, 2 s_b."""
        return self.count_noise / COUNT_SENSITIVITY

    def gradient_noise_multiplier(self, noise_multiplier: float) -> float:
        """Return z_g, so that gradient and count together cost what z costs.

        Args:
            noise_multiplier: z, of the step's event.

        Raises:
            ParameterError: The count alone would cost as much as the whole step.
        """
        votes = ClippingQuantile(votes_noise_std=self.count_noise)
        return votes.gradient_noise_multiplier(noise_multiplier)

    def following(
        self, bound: float, *, noisy_balance: float, expected_batch_size: float
    ) -> float:
        """Return C of the next step.

        Args:
            bound: C of this step.
            noisy_balance: The noised sum of (b_i - 1/2); never the bare one.
            expected_batch_size: The divisor, a constant of the plan.
        """
        unclipped = noisy_balance / expected_batch_size + 0.5
        # A fraction lies between 0 and 1; noise can carry its estimate far outside.
        error = min(max(unclipped, 0.0), 1.0) - self.quantile
        following = bound * math.exp(-self.learning_rate * error)
        return min(max(following, self.initial / _WIDEST), self.initial * _WIDEST)
