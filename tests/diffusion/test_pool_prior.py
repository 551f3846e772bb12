"""The Gaussian of a pool: its own moments, and where it stands in for the records'."""

import pytest
import torch

from diffusion import parts
from diffusion.blueprint import network_of
from diffusion.denoisers import loss_of
from diffusion.gaussian_query import query
from diffusion.pool_prior import pool_prior, prior_beside
from diffusion.pools import PublicPool
from diffusion.queries import prior_config
from diffusion.readers.image_set import PublicImages
from privplan.plan import GaussianPhase, PublicPhase
from privplan.planner import PublicData
from privplan.stages import Sharing

NAMED = PublicData(name="p", digest="a" * 64, declared_by="x")


@pytest.fixture(scope="module")
def dark():
    """2,500 dark images of ten classes; no query pulls any of them in."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2500) % 10
    pixels = (
        40
        + 8 * labels[:, None, None, None]
        + 30 * torch.rand(2500, 1, 8, 8, generator=generator)
    )
    return PublicImages(pixels.to(torch.uint8), labels, 10)


def prepared(small, dark):
    plan = small("best", pretraining="public", public=NAMED)
    return plan, PublicPool(plan.data, plan.phases_of(PublicPhase)[0], dark, seed=1)


def records_of_another_kind(plan):
    """The answer to the query of records that are all nearly white, without noise."""
    config = prior_config(plan, plan.phases_of(GaussianPhase)[0])
    white = torch.full((500, 1, 8, 8), 0.9)
    return {"gaussian": query(white, torch.arange(500) % 10, config)[None]}


def test_the_pools_gaussian_has_the_means_and_spread_of_its_images(small, dark):
    """Two routes: through the query in pieces, and by plain averages."""
    plan, pool = prepared(small, dark)
    images, labels = dark.batch(torch.arange(2500))[0], dark.labels
    prior = pool_prior(plan, pool)
    for label in range(10):
        mean = images[labels == label].flatten(1).mean(0)
        torch.testing.assert_close(prior.means[label], mean, atol=1e-4, rtol=0)
    away = (images.flatten(1) - prior.means[labels]).square().mean(0).sum()
    torch.testing.assert_close(prior.variances[0].sum(), away, rtol=1e-3, atol=0.0)


def test_the_pieces_of_a_pool_are_every_image_once(small, dark):
    _, pool = prepared(small, dark)
    seen, labels = (torch.cat(part) for part in zip(*pool.pieces(), strict=True))
    torch.testing.assert_close(seen, dark.batch(torch.arange(2500))[0])
    assert torch.equal(labels, dark.labels)


def test_a_plan_without_a_gaussian_has_none_of_a_pool_either(small, dark):
    plan = small("syngen-finetune", pretraining="public", public=NAMED)
    pool = PublicPool(plan.data, plan.phases_of(PublicPhase)[0], dark, seed=1)
    assert pool_prior(plan, pool) is None


def test_public_steps_that_only_prepare_correct_the_pools_gaussian(small, dark):
    """Under the records' Gaussian they would teach the network to undo it."""
    plan, pool = prepared(small, dark)
    answers = records_of_another_kind(plan)
    images, labels = next(iter(pool.pieces()))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    rows = (images, images + 9 * noise, torch.full((len(images),), 9.0), labels)
    prior = prior_beside(plan, pool, answers)
    loss = loss_of(plan, parts.whole(plan), prior).row_loss(network_of(plan), rows)
    # an untrained network scores 1 on the images its Gaussian belongs to
    assert loss.mean().item() == pytest.approx(1.0, abs=0.1)


def test_a_public_stage_of_the_plan_keeps_the_records_gaussian(small, dark):
    """Its denoiser is wrapped in that one when samples are drawn."""
    plan = small(
        "coarse=gaussian,context=private,cleaning=public",
        sharing=Sharing.GATED,
        public=NAMED,
    )
    pool = PublicPool(plan.data, plan.phases_of(PublicPhase)[0], dark, seed=1)
    found = prior_beside(plan, pool, records_of_another_kind(plan))
    assert found.means.min() > 0 > dark.batch(torch.arange(2500))[0].mean()
