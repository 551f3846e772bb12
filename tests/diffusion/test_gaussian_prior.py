"""The Gaussian prior: sensitivity under attack, and the closed form it must meet."""

import numpy as np
import pytest
import torch
from scipy import fft

from diffusion.gaussian_prior import (
    PriorDenoiser,
    fit,
    prior_row_loss,
)
from diffusion.gaussian_query import QueryConfig, coordinates, cosine, query
from diffusion.loss import draw_rows
from diffusion.network import NetworkConfig, build
from diffusion.noise_levels import LogNormal
from diffusion.sampler import SamplerConfig, sample
from privplan.errors import DataError, ParameterError


def _config(side=4, channels=1, *, classes=3, noise=1e-6, **fields):
    return QueryConfig(
        channels=channels,
        height=side,
        width=side,
        classes=classes,
        noise_multiplier=noise,
        **fields,
    )


SMALL, LARGE = _config(), _config(side=10, channels=3)
both = pytest.mark.parametrize("config", [SMALL, LARGE], ids=["full", "cosine"])


def _shape(config):
    return (config.channels, config.height, config.width)


def _images(config, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(count, *_shape(config), generator=generator) - 1


def _worst(config):
    """Images made to move the query as far as they can."""
    one = torch.zeros(1, *_shape(config))
    one[..., 0, 0] = 1e6
    return torch.cat(
        [
            torch.ones(1, *_shape(config)),
            -torch.ones(1, *_shape(config)),
            1e30 * torch.ones(1, *_shape(config)),
            one,
            _images(config, 3) * 5,
            torch.zeros(1, *_shape(config)),
        ]
    )


@both
@pytest.mark.parametrize(
    "shares", [(0.5, 0.05, 0.45), (0.98, 0.01, 0.01), (0.01, 0.01, 0.98)], ids=str
)
def test_no_record_moves_the_query_by_more_than_one(config, shares):
    """The noise is made for a sensitivity of 1; one adversarial image above it breaks
    the guarantee of the whole release."""
    asked = _config(
        side=config.height,
        channels=config.channels,
        shares=shares,
        centre=-0.4,
        radius=0.75,
    )
    base, labels = _images(asked, 5), torch.tensor([0, 1, 2, 0, 1])
    before, moved = query(base, labels, asked), []
    for image in _worst(asked):
        after = query(
            torch.cat([base, image[None]]),
            torch.cat([labels, torch.tensor([2])]),
            asked,
        )
        moved.append(torch.linalg.vector_norm(after - before).item())
    # float64 sums of a few hundred terms
    assert max(moved) <= 1 + 1e-9
    assert max(moved) >= 1 - 1e-6, "the bound is not reached, so noise is wasted"


@both
@pytest.mark.parametrize(
    ("value", "label"),
    [(float("nan"), 0), (float("inf"), 1), (0.5, -1), (0.5, 3), (0.5, 10**12)],
)
def test_a_broken_record_counts_as_nothing_and_raises_nothing(config, value, label):
    """An exception that one record can trigger is a release nobody accounted for."""
    base, labels = _images(config, 3), torch.tensor([0, 1, 2])
    broken = torch.zeros(1, *_shape(config))
    broken[0, 0, 0, 0] = value
    after = query(
        torch.cat([base, broken]), torch.cat([labels, torch.tensor([label])]), config
    )
    # the products run in another order for another number of records
    torch.testing.assert_close(after, query(base, labels, config), rtol=0, atol=1e-12)


@both
def test_no_records_give_zeros_and_a_sum_is_a_sum(config):
    """A mean would divide by a private count."""
    none = query(torch.zeros(0, *_shape(config)), torch.zeros(0).long(), config)
    assert not none.any()
    images, labels = _images(config, 6), torch.arange(6) % 3
    parts = query(images[:2], labels[:2], config) + query(
        images[2:], labels[2:], config
    )
    torch.testing.assert_close(parts, query(images, labels, config))


def test_the_cosine_basis_is_scipys_and_undoes_itself():
    flat = _images(LARGE, 2).flatten(1).double()
    found = cosine(flat, LARGE)
    truth = fft.dctn(
        flat.reshape(2, *_shape(LARGE)).numpy(), axes=(1, 2, 3), norm="ortho"
    )
    np.testing.assert_allclose(found.numpy(), truth.reshape(2, -1), atol=1e-12)
    torch.testing.assert_close(cosine(found, LARGE, back=True), flat)


@both
def test_the_coordinates_keep_lengths_and_undo_themselves(config):
    """Else the radius would not bound what a record can move."""
    flat = _images(config, 2).flatten(1).double()
    found = coordinates(flat, config)
    torch.testing.assert_close(found.norm(dim=1), flat.norm(dim=1))
    torch.testing.assert_close(coordinates(found, config, back=True), flat)
    low = found[:, : config.correlated]
    smooth = torch.ones(1, config.size, dtype=torch.float64)
    kept = coordinates(smooth, config)[:, : low.shape[1]]
    torch.testing.assert_close(kept.norm(), smooth.norm())


def test_a_large_image_keeps_how_its_low_frequencies_vary_together():
    """With a diagonal alone, strokes that move as one would come out as a spectrum."""
    asked = _config(side=20, radius=2.0)
    generator = torch.Generator().manual_seed(2)
    rows = torch.linspace(-1, 1, 20)
    shape = torch.outer(torch.exp(-8 * rows.square()), torch.exp(-3 * rows.square()))
    amount = 0.4 * torch.randn(4000, 1, 1, 1, generator=generator)
    fine = 0.05 * torch.randn(4000, 1, 20, 20, generator=generator)
    labels = torch.arange(4000) % 3
    prior = fit(query(amount * shape + fine, labels, asked), asked)
    noisy = shape.expand(1, 1, 20, 20) + 0.3 * torch.randn(
        1, 1, 20, 20, generator=generator
    )
    # the textbook formula with the covariance the images were made from
    truth = 0.05**2 * torch.eye(400) + 0.4**2 * torch.outer(
        shape.flatten(), shape.flatten()
    )
    gain = truth @ torch.linalg.inv(truth + 0.3**2 * torch.eye(400))
    found = prior.denoise(noisy, torch.tensor([0.3]), torch.tensor([0]))
    error = (found.flatten() - gain @ noisy.flatten()).norm()
    # the shape's little energy above the kept frequencies, and 4000 records
    assert error < 0.1 * (gain @ noisy.flatten()).norm()
    alone = (noisy.flatten() * 0.05**2 / (0.05**2 + 0.3**2)).norm()
    assert error < 0.5 * alone


def _blobs(count=6000, seed=3):
    """Three classes of Gaussian images; covariance of rank 2 plus a floor."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    means = 0.3 * torch.randn(3, 16, generator=generator)
    factor = 0.2 * torch.randn(2, 16, generator=generator)
    x = means[labels] + torch.randn(count, 2, generator=generator) @ factor
    x = x + 0.05 * torch.randn(count, 16, generator=generator)
    covariance = factor.T @ factor + 0.05**2 * torch.eye(16)
    return x.reshape(-1, 1, 4, 4), labels, means, covariance


def test_without_noise_the_fit_is_the_class_means_and_the_pooled_covariance():
    """Two routes to the same moments: through the query, and by plain averages."""
    x, labels, _, _ = _blobs()
    asked = _config(radius=2.0)
    prior = fit(query(x, labels, asked), asked)
    flat = x.flatten(1)
    for label in range(3):
        mean = flat[labels == label].mean(0)
        torch.testing.assert_close(prior.means[label], mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(prior.means[3], flat.mean(0), atol=1e-4, rtol=0)
    away = flat - torch.stack([flat[labels == i].mean(0) for i in range(3)])[labels]
    pooled = away.T @ away / len(x)
    basis, (within, overall) = prior.basis, prior.variances
    torch.testing.assert_close(
        basis @ torch.diag(within) @ basis.T, pooled, atol=2e-4, rtol=0
    )
    # the variance of all images along each direction, class differences included
    spread = ((flat - flat.mean(0)) @ basis).square().mean(0)
    torch.testing.assert_close(overall, spread, atol=2e-4, rtol=0)


def test_the_denoiser_is_the_conditional_mean_of_a_gaussian():
    """Against the textbook formula, solved with a dense matrix."""
    x, labels, _, _ = _blobs()
    asked = _config(radius=2.0)
    prior = fit(query(x, labels, asked), asked)
    covariance = prior.basis @ torch.diag(prior.variances[0]) @ prior.basis.T
    noisy, sigma = torch.randn(3, 1, 4, 4), torch.tensor([0.05, 0.5, 5.0])
    found = prior.denoise(noisy, sigma, torch.tensor([0, 1, 2]))
    for i in range(3):
        total = covariance + sigma[i] ** 2 * torch.eye(16)
        away = noisy[i].flatten() - prior.means[i]
        truth = prior.means[i] + covariance @ torch.linalg.solve(total, away)
        # float32 solve
        torch.testing.assert_close(found[i].flatten(), truth, atol=1e-4, rtol=1e-4)


@both
def test_at_no_noise_the_image_stays_and_at_much_noise_the_mean_is_left(config):
    x, labels = _images(config, 300), torch.arange(300) % 3
    prior = fit(query(x, labels, config), config)
    level = torch.full((3,), 1e-5)
    # float32 through two changes of basis
    torch.testing.assert_close(
        prior.denoise(x[:3], level, labels[:3]), x[:3], atol=2e-4, rtol=0
    )
    far = prior.denoise(x[:3], torch.full((3,), 1e5), labels[:3]).flatten(1)
    torch.testing.assert_close(far, prior.means[labels[:3]], atol=1e-3, rtol=0)


def test_samples_from_the_prior_have_its_mean_and_covariance():
    """A closed form and a sampler that knows nothing of it must agree."""
    x, labels, means, covariance = _blobs()
    asked = _config(radius=2.0)
    prior = fit(query(x, labels, asked), asked)
    drawn = sample(
        prior.denoise,
        labels=torch.full((3000,), 1),
        shape=(1, 4, 4),
        config=SamplerConfig(steps=30, sigma_min=0.005, sigma_max=20.0),
        generator=torch.Generator().manual_seed(0),
    ).flatten(1)
    largest = covariance.diagonal().max().sqrt()
    # four standard errors and 5 % for finite steps
    assert (drawn.mean(0) - means[1]).abs().max() < largest * (4 / 3000**0.5 + 0.05)
    found = torch.cov(drawn.T)
    assert (found - covariance).norm() < 0.12 * covariance.norm()


@both
@pytest.mark.parametrize("noise", [5.0, 1e4])
def test_a_query_that_is_mostly_noise_still_gives_a_usable_prior(config, noise):
    """At a tiny budget, or for an empty class, the noise decides; NaN would follow."""
    asked = _config(side=config.height, channels=config.channels, noise=noise)
    generator = torch.Generator().manual_seed(0)
    noisy = query(_images(asked, 4), torch.tensor([0, 0, 0, 1]), asked)
    noisy = noisy + noise * torch.randn(
        len(noisy), generator=generator, dtype=torch.float64
    )
    prior = fit(noisy, asked)
    assert bool(prior.means.isfinite().all())
    assert bool(prior.variances.isfinite().all())
    assert bool((prior.variances > 0).all())
    # no value lies further out than noise over the least count the fit admits
    assert prior.means.abs().max() < 20


def test_noise_shrinks_towards_the_mean_of_all_and_never_beyond():
    """James-Stein: with more noise the classes move together, not apart."""
    x, labels, _, _ = _blobs(count=300)
    spreads = []
    for noise in (1e-6, 0.3, 0.6):
        asked = _config(radius=2.0, noise=noise)
        prior = fit(query(x, labels, asked), asked)  # same sums, other shrinkage
        spreads.append((prior.means[:3] - prior.means[3]).norm().item())
    assert spreads[0] > spreads[1] > spreads[2] >= 0


def test_cleaning_the_spectrum_beats_believing_it():
    """Without shrinkage the noise's own eigenvalues pass for structure."""
    x, labels, _, covariance = _blobs(count=600)
    asked = _config(radius=2.0, noise=1.5)
    exact = query(x, labels, asked)
    errors = {"cleaned": [], "believed": []}
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(exact), generator=generator, dtype=torch.float64)
        for name, z in (("cleaned", 1.5), ("believed", 1e-6)):
            read = _config(radius=2.0, noise=z)
            prior = fit(exact + 1.5 * noise, read)
            found = prior.basis @ torch.diag(prior.variances[0]) @ prior.basis.T
            errors[name].append((found - covariance).norm().item())
    assert np.mean(errors["cleaned"]) < np.mean(errors["believed"])


