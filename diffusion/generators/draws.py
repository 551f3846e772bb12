"""Chance for synthetic images: all of it follows from a public name.

Synthetic images protect nobody, so they should be the same for everyone who has the
plan. Each block of images has a name, and the name's SHA-256 seeds a generator of its
own: block 7 needs no block before it, and torch's global state is never touched.
Privacy noise must never come from here; that is the trade of `diffusion.randomness`.
"""

import hashlib

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor


class Draws:
    """Reproducible random numbers, all named by one text.

    Example:
        >>> bool((Draws("a").uniform(3) == Draws("a").uniform(3)).all())
        True
    """

    def __init__(self, name: str) -> None:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        self._generator = torch.Generator().manual_seed(seed >> 1)

    def uniform(
        self, *size: int, low: float = 0.0, high: float = 1.0
    ) -> Float32[Tensor, "..."]:
        """Draw uniformly from [low, high)."""
        unit = torch.rand(size, generator=self._generator, dtype=torch.float32)
        return low + (high - low) * unit

    def normal(self, *size: int) -> Float32[Tensor, "..."]:
        """Draw from the standard normal law."""
        return torch.randn(size, generator=self._generator, dtype=torch.float32)

    def chance(self, probability: float, *size: int) -> Bool[Tensor, "..."]:
        """Draw true with a probability."""
        return self.uniform(*size) < probability

    def permutation(self, length: int) -> Int64[Tensor, " length"]:
        """Draw an order of 0..length-1."""
        return torch.randperm(length, generator=self._generator)

    def colours(self, count: int, channels: int, chroma: float) -> Tensor:
        """Draw colours in [-1, 1]: a uniform lightness, and a hue of size `chroma`.

        Natural colours lie near the grey diagonal, so the channels must not be
        independent.

        Returns:
            float32, [count, channels]; a single channel is the lightness alone.
        """
        lightness = self.uniform(count, 1, low=-1.0, high=1.0)
        if channels == 1:
            return lightness
        return (lightness + chroma * self.normal(count, channels)).clamp(-1.0, 1.0)

    def tinted(
        self, fields: Float32[Tensor, "n c h w"], chroma: float
    ) -> Float32[Tensor, "n c h w"]:
        """Mix independent fields so that all channels share most of their light.

        Args:
            fields: One field per channel, alike in size; grey fields are returned.
            chroma: Size of what the channels do not share.
        """
        count, channels = fields.shape[:2]
        if channels == 1:
            return fields
        palette = chroma * self.normal(count, channels, channels)
        palette[:, :, 0] += 1.0
        return torch.einsum("ncd,ndhw->nchw", palette, fields)
