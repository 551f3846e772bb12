"""The query behind the Gaussian prior: one clipped sum over the records.

Everything a class-conditional Gaussian needs is asked at once:

    query = concat( sqrt(w1) class sums of u,       u = (x - centre) / R, ||u|| <= 1
                    sqrt(w2) class counts,          w1 + w2 + w3 = 1
                    sqrt(w3) sum of second moments of u )

One record changes it by sqrt(w1 |u|^2 + w2 + w3 |u|^4) <= 1 in L2, so with noise it is
one Gaussian event, whose multiplier is the noise itself. Class counts are part of the
vector: a realised count is private, and dividing by it would need noise made for it.

Second moments are all of u u^T for small images. The full matrix of larger ones would
drown in its own noise, so there it is all of them among the lowest frequencies of the
cosine basis, where nearly all variance is, and the diagonal for the rest:

    coordinates(u) = (lowest frequencies, the rest)
    moments        = (upper triangle of low low^T, rest^2)     norm <= |u|^2

Units: images in [-1, 1]; the query has none.
Source: the Gaussian mechanism on a vector of L2 sensitivity 1, Dwork & Roth 2014,
theorem A.1; Ahmed, Natarajan & Rao 1974 for the cosine basis.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from privplan import checks
from privplan.errors import DataError, ParameterError

_FULL_COVARIANCE_VALUES = 256
_LOWEST_FREQUENCIES = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryConfig:
    """What is asked, and with which noise; every field is public.

    Attributes:
        channels: Colour channels of an image.
        height: Rows of an image, in pixels.
        width: Columns of an image, in pixels.
        classes: Number of classes.
        noise_multiplier: Noise standard deviation over the sensitivity, which is 1.
        centre: Grey value images are measured from, a public guess in [-1, 1].
        radius: R over the square root of the number of values: root mean square
            distance from the centre, beyond which an image is pulled in. Images in
            [-1, 1] never lie beyond 1 + |centre|.
        shares: (w1, w2, w3), shares of the squared sensitivity; they add up to 1.

    Raises:
        ParameterError: A value is out of range.
    """

    channels: int
    height: int
    width: int
    classes: int
    noise_multiplier: float
    centre: float = 0.0
    radius: float = 1.0
    shares: tuple[float, float, float] = (0.5, 0.05, 0.45)

    def __post_init__(self) -> None:
        checks.count(
            channels=self.channels,
            height=self.height,
            width=self.width,
            classes=self.classes,
        )
        checks.positive(noise_multiplier=self.noise_multiplier, radius=self.radius)
        if not -1 <= self.centre <= 1:
            raise ParameterError(
                f"centre is {self.centre!r}, but it must be between -1 and 1",
                hint="give centre a grey value such as 0.0",
            )
        for share in self.shares:
            checks.positive(share=share)
        if not math.isclose(sum(self.shares), 1.0, abs_tol=1e-9):
            raise ParameterError(
                f"the shares {self.shares} do not add up to 1",
                hint="give shares such as (0.5, 0.05, 0.45)",
            )

    @property
    def size(self) -> int:
        """Number of values in an image, d."""
        return self.channels * self.height * self.width

    @property
    def full_covariance(self) -> bool:
        """Whether all second moments are asked for, between pixels."""
        return self.size <= _FULL_COVARIANCE_VALUES

    @property
    def correlated(self) -> int:
        """Number of coordinates between which all second moments are asked for."""
        return self.size if self.full_covariance else int(_lowest(self).sum())

    @property
    def parts(self) -> tuple[int, int, int]:
        """Lengths of the three parts of the query."""
        d, m = self.size, self.correlated
        return self.classes * d, self.classes, m * (m + 1) // 2 + d - m


def query(
    images: Float[Tensor, "records channels height width"],
    labels: Int64[Tensor, " records"],
    config: QueryConfig,
) -> Float64[Tensor, " length"]:
    """Sum what the prior needs over the records, clipped, without noise.

    The result is private. It becomes public only through a Gaussian mechanism with
    noise `config.noise_multiplier` on every entry.

    A record with a value that is not finite, or with a label that does not exist,
    counts as zero and does not raise: an exception that one record can trigger is a
    release nobody accounted for.

    Args:
        images: Clean images; zero records are allowed.
        labels: Their classes.
        config: What is asked.

    Returns:
        The sum. Its L2 sensitivity is 1 under add-or-remove-one and zero-out
        adjacency, 2 under replace-one, up to float64 rounding.

    Raises:
        DataError: The images do not have the declared shape.

    Example:
        >>> config = QueryConfig(
        ...     channels=1, height=1, width=1, classes=2, noise_multiplier=1.0,
        ...     shares=(0.25, 0.25, 0.5),
        ... )
        >>> query(torch.full((3, 1, 1, 1), 1.0), torch.tensor([0, 0, 1]), config)
        tensor([1.0000, 0.5000, 1.0000, 0.5000, 2.1213], dtype=torch.float64)
    """
    if images.shape[1:] != (config.channels, config.height, config.width):
        raise DataError(
            "the images do not have the shape the query declares",
            hint="plan again with the height, width and channels of these images",
        )
    u = (images.double().flatten(1) - config.centre) / radius_of(config)
    known = u.isfinite().all(dim=1) & (labels >= 0) & (labels < config.classes)
    u = torch.where(known[:, None], u, torch.zeros_like(u))
    u = u / torch.linalg.vector_norm(u, dim=1, keepdim=True).clamp(min=1.0)
    member = labels[:, None] == torch.arange(config.classes, device=labels.device)
    member = (member & known[:, None]).double()
    low, rest = coordinates(u, config).tensor_split([config.correlated], dim=1)
    moments = torch.cat([_triangle(low.T @ low), rest.square().sum(dim=0)])
    w1, w2, w3 = config.shares
    sums, counts = (member.T @ u).flatten(), member.sum(dim=0)
    return torch.cat(
        [math.sqrt(w1) * sums, math.sqrt(w2) * counts, math.sqrt(w3) * moments]
    )


def radius_of(config: QueryConfig) -> float:
    """Return R, in data units."""
    return config.radius * math.sqrt(config.size)


def _triangle(matrix: Float64[Tensor, "size size"]) -> Float64[Tensor, " entries"]:
    """Flatten a symmetric matrix so that its L2 norm stays: off-diagonals x sqrt 2."""
    size = len(matrix)
    row, column = torch.triu_indices(size, size, device=matrix.device)
    entries = matrix[row, column]
    return torch.where(row == column, entries, math.sqrt(2) * entries)


def coordinates(
    flat: Float[Tensor, "rows size"], config: QueryConfig, *, back: bool = False
) -> Float[Tensor, "rows size"]:
    """Turn images into the coordinates of their second moments, or back; orthonormal.

    Pixels as they are where all second moments are asked for; else cosine coefficients,
    the lowest frequencies first.
    """
    if config.full_covariance:
        return flat
    order = torch.argsort(~_lowest(config), stable=True).to(flat.device)
    if back:
        return cosine(flat[:, torch.argsort(order)], config, back=True)
    return cosine(flat, config)[:, order]


def _lowest(config: QueryConfig) -> Bool[Tensor, " size"]:
    """Mark the lowest frequencies along rows and columns, of every channel."""
    side = max(math.isqrt(_LOWEST_FREQUENCIES // config.channels), 1)
    low = torch.zeros(config.channels, config.height, config.width, dtype=torch.bool)
    low[:, :side, :side] = True
    return low.flatten()


def cosine(
    flat: Float[Tensor, "rows size"], config: QueryConfig, *, back: bool = False
) -> Float[Tensor, "rows size"]:
    """Turn images into orthonormal cosine coefficients over all axes, or back."""
    shape = (config.channels, config.height, config.width)
    c, h, w = (_cosine_matrix(n, flat) for n in shape)
    if back:
        c, h, w = c.T, h.T, w.T
    images = flat.reshape(-1, *shape)
    return torch.einsum("ia,jb,kc,nabc->nijk", c, h, w, images).reshape(flat.shape)


def _cosine_matrix(size: int, like: Tensor) -> Float[Tensor, "size size"]:
    """The DCT-II, orthonormal; Ahmed, Natarajan & Rao 1974."""
    n = torch.arange(size, dtype=torch.float64, device=like.device)
    matrix = torch.cos(math.pi / size * (n + 0.5) * n[:, None])
    matrix = matrix * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return matrix.to(like.dtype)
