"""Samplers: from noise to images, one published algorithm per screen.

All of them walk the same grid of noise levels from sigma_max to zero and call the
denoiser D on the way. They differ in how they use it:

    ddim            Euler on the probability-flow equation; `eta` adds fresh noise back
    heun            Karras et al. 2022, algorithm 2: second order, with `churn`
    dpm_solver_2m   DPM-Solver++(2M): second order with one call of D per step

Everything here is post-processing of a trained network: it costs no privacy, however
many images are drawn and however many samplers are tried, as long as nothing is
compared with private images to choose one.

Units: sigma and images in data units. Results are not clamped to [-1, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from diffusion.noise_grid import karras_grid
from diffusion.precond import Denoise
from privplan import checks
from privplan.errors import ParameterError

Method = Literal["ddim", "heun", "dpm-solver-2m"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """Which sampler, and its settings; all public.

    Attributes:
        method: "ddim", "heun" or "dpm-solver-2m".
        steps: Levels of the grid.
        sigma_min: The last level above zero, in data units.
        sigma_max: The first level, in data units.
        rho: How densely small levels are visited; see `karras_grid`.
        eta: For ddim only: 0 is deterministic, 1 the stochastic DDIM.
        churn: For heun only: S_churn, total noise added back; 0 is deterministic.
        churn_interval: For heun only: S_tmin and S_tmax, the levels it is added at.
        churn_noise: For heun only: S_noise, the scale of what is added.

    Raises:
        ParameterError: A setting is out of range, or belongs to another method.
    """

    method: Method = "heun"
    steps: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    eta: float = 0.0
    churn: float = 0.0
    churn_interval: tuple[float, float] = (0.05, 50.0)
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        karras_grid(
            steps=self.steps,
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            rho=self.rho,
        )
        checks.non_negative(eta=self.eta, churn=self.churn)
        checks.positive(churn_noise=self.churn_noise)
        low, high = self.churn_interval
        if not 0 <= low <= high:
            raise ParameterError(
                f"churn_interval is {self.churn_interval}, but it must be (low, high)",
                hint="give an interval such as (0.05, 50.0)",
            )
        if not self.eta <= 1:
            raise ParameterError(
                f"eta is {self.eta!r}, but it must be between 0 and 1",
                hint="give eta 0 for deterministic sampling or 1 for stochastic",
            )
        if (self.eta and self.method != "ddim") or (
            self.churn and self.method != "heun"
        ):
            raise ParameterError(
                f"{self.method} has no eta or churn of this value",
                hint="eta belongs to ddim and churn to heun",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What every sampler starts from.

    Attributes:
        grid: Decreasing noise levels, the last one zero; in data units.
        labels: The class of each image to make.
        start: Pure noise at the first level, in data units.
        generator: Where further noise comes from.
        progress: Called after each step with (steps done, steps in all), or None.
    """

    grid: tuple[float, ...]
    labels: Int64[Tensor, " rows"]
    start: Float[Tensor, "rows channels height width"]
    generator: torch.Generator
    progress: Progress | None = None

    def pairs(self) -> list[tuple[float, float]]:
        """Return the steps as (from, to) noise levels."""
        return list(zip(self.grid[:-1], self.grid[1:], strict=True))

    def level(self, sigma: float) -> Float[Tensor, " rows"]:
        """Return one noise level for every row."""
        return self.start.new_full((len(self.start),), sigma)

    def noise(self) -> Float[Tensor, "rows channels height width"]:
        """Draw fresh standard normal noise."""
        return torch.randn(
            self.start.shape,
            generator=self.generator,
            device=self.start.device,
            dtype=self.start.dtype,
        )

    def report(self, done: int) -> None:
        """Tell whoever asked how far we are."""
        if self.progress is not None:
            self.progress(done, len(self.grid) - 1)


