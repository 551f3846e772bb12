"""The Gaussian prior: one private query that already denoises.

At large sigma only the mean and covariance of the images matter, and for a Gaussian
the best denoiser is known in closed form (Wiener's). So instead of thousands of noisy
gradient steps a stage can be one noisy sum over the records. Everything after the
noise is post-processing:

    gaussian_query.query -> (noise, elsewhere) -> fit -> GaussianPrior.denoise = G
        -> PriorDenoiser: D(x, sigma) = G + c_out(sigma) F([c_in(sigma) x, G])

Units: images and sigma in data units, images in [-1, 1].
Source: Wiener's filter; Karras et al. 2022, arXiv:2206.00364, equation 7, for D;
Gavish & Donoho 2017, arXiv:1405.7511, for the shrinkage of noisy spectra.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from diffusion.gaussian_query import QueryConfig, coordinates, radius_of
from diffusion.loss import RowLoss, Rows
from privplan.errors import DataError

_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianPrior:
    """Class means and one covariance within the classes, as a denoiser.

    Attributes:
        config: The query it came from.
        means: Mean image of each class and, last, of all; in data units.
        variances: Variances within a class and, second, of all; along the basis, then
            along the coordinates it does not turn; in squared data units.
        basis: Orthonormal directions as columns, among the correlated coordinates.
    """

    config: QueryConfig
    means: Float[Tensor, "classes_and_null size"]
    variances: Float[Tensor, "2 size"]
    basis: Float[Tensor, "correlated correlated"]

    def denoise(
        self,
        x: Float[Tensor, "rows channels height width"],
        sigma: Float[Tensor, " rows"],
        labels: Int64[Tensor, " rows"],
    ) -> Float[Tensor, "rows channels height width"]:
        """Return E[clean | x] if images were Gaussian within each class.

        mean + Q diag(v / (v + sigma^2)) Q^T (x - mean), with the mean and v of the
        label; for "no class" those of all images.

        Args:
            x: Noisy images, in data units.
            sigma: Noise level of each, in data units.
            labels: Classes; `classes` means "no class".
        """
        mean = self.means[labels]
        v = self.variances[(labels == self.config.classes).long()]
        gain = v / (v + sigma.square()[:, None])
        away = turned(coordinates(x.flatten(1) - mean, self.config), self.basis)
        kept = coordinates(turned(gain * away, self.basis.T), self.config, back=True)
        return (mean + kept).reshape(x.shape)

    def residual_std(self, sigma: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return the error the prior expects of itself: RMS per value, in data units.

        sqrt(mean of v sigma^2 / (v + sigma^2)): what is left for a network to learn.
        """
        v, noise = self.variances[0], sigma.square()[:, None]
        return (v * noise / (v + noise)).mean(dim=1).sqrt()

    def to(self, device: torch.device | str) -> "GaussianPrior":
        """Return the same prior on another device."""
        return GaussianPrior(
            config=self.config,
            means=self.means.to(device),
            variances=self.variances.to(device),
            basis=self.basis.to(device),
        )


