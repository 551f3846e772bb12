"""The training loss, one number per row, with noise multiplicity.

A record is shown to the network K times with K different noises (`noise_multiplicity`)
and its loss is the mean over them. The mean is taken *before* clipping, so a record
still contributes one clipped gradient and the guarantee does not depend on K; only the
variance does. Repeating records in the batch instead would multiply the sensitivity
by K.

Rows are K-major: row k*B + b is draw k of record b. A view as (K, B, ...) then needs
no copy, which is what the gradient engine is built on.

    images, labels (B) -> draw_rows -> (clean, noisy, sigma, labels) (K*B)
                                          -> row_loss -> losses (K*B)

Units: images and sigma in data units; losses have none.
Source: Karras et al. 2022, arXiv:2206.00364, equation 8; Dockhorn et al. 2023,
arXiv:2210.09929, equation 7 (noise multiplicity).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from diffusion.noise_levels import SigmaLaw
from diffusion.precond import Parameterisation, denoise
from privplan import checks
from privplan.errors import ParameterError

Rows = tuple[Tensor, ...]
RowLoss = Callable[[nn.Module, Rows], Tensor]


def draw_rows(
    images: Float[Tensor, "records channels height width"],
    labels: Int64[Tensor, " records"],
    *,
    noise_multiplicity: int,
    law: SigmaLaw,
    label_dropout: float,
    null_label: int,
    generator: torch.Generator,
) -> Rows:
    """Draw noise levels, noise and dropped labels for a batch of records.

    A label is dropped once per record, not once per draw, as in the code of Dockhorn
    et al.: all K draws of a record then agree on their class.

    Args:
        images: Clean images in [-1, 1]; zero records are allowed.
        labels: Their classes.
        noise_multiplicity: K, draws per record.
        law: The law of sigma.
        label_dropout: Probability that a record is shown without its label.
        null_label: The label that then stands in.
        generator: Where all of it comes from; on the images' device.

    Returns:
        `(clean, noisy, sigma, labels)`, each with K * records rows, K-major.

    Raises:
        ParameterError: `noise_multiplicity` is below one or `label_dropout` outside
            [0, 1].

    Example:
        >>> from diffusion.noise_levels import LogNormal
        >>> clean, noisy, sigma, labels = draw_rows(
        ...     torch.zeros(3, 1, 8, 8),
        ...     torch.tensor([7, 8, 9]),
        ...     noise_multiplicity=2,
        ...     law=LogNormal(),
        ...     label_dropout=0.0,
        ...     null_label=10,
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        >>> noisy.shape, labels.tolist()
        (torch.Size([6, 1, 8, 8]), [7, 8, 9, 7, 8, 9])
    """
    checks.count(noise_multiplicity=noise_multiplicity)
    if not 0 <= label_dropout <= 1:
        raise ParameterError(
            f"label_dropout is {label_dropout!r}, but it must be between 0 and 1",
            hint="give label_dropout a value such as 0.1",
        )
    records, device = len(images), images.device
    chance = torch.rand(records, generator=generator, device=device)
    shown = torch.where(chance < label_dropout, null_label, labels)
    clean = images.repeat(noise_multiplicity, 1, 1, 1)
    sigma = law.sample(len(clean), generator=generator)
    noise = torch.randn(clean.shape, generator=generator, device=device)
    noisy = clean + sigma[:, None, None, None] * noise
    return clean, noisy, sigma, shown.repeat(noise_multiplicity)


def row_loss(precond: Parameterisation) -> RowLoss:
    """Return the loss of each row under a parameterisation.

    Row i of the result depends on row i alone, and nothing branches on values, so the
    function works under `torch.func.vmap` and `functional_call`.

    Args:
        precond: Gives the denoiser and the weight of each sigma.

    Returns:
        A function of `(network, rows)`; rows as from `draw_rows`, result of shape
        (rows,): weight(sigma) times the mean squared error over pixels.

    Source:
        Karras et al. 2022, arXiv:2206.00364, equation 8; the mean over pixels as in
        Dockhorn et al. 2023.

    Example:
        >>> from diffusion.network import build, preset
        >>> from diffusion.precond import Edm
        >>> images = torch.ones(2, 1, 8, 8)
        >>> rows = (images, images, torch.ones(2), torch.tensor([0, 1]))
        >>> row_loss(Edm(sigma_data=0.5))(build(preset(1, 8, 8, 10), seed=0), rows)
        tensor([3.2000, 3.2000], grad_fn=<MeanBackward1>)
    """

    def losses(network: nn.Module, rows: Rows) -> Float[Tensor, " rows"]:
        clean, noisy, sigma, labels = rows
        error = denoise(network, precond, noisy, sigma, labels) - clean
        weight = precond.weight(sigma)[:, None, None, None]
        return (weight * error.square()).mean(dim=(1, 2, 3))

    return losses