def sample(
    denoise: Denoise,
    *,
    labels: Int64[Tensor, " rows"],
    shape: tuple[int, int, int],
    config: SamplerConfig,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> Float[Tensor, "rows channels height width"]:
    """Draw one image for each label.

    Args:
        denoise: Takes (x, sigma, labels), returns estimates of the clean images.
        labels: The class of each image, on the generator's device.
        shape: (channels, height, width) of an image.
        config: The sampler and its settings.
        generator: Where all noise comes from. Sampling noise protects nobody, so a
            seeded generator is right here: it makes a grid of images reproducible.
        progress: Called after each step with (steps done, steps in all).

    Returns:
        Images in data units, not clamped; no gradient is recorded.

    Example:
        >>> def to_grey(x, sigma, labels):
        ...     return torch.zeros_like(x)
        >>> sample(
        ...     to_grey,
        ...     labels=torch.tensor([1, 2]),
        ...     shape=(1, 1, 2),
        ...     config=SamplerConfig(steps=3),
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        tensor([[[[0., 0.]]],
        <BLANKLINE>
        <BLANKLINE>
                [[[0., 0.]]]])
    """
    grid = karras_grid(
        steps=config.steps,
        sigma_min=config.sigma_min,
        sigma_max=config.sigma_max,
        rho=config.rho,
    )
    noise = torch.randn(
        (len(labels), *shape), generator=generator, device=generator.device
    )
    walk = Walk(
        grid=tuple(grid.tolist()),
        labels=labels,
        start=config.sigma_max * noise,
        generator=generator,
        progress=progress,
    )
    algorithm = {"ddim": ddim, "heun": heun, "dpm-solver-2m": dpm_solver_2m}
    with torch.no_grad():
        return algorithm[config.method](denoise, walk, config)


def ddim(
    denoise: Denoise, walk: Walk, config: SamplerConfig
) -> Float[Tensor, "rows channels height width"]:
    """Walk the grid with DDIM; first order.

    With x = clean + sigma * noise, equation 12 of Song et al. reads

        x' = D + sqrt(s'^2 - s_up^2) (x - D)/s + s_up z,   z ~ N(0, I)
        s_up = eta s' sqrt(1 - s'^2 / s^2)                              (equation 16)

    so eta = 0 is Euler's method on the probability-flow equation and eta = 1 the
    ancestral sampler of DDPM.

    Source:
        Song, Meng & Ermon 2021, arXiv:2010.02502, equations 12 and 16.
    """
    x = walk.start
    for done, (s, s_next) in enumerate(walk.pairs(), start=1):
        d_hat = denoise(x, walk.level(s), walk.labels)
        s_up = config.eta * s_next * math.sqrt(1 - (s_next / s) ** 2)
        s_down = math.sqrt(s_next**2 - s_up**2)
        x = d_hat + s_down * (x - d_hat) / s
        if s_up > 0:
            x = x + s_up * walk.noise()
        walk.report(done)
    return x


def heun(
    denoise: Denoise, walk: Walk, config: SamplerConfig
) -> Float[Tensor, "rows channels height width"]:
    """Walk the grid with Heun's method and churn; second order without churn.

    Line numbers are those of algorithm 2, with sigma(t) = t and scale 1.

    Source:
        Karras et al. 2022, arXiv:2206.00364, algorithm 2.
    """
    low, high = config.churn_interval
    gamma_max = min(config.churn / config.steps, math.sqrt(2) - 1)  # line 4
    x = walk.start
    for done, (t, t_next) in enumerate(walk.pairs(), start=1):
        gamma = gamma_max if low <= t <= high else 0.0
        t_hat, x_hat = t * (1 + gamma), x  # line 5
        if gamma > 0:
            spread = config.churn_noise * math.sqrt(t_hat**2 - t**2)
            x_hat = x + spread * walk.noise()  # line 6
        d = (x_hat - denoise(x_hat, walk.level(t_hat), walk.labels)) / t_hat  # line 7
        x = x_hat + (t_next - t_hat) * d  # line 8
        if t_next > 0:
            d_next = (x - denoise(x, walk.level(t_next), walk.labels)) / t_next
            x = x_hat + (t_next - t_hat) * (d + d_next) / 2  # line 11
        walk.report(done)
    return x


def dpm_solver_2m(
    denoise: Denoise, walk: Walk, config: SamplerConfig
) -> Float[Tensor, "rows channels height width"]:
    """Walk the grid with DPM-Solver++(2M); second order, one call of D per step.

    With alpha = 1 the half log signal-to-noise ratio is lambda = -ln sigma, and

        x' = (s'/s) x + (1 - s'/s) D_i                          algorithm 2, line 8
        D_i = (1 + 1/(2 r)) D(x) - 1/(2 r) D(x of the step before)          line 7
        r = h_before / h,  h = ln(s / s')

    The first step has no step before it, and the last one goes to zero, where h is
    infinite: both are first order, as in the authors' code.

    Source:
        Lu et al. 2022, arXiv:2211.01095, algorithm 2.
    """
    x, before, h_before = walk.start, None, 0.0
    for done, (s, s_next) in enumerate(walk.pairs(), start=1):
        d = denoise(x, walk.level(s), walk.labels)
        d_i = d
        if s_next > 0:
            h = math.log(s / s_next)
            if before is not None:
                half = h / h_before / 2
                d_i = (1 + half) * d - half * before
            before, h_before = d, h
        x = (s_next / s) * x + (1 - s_next / s) * d_i
        walk.report(done)
    return x
