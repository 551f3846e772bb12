import json

import pytest
import torch

from diffusion.data import PrivateImages, PublicImages, load_public
from diffusion.evaluation import convolutional, scores
from diffusion.evaluation.baseline import gaussian_images
from diffusion.evaluation.features import extractor
from diffusion.evaluation.outcomes import Charged, Kind, Public, kind_of
from diffusion.evaluation.scores import evaluate, evaluate_locally
from diffusion.gaussian_prior import fit
from diffusion.gaussian_query import QueryConfig, query
from diffusion.local import Local
from privplan.errors import DataError


@pytest.fixture(scope="module")
def real():
    return load_public("digits")


@pytest.fixture(scope="module")
def held_out():
    return load_public("digits", split="test")


@pytest.fixture(scope="module")
def pixels(held_out):
    return extractor("pixels", held_out.shape)


def some(images, count):
    return PublicImages(images.images[:count], images.labels[:count], images.classes)


def test_real_images_score_far_better_than_shuffled_labels(real, held_out, pixels):
    few = some(real, 300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    wrong = PublicImages(few.images, few.labels[order], 10)
    good, bad = (evaluate(x, held_out, pixels) for x in (few, wrong))
    for name in ("logistic_regression", "svm", "mlp", "cnn"):
        assert getattr(good.accuracy, name) > 0.8, name
        assert getattr(bad.accuracy, name) < 0.3, name
    assert good.closeness == bad.closeness
    assert good.closeness.frechet == good.frechet_pooled_pixels


def test_held_out_images_choose_nothing(real, held_out, pixels, monkeypatch):
    """A classifier that has seen its test images is no evidence."""
    seen = []
    fit_as_it_is = convolutional.fit
    monkeypatch.setattr(
        convolutional,
        "fit",
        lambda images, labels, **k: (
            seen.append(images) or fit_as_it_is(images, labels, **k)
        ),
    )
    few = some(real, 60)
    evaluate(few, held_out, pixels)
    (images,) = seen
    assert torch.equal(images, few.batch(torch.arange(60))[0])


def test_numbers_carry_the_name_of_their_features(real, held_out, pixels):
    found = evaluate(some(real, 40), some(held_out, 50), pixels).numbers()
    assert set(found) == {
        "logistic_regression", "svm", "mlp", "cnn", "frechet pooled-pixels",
        "kernel pooled-pixels", "precision pooled-pixels", "recall pooled-pixels",
        "samples", "tested on",
    }  # fmt: skip
    assert (found["samples"], found["tested on"]) == (40, 50)


def test_a_score_against_private_images_cannot_be_exported(held_out, pixels):
    few = some(held_out, 60)
    private = PrivateImages(few.images, few.labels, 10)
    found = evaluate_locally(few, private, pixels)
    assert isinstance(found, Local)
    assert str(found) == "Local(hidden)"
    with pytest.raises(TypeError):
        json.dumps(found)
    assert found.show_to_the_data_holder() == evaluate(few, few, pixels)
    assert kind_of(found) is Kind.LOCAL


def test_each_outcome_has_its_badge():
    charged = Charged(value=0.1, phase="labels")
    assert [kind_of(Public(value=1.0)), kind_of(charged)] == ["public", "charged"]


def test_images_of_another_shape_or_of_other_classes_are_refused(held_out):
    few = some(held_out, 40)
    wide = PublicImages(few.images.repeat(1, 1, 1, 2), few.labels, 10)
    more = PublicImages(few.images, few.labels, 11)
    for other in (wide, more):
        with pytest.raises(DataError, match="differ in shape"):
            evaluate(few, other)


def test_samples_of_one_class_are_refused(held_out, pixels):
    one = PublicImages(held_out.images[:9], torch.full((9,), 4), 10)
    with pytest.raises(DataError, match="single class"):
        evaluate(one, held_out, pixels)


def config(**changed):
    given = {"channels": 1, "height": 8, "width": 8, "classes": 10,
             "noise_multiplier": 1e-3, "radius": 1.2}  # fmt: skip
    return QueryConfig(**(given | changed))


@pytest.mark.parametrize("side", [8, 20], ids=["full covariance", "cosine diagonal"])
def test_images_of_the_baseline_have_the_means_and_spread_of_the_query(real, side):
    """Almost without noise the class Gaussians are those of the records."""
    asked = config(height=side, width=side)
    x = real.batch(torch.arange(600))
    x = torch.nn.functional.interpolate(x[0], (side, side)), x[1]
    prior = fit(query(*x, asked), asked)
    labels = torch.full((4000,), 3)
    drawn = gaussian_images(prior, labels, seed=1)
    pictures = drawn.batch(torch.arange(4000))[0].flatten(1)
    # clipping moves pixels whose mean is near black or white, so compare inside
    inside = prior.means[3].abs() < 0.3
    spread = (prior.basis.square() @ prior.variances[0]).sqrt() if side == 8 else None
    # 4000 draws of std below 0.7: five standard errors are 0.06
    torch.testing.assert_close(
        pictures.mean(0)[inside], prior.means[3][inside], atol=0.06, rtol=0
    )
    if spread is not None:
        torch.testing.assert_close(
            pictures.std(0)[inside], spread[inside], atol=0.12, rtol=0
        )
    assert torch.equal(drawn.images, gaussian_images(prior, labels, seed=1).images)
    assert not torch.equal(drawn.images, gaussian_images(prior, labels, seed=2).images)


def test_the_default_features_are_the_encoder(monkeypatch, held_out):
    asked = []

    def noted(text, shape):
        asked.append(text)
        return extractor("pixels", shape)

    monkeypatch.setattr(scores, "extractor", noted)
    evaluate(some(held_out, 40), some(held_out, 40))
    assert asked[0] == "encoder"