def _prior_and_rows():
    x, labels, _, _ = _blobs(count=600)
    asked = _config(radius=2.0)
    prior = fit(query(x, labels, asked), asked)
    rows = draw_rows(
        x[:6],
        labels[:6],
        noise_multiplicity=2,
        law=LogNormal(),
        label_dropout=0.5,
        null_label=3,
        generator=torch.Generator().manual_seed(0),
    )
    return prior, rows


def _network():
    config = NetworkConfig(
        channels=1,
        height=4,
        width=4,
        classes=3,
        base_width=8,
        width_multipliers=(1, 2),
        blocks=1,
        guide_channels=1,
    )
    return build(config, seed=0)


def test_a_new_network_starts_at_the_prior():
    """Training then starts from a working denoiser, and noise cannot undo the start."""
    prior, (_, noisy, sigma, labels) = _prior_and_rows()
    found = PriorDenoiser(network=_network(), prior=prior)(noisy, sigma, labels)
    torch.testing.assert_close(found, prior.denoise(noisy, sigma, labels))


def test_the_loss_of_a_perfect_prior_is_one_at_every_noise_level():
    """c_out is the prior's expected error, so an untrained network scores 1."""
    x, labels, _, _ = _blobs()
    asked = _config(radius=2.0)
    prior = fit(query(x, labels, asked), asked)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for level in (0.05, 0.3, 2.0):
        sigma = torch.full((len(x),), level)
        rows = (x, x + level * noise, sigma, labels)
        loss = prior_row_loss(prior)(_network(), rows).mean().item()
        # 6000 records of rank 2: about 2 % standard error
        assert loss == pytest.approx(1.0, abs=0.08)


def test_a_row_of_the_loss_depends_on_that_row_alone():
    prior, rows = _prior_and_rows()
    network, loss = _network(), prior_row_loss(prior)
    together = loss(network, rows)
    for i in range(len(together)):
        alone = loss(network, tuple(part[i : i + 1] for part in rows))
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_a_query_for_other_images_is_refused():
    with pytest.raises(DataError):
        query(torch.zeros(2, 1, 5, 4), torch.zeros(2, dtype=torch.int64), SMALL)
    with pytest.raises(DataError):
        fit(torch.zeros(7, dtype=torch.float64), SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shares": (0.5, 0.5, 0.5)},
        {"shares": (1.0, 0.0, 0.0)},
        {"shares": (float("nan"), 0.5, 0.5)},
        {"centre": 2.0},
        {"centre": float("nan")},
        {"radius": 0.0},
        {"noise": 0.0},
        {"classes": 0},
    ],
    ids=str,
)
def test_an_impossible_query_is_refused(wrong):
    with pytest.raises(ParameterError):
        _config(**wrong)
