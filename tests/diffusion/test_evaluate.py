import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from diffusion.data import PrivateImages, PublicImages, load_public
from diffusion.evaluate import evaluate, evaluate_locally, frechet_distance
from diffusion.local import Local
from privplan.errors import DataError


def test_the_frechet_distance_is_that_of_the_formula():
    """Against scipy's matrix root, on features with a full-rank covariance."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 6))
    b = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 0.5
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    by_formula = shift @ shift + np.trace(ca + cb - 2 * np.real(sqrtm(ca @ cb)))
    assert frechet_distance(a, b) == pytest.approx(by_formula, rel=1e-9)


def test_the_frechet_distance_of_a_set_to_itself_is_zero():
    a = np.random.default_rng(1).normal(size=(50, 4))
    flat = np.hstack([a, np.zeros((50, 3))])
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)


def test_real_images_score_far_better_than_shuffled_labels():
    real, held_out = load_public("digits"), load_public("digits", split="test")
    order = torch.randperm(len(real.labels), generator=torch.Generator().manual_seed(0))
    wrong = PublicImages(real.images, real.labels[order], 10)
    good, bad = evaluate(real, held_out), evaluate(wrong, held_out)
    assert good.logistic_regression > 0.85
    assert good.mlp > 0.85
    assert bad.logistic_regression < 0.3
    assert good.frechet_pooled_pixels == bad.frechet_pooled_pixels


def test_a_score_against_private_images_cannot_be_exported():
    real = load_public("digits", split="test")
    private = PrivateImages(real.images, real.labels, 10)
    found = evaluate_locally(real, private)
    assert isinstance(found, Local)
    assert str(found) == "Local(hidden)"
    with pytest.raises(TypeError):
        json.dumps(found)
    assert found.show_to_the_data_holder() == evaluate(real, real)


def test_images_of_another_shape_are_refused():
    real = load_public("digits", split="test")
    wide = PublicImages(real.images.repeat(1, 1, 1, 2), real.labels, 10)
    with pytest.raises(DataError, match="differ in shape"):
        evaluate(real, wide)