def fit(noisy: Float64[Tensor, " length"], config: QueryConfig) -> GaussianPrior:
    """Turn a noisy query into a prior; post-processing, costs no privacy.

    Class means are shrunk towards the mean of all by as much as their noise warrants
    (James-Stein); eigenvalues inside the spectrum of the noise are replaced by the
    average variance that is left; variances asked for one by one are at least half
    their noise.

    Args:
        noisy: The query plus Gaussian noise of `config.noise_multiplier`.
        config: As for the query.

    Returns:
        The prior, float32, finite whatever the noise did.

    Raises:
        DataError: The vector does not have the length of this query.

    Source:
        James & Stein 1961, positive part; Gavish & Donoho 2017, arXiv:1405.7511.
    """
    if len(noisy) != sum(config.parts):
        raise DataError(
            f"a vector of {len(noisy)} is no answer to a query of {sum(config.parts)}",
            hint="fit with the configuration the query was made with",
        )
    w1, w2, w3 = (math.sqrt(share) for share in config.shares)
    sums, counts, moments = torch.split(noisy, list(config.parts))
    sums, moments = sums.reshape(config.classes, -1) / w1, moments / w3
    least = max(1.0, 2 * config.noise_multiplier / w2)
    counts = (counts / w2).clamp(min=least)
    total = counts.sum()
    means, mean = _shrunk_means(sums, counts, config.noise_multiplier / w1)
    share = counts / total
    noise = config.noise_multiplier / w3 / total.item()
    centres = coordinates(means, config) * share.sqrt()[:, None]
    variance, basis = _within(moments / total, centres, config.correlated, noise)
    between = turned(coordinates(means - mean, config), basis).square()
    radius = radius_of(config)
    variance = (radius**2 * variance).clamp(min=_LEAST_VARIANCE)
    overall = variance + radius**2 * (between * share[:, None]).sum(dim=0)
    return GaussianPrior(
        config=config,
        means=(radius * torch.vstack([means, mean]) + config.centre).float(),
        variances=torch.stack([variance, overall]).float(),
        basis=basis.float(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorDenoiser:
    """A network that corrects a Gaussian prior: D = G + c_out F([c_in x, G]).

    With a network whose output starts at zero, training starts at the prior's own
    images instead of at noise.

    Attributes:
        network: Takes images with twice the channels: the scaled noisy image and the
            prior's estimate (`NetworkConfig.guide_channels` equal to `channels`).
        prior: The prior; public, because its query was noised.
    """

    network: nn.Module
    prior: GaussianPrior

    def __call__(
        self,
        x: Float[Tensor, "rows channels height width"],
        sigma: Float[Tensor, " rows"],
        labels: Int64[Tensor, " rows"],
    ) -> Float[Tensor, "rows channels height width"]:
        """Estimate the clean images inside noisy ones.

        c_in = 1 / sqrt(sigma^2 + 1), c_noise = ln(sigma) / 4 as in EDM, and c_out is
        the prior's own expected error.
        """
        guess = self.prior.denoise(x, sigma, labels)
        c_in = torch.rsqrt(sigma.square() + 1)[:, None, None, None]
        c_out = self.prior.residual_std(sigma)[:, None, None, None]
        shown = torch.cat([c_in * x, guess], dim=1)
        out: Tensor = guess + c_out * self.network(shown, sigma.log() / 4, labels)
        return out


def prior_row_loss(prior: GaussianPrior) -> RowLoss:
    """Return the loss of each row for a network that corrects a prior.

    Args:
        prior: The prior of the images the rows come from.

    Returns:
        A function of `(network, rows)`, rows as from `diffusion.loss.draw_rows`: the
        mean squared error over pixels in units of c_out, one number per row.

    Source:
        Karras et al. 2022, arXiv:2206.00364, equation 8 with weight 1/c_out^2.
    """

    def losses(network: nn.Module, rows: Rows) -> Float[Tensor, " rows"]:
        clean, noisy, sigma, labels = rows
        denoise = PriorDenoiser(network=network, prior=prior)
        error = (denoise(noisy, sigma, labels) - clean).square().mean(dim=(1, 2, 3))
        return error / prior.residual_std(sigma).square()

    return losses


def _shrunk_means(
    sums: Float64[Tensor, "classes size"],
    counts: Float64[Tensor, " classes"],
    noise_std: float,
) -> tuple[Float64[Tensor, "classes size"], Float64[Tensor, " size"]]:
    mean = sums.sum(dim=0) / counts.sum()
    away = sums / counts[:, None] - mean
    noise = sums.shape[1] * (noise_std / counts).square()
    length = away.square().sum(dim=1).clamp(min=1e-12)
    return mean + away * (1 - noise / length).clamp(min=0.0)[:, None], mean


def _within(
    moments: Float64[Tensor, " entries"],
    centres: Float64[Tensor, "classes size"],
    correlated: int,
    noise_std: float,
) -> tuple[Float64[Tensor, " size"], Float64[Tensor, "correlated correlated"]]:
    """Take the class means out of the second moments, and the noise off the rest.

    Centres are class means times the root of their share.
    """
    triangle = correlated * (correlated + 1) // 2
    joint, alone = moments[:triangle], moments[triangle:]
    low, rest = centres[:, :correlated], centres[:, correlated:]
    kept, basis = _clean_spectrum(
        _from_triangle(joint, correlated) - low.T @ low, noise_std
    )
    single = (alone - rest.square().sum(dim=0)).clamp(min=noise_std / 2)
    return torch.cat([kept, single]), basis


def turned(
    coordinates: Float[Tensor, "rows size"],
    basis: Float[Tensor, "correlated correlated"],
) -> Float[Tensor, "rows size"]:
    """Turn the first coordinates into a basis; the others stay."""
    low, rest = coordinates.tensor_split([len(basis)], dim=1)
    return torch.cat([low @ basis, rest], dim=1)


def _clean_spectrum(
    within: Float64[Tensor, "size size"], noise_std: float
) -> tuple[Float64[Tensor, " size"], Float64[Tensor, "size size"]]:
    """Shrink a covariance seen through symmetric noise.

    Entries off the diagonal carry noise of std s = noise_std / sqrt(2), whose own
    spectrum fills [-2 s sqrt(d), 2 s sqrt(d)]. A value l above that edge becomes
    sqrt(l^2 - edge^2); the trace that is left is spread over all other directions.
    """
    values, basis = torch.linalg.eigh(within)
    size = len(values)
    edge = 2 * noise_std / math.sqrt(2) * math.sqrt(size)
    kept = torch.where(
        values > edge, (values.square() - edge**2).clamp(min=0.0).sqrt(), 0.0
    )
    others = int((kept == 0).sum())
    left = (values.sum() - kept.sum()).clamp(min=0.0) / max(others, 1)
    return torch.maximum(kept, torch.minimum(left, values.new_tensor(edge))), basis


def _from_triangle(
    entries: Float64[Tensor, " entries"], size: int
) -> Float64[Tensor, "size size"]:
    row, column = torch.triu_indices(size, size, device=entries.device)
    upper = entries.new_zeros(size, size)
    upper[row, column] = torch.where(row == column, entries / 2, entries / math.sqrt(2))
    return upper + upper.T
