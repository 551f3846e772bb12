"""The noise levels a sampler visits, from the largest down to zero.

Small levels decide what an image looks like up close, so the grid is dense there: it is
even in sigma^(1/rho). With rho = 7 most steps are spent below sigma = 1.

Units: sigma in data units, images in [-1, 1].
Source: Karras et al. 2022, arXiv:2206.00364, equation 5 and section 3.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from privplan import checks
from privplan.errors import ParameterError


def karras_grid(
    *, steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Float64[Tensor, " levels"]:
    """Return the noise levels a sampler visits, from `sigma_max` down to zero.

    Args:
        steps: Number of levels above zero.
        sigma_min: The last of them, in data units.
        sigma_max: The first of them, in data units.
        rho: How densely the small levels are visited; 1 is evenly spaced.

    Returns:
        `steps` decreasing sigmas and a final zero.

    Raises:
        ParameterError: A value is not positive, or `sigma_min` not below `sigma_max`.

    Source:
        Karras et al. 2022, arXiv:2206.00364, equation 5.

    Example:
        >>> grid = karras_grid(steps=3, sigma_min=0.5, sigma_max=2.0, rho=1.0)
        >>> grid.tolist()
        [2.0, 1.25, 0.5, 0.0]
    """
    checks.count(steps=steps)
    checks.positive(sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    if not sigma_min < sigma_max:
        raise ParameterError(
            f"sigma_min is {sigma_min!r}, but it must be below sigma_max {sigma_max!r}",
            hint="give values such as sigma_min 0.02 and sigma_max 10",
        )
    share = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(first + share * (last - first)) ** rho, torch.zeros(1)])
