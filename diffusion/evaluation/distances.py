"""Distances between two sets of images, taken over features.

    Frechet    how far apart two Gaussians fitted to the sets are
    kernel     squared maximum mean discrepancy; unbiased, so it may be below zero
    precision  share of samples that lie where real images lie
    recall     share of real images that lie where samples lie

A value means something beside another value on the same features and sizes of sets.

Units: features have none of their own; arithmetic is float64.
Source: Heusel et al. 2017, arXiv:1706.08500; Binkowski et al. 2018, arXiv:1801.01401;
Kynkaanniemi et al. 2019, arXiv:1904.06991.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64
from scipy.linalg import eigh, eigvalsh

from privplan import checks
from privplan.errors import DataError

_ROWS_AT_ONCE = 1024

Features = Float64[np.ndarray, "_ _"]


def frechet_distance(a: Features, b: Features) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Args:
        a: Features of at least two images.
        b: Features of at least two images.

    Raises:
        DataError: Too few rows, another number of features, or one not finite.

    Source:
        Heusel et al. 2017, equation 6.

    Example:
        >>> points = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
        >>> round(frechet_distance(points, points + 3.0), 6)
        18.0
    """
    _check(a, b, least=2)
    ca = np.atleast_2d(np.cov(a, rowvar=False))
    cb = np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = eigh(ca)
    half = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    # tr (C_a C_b)^(1/2) = tr (C_a^(1/2) C_b C_a^(1/2))^(1/2), and that one is symmetric
    joint = eigvalsh(half @ cb @ half)
    shift = a.mean(axis=0) - b.mean(axis=0)
    spread = np.trace(ca + cb)
    return float(shift @ shift + spread - 2 * np.sqrt(np.maximum(joint, 0.0)).sum())


def kernel_distance(a: Features, b: Features) -> float:
    """Return the unbiased squared MMD under the kernel (x . y / d + 1)^3.

    Over all pairs at once, not over random subsets, so that the same two sets always
    give the same value.

    Args:
        a: Features of at least two images.
        b: Features of at least two images.

    Raises:
        DataError: Too few rows, another number of features, or one not finite.

    Source:
        Binkowski et al. 2018, section 4; Gretton et al. 2012, equation 3.

    Example:
        >>> a = np.array([[1.0], [-1.0]])
        >>> round(kernel_distance(a, a + 1.0), 6)
        -13.0
    """
    _check(a, b, least=2)
    within = [
        (_kernel_sum(x, x) - _diagonal(x).sum()) / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    return float(sum(within) - 2 * _kernel_sum(a, b) / (len(a) * len(b)))


def precision_recall(
    generated: Features, real: Features, *, neighbours: int = 3
) -> tuple[float, float]:
    """Return how many samples look real, and how much of what is real is covered.

    A set is thought to reach as far around each of its points as that point's k-th
    neighbour. Precision is the share of samples inside the reach of the real set,
    recall the share of real images inside the reach of the samples.

    Args:
        generated: Features of samples; more than `neighbours` rows.
        real: Features of real images; more than `neighbours` rows.
        neighbours: k.

    Raises:
        DataError: Too few rows, another number of features, or one not finite.

    Source:
        Kynkaanniemi et al. 2019, equations 1 to 3 and k = 3.

    Example:
        >>> line = np.arange(10.0)[:, None]
        >>> precision_recall(line[:5], line)
        (1.0, 0.8)
    """
    checks.count(neighbours=neighbours)
    _check(generated, real, least=neighbours + 1)
    return (
        _inside(generated, real, neighbours),
        _inside(real, generated, neighbours),
    )


def squared_distances(a: Features, b: Features) -> Iterator[Features]:
    """Yield squared Euclidean distances of some rows of `a` to all of `b`, in order.

    Exact where features are whole numbers, such as bytes of pixels.

    Example:
        >>> next(squared_distances(np.array([[3.0, 4.0]]), np.zeros((2, 2)))).tolist()
        [[25.0, 25.0]]
    """
    lengths = np.square(b).sum(axis=1)
    for start in range(0, len(a), _ROWS_AT_ONCE):
        part = a[start : start + _ROWS_AT_ONCE]
        found = np.square(part).sum(axis=1)[:, None] + lengths - 2 * (part @ b.T)
        yield np.maximum(found, 0.0)


def _inside(points: Features, others: Features, neighbours: int) -> float:
    # a point is its own nearest neighbour, so the k-th other one is at position k
    reach = np.concatenate(
        [
            np.partition(found, neighbours, axis=1)[:, neighbours]
            for found in squared_distances(others, others)
        ]
    )
    inside = [
        (found <= reach).any(axis=1) for found in squared_distances(points, others)
    ]
    return float(np.concatenate(inside).mean())


def _kernel_sum(a: Features, b: Features) -> float:
    parts = (
        a[start : start + _ROWS_AT_ONCE] for start in range(0, len(a), _ROWS_AT_ONCE)
    )
    return float(sum((((p @ b.T) / a.shape[1] + 1) ** 3).sum() for p in parts))


def _diagonal(a: Features) -> Float64[np.ndarray, " rows"]:
    found: Float64[np.ndarray, " rows"] = (
        np.square(a).sum(axis=1) / a.shape[1] + 1
    ) ** 3
    return found


def _check(a: Features, b: Features, *, least: int) -> None:
    if a.shape[1] != b.shape[1]:
        raise DataError(
            f"features of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared",
            hint="turn both sets of images into features in the same way",
        )
    if min(len(a), len(b)) < least:
        raise DataError(
            f"a distance needs at least {least} images on either side",
            hint="draw more samples, or give more held-out images",
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError(
            "a feature is not a finite number",
            hint="check the file the features come from",
        )
