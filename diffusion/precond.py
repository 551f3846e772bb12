"""Parameterisations: what the network is shown, and what its output means.

A denoiser D(x, sigma) estimates the clean image inside x = clean + sigma * noise. No
network learns that well at every sigma at once, so it is wrapped (Karras et al. 2022,
equation 7):

    D(x, sigma) = c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x, c_noise(sigma), label)

and trained with weight(sigma) |D - clean|^2 (equation 8). Four published choices:

          c_skip         c_out              c_in            c_noise         weight
    EDM   d^2/(s^2+d^2)  s d/sqrt(s^2+d^2)  1/sqrt(s^2+d^2) ln(s)/4         1/c_out^2
    v     1/(s^2+1)      s/sqrt(s^2+1)      1/sqrt(s^2+1)   2 arctan(s)/pi  1/c_out^2
    VP    1              -s                 1/sqrt(s^2+1)   t(s)            1/c_out^2
    VE    1              s                  1               ln(s/2)         1/c_out^2

with s = sigma and d = sigma_data. In all four the weight is 1/c_out^2, which asks the
same of the network at every sigma.

Units: sigma and images in data units, images in [-1, 1].
Source: Karras et al. 2022, arXiv:2206.00364, table 1; Dockhorn et al. 2023,
arXiv:2210.09929, who compare the four under differential privacy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from diffusion.noise_levels import vp_time
from privplan import checks

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]


@runtime_checkable
class Parameterisation(Protocol):
    """The five functions of sigma that turn a network into a denoiser."""

    def c_skip(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return how much of the noisy image passes by the network."""
        ...

    def c_out(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the scale of the network's output, in data units."""
        ...

    def c_in(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the scale of the network's input, per data unit."""
        ...

    def c_noise(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the noise level as the network sees it, of order one."""
        ...

    def weight(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the weight of the squared error at this sigma."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edm:
    """The parameterisation of EDM: unit variance in, unit variance out.

    Attributes:
        sigma_data: Standard deviation of the data, a public guess, in data units.

    Raises:
        ParameterError: `sigma_data` is not a positive finite number.

    Example:
        >>> edm = Edm(sigma_data=0.5)
        >>> sigma = torch.tensor([0.5])
        >>> edm.c_skip(sigma), edm.c_out(sigma) * edm.c_in(sigma)
        (tensor([0.5000]), tensor([0.5000]))
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        checks.positive(sigma_data=self.sigma_data)

    def c_skip(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return d^2 / (s^2 + d^2)."""
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def c_out(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return s d / sqrt(s^2 + d^2)."""
        return sigma * self.sigma_data * self.c_in(sigma)

    def c_in(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / sqrt(s^2 + d^2)."""
        return torch.rsqrt(sigma**2 + self.sigma_data**2)

    def c_noise(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return ln(s) / 4."""
        return sigma.log() / 4

    def weight(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return (s^2 + d^2) / (s d)^2."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class V:
    """The parameterisation "v": EDM's for data of unit variance, time as an angle."""

    def c_skip(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / (s^2 + 1)."""
        return 1 / (sigma**2 + 1)

    def c_out(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return s / sqrt(s^2 + 1)."""
        return sigma * self.c_in(sigma)

    def c_in(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / sqrt(s^2 + 1)."""
        return torch.rsqrt(sigma**2 + 1)

    def c_noise(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return t = 2 arctan(s) / pi."""
        return 2 / math.pi * torch.atan(sigma)

    def weight(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return (s^2 + 1) / s^2."""
        return (sigma**2 + 1) / sigma**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Vp:
    """The variance-preserving process: the network predicts minus the noise.

    The factor M - 1 of table 1 before t is left out: it belongs to a network that
    counts time in steps, and ours takes numbers of order one.

    Attributes:
        beta_d: Growth of the noise rate.
        beta_min: Noise rate at t = 0.

    Raises:
        ParameterError: `beta_d` or `beta_min` is not above zero.
    """

    beta_d: float = 19.9
    beta_min: float = 0.1

    def __post_init__(self) -> None:
        checks.positive(beta_d=self.beta_d, beta_min=self.beta_min)

    def c_skip(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1."""
        return torch.ones_like(sigma)

    def c_out(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return -s."""
        return -sigma

    def c_in(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / sqrt(s^2 + 1)."""
        return torch.rsqrt(sigma**2 + 1)

    def c_noise(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return t, the time in [0, 1] at which the process has this sigma."""
        return vp_time(sigma, beta_d=self.beta_d, beta_min=self.beta_min)

    def weight(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / s^2."""
        return sigma**-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ve:
    """The variance-exploding process: the network predicts minus the noise, unscaled.

    The sign follows table 1 of Karras et al.: c_out = +s, so F estimates -noise.
    """

    def c_skip(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1."""
        return torch.ones_like(sigma)

    def c_out(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return s."""
        return sigma

    def c_in(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1."""
        return torch.ones_like(sigma)

    def c_noise(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return ln(s / 2)."""
        return torch.log(sigma / 2)

    def weight(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return 1 / s^2."""
        return sigma**-2


def denoise(
    network: nn.Module,
    precond: Parameterisation,
    x: Float[Tensor, "rows channels height width"],
    sigma: Float[Tensor, " rows"],
    labels: Int64[Tensor, " rows"],
) -> Float[Tensor, "rows channels height width"]:
    """Estimate the clean images inside noisy ones.

    Args:
        network: Takes (images, c_noise, labels); row i of its output must depend on
            row i alone.
        precond: The parameterisation the network was trained with.
        x: Noisy images, in data units.
        sigma: Noise level of each, in data units; above zero.
        labels: Class of each; the network's null label means "no class".

    Returns:
        The estimates, in data units.

    Source:
        Karras et al. 2022, arXiv:2206.00364, equation 7.
    """
    column = sigma[:, None, None, None]
    out = network(precond.c_in(column) * x, precond.c_noise(sigma), labels)
    estimate: Tensor = precond.c_skip(column) * x + precond.c_out(column) * out
    return estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoiser:
    """A network with its parameterisation: what samplers take.

    Attributes:
        network: The trained network.
        precond: Its parameterisation.

    Example:
        >>> from diffusion.network import build, preset
        >>> best = Denoiser(network=build(preset(1, 8, 8, 10), seed=0), precond=Edm())
        >>> x, labels = torch.ones(2, 1, 8, 8), torch.tensor([3, 10])
        >>> best(x, torch.tensor([0.5, 0.5]), labels).shape
        torch.Size([2, 1, 8, 8])
    """

    network: nn.Module
    precond: Parameterisation

    def __call__(
        self,
        x: Float[Tensor, "rows channels height width"],
        sigma: Float[Tensor, " rows"],
        labels: Int64[Tensor, " rows"],
    ) -> Float[Tensor, "rows channels height width"]:
        """Estimate the clean images inside noisy ones; see `denoise`."""
        return denoise(self.network, self.precond, x, sigma, labels)


def guided(denoiser: Denoise, *, guidance: float, null_label: int) -> Denoise:
    """Push a denoiser away from "no class": (1 + w) D(label) - w D(null).

    Guidance is post-processing of a trained network and costs no privacy.

    Args:
        denoiser: Takes (x, sigma, labels).
        guidance: w, at least 0; 0 returns the denoiser unchanged.
        null_label: The label that means "no class".

    Raises:
        ParameterError: `guidance` is negative or not finite.

    Source:
        Ho & Salimans 2022, arXiv:2207.12598, equation 6.

    Example:
        >>> def by_label(x, sigma, labels):
        ...     return labels.double()
        >>> pushed = guided(by_label, guidance=0.5, null_label=10)
        >>> pushed(torch.zeros(1), torch.ones(1), torch.tensor([2]))
        tensor([-2.], dtype=torch.float64)
    """
    checks.non_negative(guidance=guidance)
    if guidance == 0:
        return denoiser

    def pushed(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        null = torch.full_like(labels, null_label)
        toward = denoiser(x, sigma, labels)
        return (1 + guidance) * toward - guidance * denoiser(x, sigma, null)

    return pushed
