"""Autoencoders: images to latents and back, each record on its own.

    image ── conv, halve, ... ──> moments ──> latent ── conv, double, ... ──> image

    kl    mean and variance per latent; trained with a small pull to unit variance
    vq    the nearest of so many codes, found when decoding; latents are unrounded

No layer mixes records or keeps statistics of them. A latent is the mean of what the
encoder answers, without noise, so encoding twice gives the same.

Units: images in [-1, 1]; latents times a public scale, as spread as images.
Source: Kingma & Welling 2014, arXiv:1312.6114; van den Oord et al. 2017,
arXiv:1711.00937 (VQ, equation 3); Rombach et al. 2022, arXiv:2112.10752.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffusion.network_blocks import conv, norm

_COMMITMENT = 0.25


class ConvAutoencoder(nn.Module):
    """A small convolutional autoencoder.

    Args:
        kind: "kl" or "vq".
        channels: Of images.
        latent_channels: Of latents.
        factor: By how much the sides shrink; a power of two.
        base_width: Feature channels at full size; a multiple of 8.
        codes: Entries of the codebook of "vq".
    """

    def __init__(
        self,
        *,
        kind: str,
        channels: int,
        latent_channels: int,
        factor: int,
        base_width: int,
        codes: int,
    ) -> None:
        super().__init__()
        self.kind, self.latent_channels = kind, latent_channels
        levels = round(math.log2(factor))
        wide = 2 * base_width
        moments = 2 * latent_channels if kind == "kl" else latent_channels
        down: list[nn.Module] = [conv(channels, base_width)]
        for level in range(levels):
            before = base_width if level == 0 else wide
            down += [norm(before), nn.SiLU(), nn.Conv2d(before, wide, 4, 2, 1)]
        self.encoder = nn.Sequential(*down, norm(wide), nn.SiLU(), conv(wide, moments))
        up: list[nn.Module] = [conv(latent_channels, wide)]
        for level in range(levels):
            after = base_width if level == levels - 1 else wide
            up += [
                norm(wide),
                nn.SiLU(),
                nn.Upsample(scale_factor=2),
                conv(wide, after),
            ]
            wide = after if level == levels - 1 else wide
        self.decoder = nn.Sequential(
            *up, norm(base_width), nn.SiLU(), conv(base_width, channels)
        )
        self.codes = nn.Embedding(codes, latent_channels) if kind == "vq" else None

    def encode(
        self, images: Float[Tensor, "rows channels height width"]
    ) -> Float[Tensor, "rows latent rows_small columns_small"]:
        """Return latents, unscaled; row i depends on row i alone."""
        found: Tensor = self.encoder(images)[:, : self.latent_channels]
        return found

    def decode(
        self, latents: Float[Tensor, "rows latent rows_small columns_small"]
    ) -> Float[Tensor, "rows channels height width"]:
        """Return images of unscaled latents; row i depends on row i alone."""
        shown = latents if self.codes is None else self._nearest(latents)
        found: Tensor = self.decoder(shown)
        return found

    def loss(
        self,
        images: Float[Tensor, "rows channels height width"],
        *,
        kl_weight: float,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Return the training loss on public images."""
        moments = self.encoder(images)
        if self.codes is not None:
            rounded = self._nearest(moments)
            shown = moments + (rounded - moments).detach()
            codes = functional.mse_loss(rounded, moments.detach())
            stay = functional.mse_loss(moments, rounded.detach())
            extra = codes + _COMMITMENT * stay
        else:
            mean, log_variance = moments.chunk(2, dim=1)
            log_variance = log_variance.clamp(-20, 10)
            noise = torch.randn(mean.shape, generator=generator).to(mean.device)
            shown = mean + (log_variance / 2).exp() * noise
            divergence = mean.square() + log_variance.exp() - 1 - log_variance
            extra = kl_weight * divergence.mean() / 2
        return functional.l1_loss(self.decoder(shown), images) + extra

    def _nearest(self, latents: Tensor) -> Tensor:
        if self.codes is None:
            return latents
        flat = latents.movedim(1, -1)
        book = self.codes.weight
        gaps = flat.square().sum(-1, keepdim=True) - 2 * flat @ book.T
        nearest = (gaps + book.square().sum(1)).argmin(-1)
        return functional.embedding(nearest, book).movedim(-1, 1)
