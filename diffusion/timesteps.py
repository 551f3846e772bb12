"""Networks that count noise in timesteps: what they are shown, and what they answer.

    prediction    c_skip         c_out               weight
    epsilon       1              -s                  1 / c_out^2
    v_prediction  1 / (s^2 + 1)  -s / sqrt(s^2 + 1)  1 / c_out^2
    sample        0              1                   1 / c_out^2

with s = sigma, c_in = 1 / sqrt(s^2 + 1) and c_noise = t(s), the timestep. Training
draws t uniformly, between whole timesteps too.

Units: sigma in data units; t in steps, from 0.
Source: Ho et al. 2020, arXiv:2006.11239; Salimans & Ho 2022, arXiv:2202.00512,
appendix D (v); Karras et al. 2022, arXiv:2206.00364, table 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from diffusion.noise_levels import SigmaLaw
from privplan.borrowed import Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Timesteps:
    """The parameterisation of a network that counts noise in timesteps.

    Attributes:
        levels: Sigma at each whole timestep, increasing.
        prediction: What the network predicts.

    Example:
        >>> found = Timesteps(levels=(0.1, 1.0, 10.0), prediction="epsilon")
        >>> found.c_noise(torch.tensor([0.01, 1.0, 10.0**0.5, 99.0]))
        tensor([0.0000, 1.0000, 1.5000, 2.0000])
    """

    levels: tuple[float, ...]
    prediction: Prediction = "epsilon"

    def c_skip(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return how much of the noisy image passes by the network."""
        match self.prediction:
            case "epsilon":
                return torch.ones_like(sigma)
            case "v_prediction":
                return 1 / (sigma**2 + 1)
            case "sample":
                return torch.zeros_like(sigma)

    def c_out(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the scale of the network's output, in data units."""
        match self.prediction:
            case "epsilon":
                return -sigma
            case "v_prediction":
                return -sigma * self.c_in(sigma)
            case "sample":
                return torch.ones_like(sigma)

    def c_in(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / sqrt(s^2 + 1)."""
        return torch.rsqrt(sigma**2 + 1)

    def c_noise(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the timestep at which noise has this sigma."""
        return timestep(sigma, self.levels)

    def weight(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / c_out^2."""
        return self.c_out(sigma) ** -2


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestepUniform(SigmaLaw):
    """The timestep is uniform.

    Attributes:
        levels: Sigma at each whole timestep, increasing.
    """

    levels: tuple[float, ...]

    def warp(self, sigma: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return the timestep."""
        return timestep(sigma, self.levels)

    def unwarp(self, flat: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
        """Return sigma at a timestep."""
        logs = torch.tensor(self.levels, dtype=torch.float64, device=flat.device).log()
        below = flat.floor().clamp(0, len(self.levels) - 2).long()
        along = flat - below
        return torch.exp(logs[below] * (1 - along) + logs[below + 1] * along)


def timestep(
    sigma: Float[Tensor, "*any"], levels: tuple[float, ...]
) -> Float[Tensor, "*any"]:
    """Return the timestep of a sigma; linear in ln sigma between whole ones.

    A sum over all steps of the part of each that lies below sigma, so that it branches
    on nothing and runs under `torch.func.vmap`.

    Args:
        sigma: In data units; the first or last timestep answers beyond the ends.
        levels: Sigma at each whole timestep, increasing.
    """
    logs = torch.tensor(levels, dtype=torch.float64, device=sigma.device).log()
    within = (sigma.double().log()[..., None] - logs[:-1]) / logs.diff()
    return within.clamp(0, 1).sum(-1).to(sigma.dtype)
