"""Each distance against a second route to the same number."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from diffusion.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    precision_recall,
    squared_distances,
)
from privplan.errors import DataError, ParameterError


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(60, 6))
    b = rng.normal(size=(45, 6)) @ rng.normal(size=(6, 6)) + 0.5
    return a, b


def test_the_frechet_distance_is_that_of_the_formula(sets):
    """Against scipy's matrix root, on features with a full-rank covariance."""
    a, b = sets
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    by_formula = shift @ shift + np.trace(ca + cb - 2 * np.real(sqrtm(ca @ cb)))
    assert frechet_distance(a, b) == pytest.approx(by_formula, rel=1e-9)


def test_the_frechet_distance_of_two_spreads_has_a_closed_form():
    """|m|^2 + sum (s_i - t_i)^2 for diagonal covariances, here made exact."""
    corners = np.array([[x, y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    whitened = corners * math.sqrt(3 / 4)  # covariance exactly the identity
    a, b = whitened * [1.0, 2.0], whitened * [4.0, 0.5] + [3.0, -1.0]
    expected = 9 + 1 + (1 - 4) ** 2 + (2 - 0.5) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_the_frechet_distance_of_a_set_to_itself_is_zero():
    """Also where the covariance has no inverse, as with fewer images than features."""
    a = np.random.default_rng(1).normal(size=(50, 4))
    flat = np.hstack([a, np.zeros((50, 3))])
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(flat[:3], flat[:3]) == pytest.approx(0, abs=1e-7)


def test_the_frechet_distance_with_one_feature_is_that_of_two_normals():
    a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [11.0]])
    means, spreads = (1 - 8) ** 2, (math.sqrt(2) - math.sqrt(18)) ** 2
    assert frechet_distance(a, b) == pytest.approx(means + spreads, rel=1e-12)


def by_two_loops(a, b):
    def kernel(x, y):
        return (sum(x * y) / len(x) + 1) ** 3

    def within(x):
        pairs = [
            kernel(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if i - j
        ]
        return sum(pairs) / len(pairs)

    across = [kernel(p, q) for p in a for q in b]
    return within(a) + within(b) - 2 * sum(across) / len(across)


def test_the_kernel_distance_is_that_of_two_loops_over_all_pairs(sets):
    """Counting an image with itself would make it too small, for ever."""
    a, b = sets
    assert kernel_distance(a, b) == pytest.approx(by_two_loops(a, b), rel=1e-10)
    assert kernel_distance(a[:2], b[:3]) == pytest.approx(
        by_two_loops(a[:2], b[:3]), rel=1e-10
    )


def test_the_kernel_distance_of_two_halves_of_one_set_lies_around_zero():
    """Unbiased: over many splits its mean is zero, and it goes below."""
    rng = np.random.default_rng(3)
    found = [
        kernel_distance(both[:20], both[20:])
        for both in (rng.normal(size=(40, 5)) for _ in range(200))
    ]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    assert min(found) < 0 < max(found)


def test_the_kernel_distance_does_not_depend_on_how_rows_are_cut(sets, monkeypatch):
    from diffusion.evaluation import distances

    a, b = sets
    whole, both = kernel_distance(a, b), precision_recall(a, b)
    monkeypatch.setattr(distances, "_ROWS_AT_ONCE", 7)
    assert kernel_distance(a, b) == pytest.approx(whole, rel=1e-12)
    assert precision_recall(a, b) == both


def by_brute_force(points, others, k):
    inside = 0
    for point in points:
        for other in others:
            away = sorted(np.linalg.norm(other - x) for x in others)
            if np.linalg.norm(point - other) <= away[k]:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_those_of_brute_force(sets, k):
    a, b = sets[0][:30], sets[1][:25]
    assert precision_recall(a, b, neighbours=k) == (
        by_brute_force(a, b, k),
        by_brute_force(b, a, k),
    )


def test_a_generator_of_one_mode_is_precise_and_forgets_the_other():
    """The two are not the same number under two names."""
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 50
    real = np.vstack([one, other])
    precision, recall = precision_recall(rng.normal(size=(200, 2)), real)
    assert precision > 0.9
    assert 0.4 < recall < 0.55


def test_distances_of_bytes_are_exact():
    """A copy must be at distance zero, not at rounding."""
    rng = np.random.default_rng(6)
    a = rng.integers(0, 256, size=(5, 784)).astype(np.float64)
    (found,) = squared_distances(a, a)
    assert (np.diag(found) == 0).all()
    assert found[0, 1] == ((a[0] - a[1]) ** 2).sum()


@pytest.mark.parametrize(
    "measure", [frechet_distance, kernel_distance, precision_recall]
)
@pytest.mark.parametrize("bad", ["width", "few", "nan"])
def test_features_that_cannot_be_compared_are_refused(sets, measure, bad):
    a, b = sets
    other = {"width": b[:, :5], "few": b[:1], "nan": np.where(b == b[0, 0], np.nan, b)}
    with pytest.raises(DataError):
        measure(a, other[bad])


def test_a_number_of_neighbours_must_be_a_count(sets):
    with pytest.raises(ParameterError):
        precision_recall(*sets, neighbours=0)
