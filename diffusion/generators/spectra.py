"""Coloured spectra and wavelet noise: texture without edges.

Half of the images are Gaussian fields whose amplitude falls as f^-a, with `a` and the
direction of the stretch drawn per image. The other half adds what Gaussian fields lack:
bands of one octave are modulated by a smooth random contrast, which gives the
heavy-tailed wavelet coefficients of photographs.

Units: frequencies in cycles per pixel. Source: Baradad et al. 2021, arXiv:2106.05963,
sections 3.2 and 3.3 ("Spectrum", "Wavelet-marginal models").
"""

import math

import torch
from jaxtyping import Complex64, Float32
from torch import Tensor

from diffusion.generators.canvas import Canvas
from diffusion.generators.draws import Draws

OCTAVES = 3
_CHROMA = 0.4


def spectra(canvas: Canvas, draws: Draws) -> Float32[Tensor, "n c h w"]:
    """Make one block of random fields, in [-1, 1].

    Example:
        >>> canvas = Canvas(count=2, channels=3, height=8, width=8)
        >>> spectra(canvas, Draws("fields")).shape
        torch.Size([2, 3, 8, 8])
    """
    waves = _waves(canvas, draws)
    fields = torch.fft.irfft2(waves, s=(canvas.height, canvas.width))
    rough = canvas.count // 2
    if rough:
        fields[:rough] = _modulated(canvas, waves[:rough], draws)
    fields = fields[draws.permutation(canvas.count)]
    return _exposed(draws.tinted(_standardised(fields), _CHROMA), draws)


def _frequencies(
    canvas: Canvas,
) -> tuple[Float32[Tensor, "h 1"], Float32[Tensor, "1 w"]]:
    rows = torch.fft.fftfreq(canvas.height)[:, None]
    return rows, torch.fft.rfftfreq(canvas.width)[None]


def _waves(canvas: Canvas, draws: Draws) -> Complex64[Tensor, "n c h w"]:
    """White complex noise times f^-a, stretched along one direction per image."""
    rows, columns = _frequencies(canvas)
    count = canvas.count
    angle = draws.uniform(count, 1, 1, high=math.pi)
    stretch = torch.exp(0.5 * draws.normal(count, 1, 1))
    along = rows * angle.cos() + columns * angle.sin()
    across = columns * angle.cos() - rows * angle.sin()
    square = (along * stretch) ** 2 + (across / stretch) ** 2
    slope = draws.uniform(count, 1, 1, low=0.6, high=1.8)
    # the lowest frequency of the image bounds the amplitude; the mean is drawn later
    amplitude = (square + (0.5 / max(canvas.height, canvas.width)) ** 2) ** (-slope / 2)
    amplitude[:, 0, 0] = 0.0
    noise = draws.normal(count, canvas.channels, canvas.height, columns.shape[1], 2)
    return torch.view_as_complex(noise) * amplitude[:, None]


def _modulated(
    canvas: Canvas, waves: Complex64[Tensor, "n c h w"], draws: Draws
) -> Float32[Tensor, "n c height width"]:
    """Split into octaves and give each a smooth random contrast."""
    rows, columns = _frequencies(canvas)
    octave = torch.log2((rows**2 + columns**2).sqrt().clamp(min=1e-6))
    size = (canvas.height, canvas.width)
    smooth = torch.exp2(-((octave + 4.0).clamp(min=0.0) ** 2))
    total = torch.zeros(len(waves), canvas.channels, *size)
    for band in range(OCTAVES):
        centre = -1.5 - band
        window = torch.exp(-((octave - centre) ** 2))
        noise = draws.normal(len(waves), 1, canvas.height, columns.shape[1], 2)
        contrast = torch.fft.irfft2(torch.view_as_complex(noise) * smooth, s=size)
        contrast = torch.exp(1.2 * _standardised(contrast))
        total += torch.fft.irfft2(waves * window, s=size) * contrast
    return total


def _standardised(fields: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n c h w"]:
    centred = fields - fields.mean((2, 3), keepdim=True)
    scale = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / scale.clamp(min=1e-12)


def _exposed(
    fields: Float32[Tensor, "n c h w"], draws: Draws
) -> Float32[Tensor, "n c h w"]:
    count = len(fields)
    contrast = draws.uniform(count, 1, 1, 1, low=0.2, high=0.6)
    light = 0.3 * draws.normal(count, 1, 1, 1)
    return (fields * contrast + light).clamp_(-1.0, 1.0)
