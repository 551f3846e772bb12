"""What the samples are worth: classifiers trained on them, and a distance.

    train on samples, test on real     accuracy of logistic regression and of an MLP
    train on real, test on real        the same classifiers with the real images: a
                                       ceiling, needs records
    Frechet distance                   between samples and held-out images, over pixels
                                       pooled to at most 8 x 8

The held-out images are public or private *by type*. Against a public test set the
scores are plain numbers and may go into a report. Against private records each score
is `Local` and no exporter takes it.

Source: Heusel et al. 2017, arXiv:1706.08500 (the distance; here over pooled pixels and
not over Inception features, so its values compare within this program only).
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvalsh
from torch.nn.functional import adaptive_avg_pool2d

from diffusion.data import ImageSet, PrivateImages, PublicImages
from diffusion.local import Local
from privplan.errors import DataError

_POOLED_SIDE = 8
_FIT_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Results of one evaluation.

    Attributes:
        logistic_regression: Accuracy, 0 to 1, trained on samples.
        mlp: Accuracy, 0 to 1, trained on samples.
        frechet_pooled_pixels: Distance; smaller is closer.
        samples: How many samples were used.
        tested_on: How many held-out images were used.
    """

    logistic_regression: float
    mlp: float
    frechet_pooled_pixels: float
    samples: int
    tested_on: int


def evaluate(samples: PublicImages, held_out: PublicImages) -> Scores:
    """Score samples against public held-out images.

    Args:
        samples: Drawn images with their labels.
        held_out: Real images that no training saw, and that are public.

    Raises:
        DataError: The two sets differ in image shape.
    """
    return _scores(samples, held_out)


def evaluate_locally(samples: PublicImages, held_out: PrivateImages) -> Local[Scores]:
    """Score samples against private images; the result cannot be exported.

    Raises:
        DataError: The two sets differ in image shape.
    """
    return Local(_scores(samples, held_out))


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Args:
        a: Features, shape (n, d).
        b: Features, shape (m, d).

    Source:
        Heusel et al. 2017, equation 6.

    Example:
        >>> points = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
        >>> round(frechet_distance(points, points + 3.0), 6)
        18.0
    """
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = eigh(np.atleast_2d(ca))
    half = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    # tr (C_a C_b)^(1/2) = tr (C_a^(1/2) C_b C_a^(1/2))^(1/2), and that one is symmetric
    joint = eigvalsh(half @ np.atleast_2d(cb) @ half)
    shift = a.mean(axis=0) - b.mean(axis=0)
    spread = np.trace(np.atleast_2d(ca + cb))
    return float(shift @ shift + spread - 2 * np.sqrt(np.maximum(joint, 0.0)).sum())


def _scores(samples: PublicImages, held_out: ImageSet) -> Scores:
    train, test = _features(samples), _features(held_out)
    if train.shape[1] != test.shape[1] or samples.shape.channels != (
        held_out.shape.channels
    ):
        raise DataError(
            "the samples and the held-out images differ in shape",
            hint="evaluate on images of the size and colour the plan declares",
        )
    answers, truth = samples.labels.numpy(), held_out.labels.numpy()
    return Scores(
        logistic_regression=_accuracy("logistic", train, answers, test, truth),
        mlp=_accuracy("mlp", train, answers, test, truth),
        frechet_pooled_pixels=frechet_distance(_pooled(samples), _pooled(held_out)),
        samples=len(answers),
        tested_on=len(truth),
    )


def _features(images: ImageSet) -> NDArray[np.float64]:
    every = torch.arange(len(images.labels))
    return images.batch(every)[0].flatten(1).double().numpy()


def _pooled(images: ImageSet) -> NDArray[np.float64]:
    every = torch.arange(len(images.labels))
    pictures = images.batch(every)[0]
    height, width = pictures.shape[2:]
    side = (min(height, _POOLED_SIDE), min(width, _POOLED_SIDE))
    return adaptive_avg_pool2d(pictures, side).flatten(1).double().numpy()


def _accuracy(
    kind: str,
    train: NDArray[np.float64],
    answers: NDArray[np.int64],
    test: NDArray[np.float64],
    truth: NDArray[np.int64],
) -> float:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415

    model = (
        LogisticRegression(C=0.1, max_iter=200)
        if kind == "logistic"
        else MLPClassifier((100,), max_iter=60, random_state=_FIT_SEED)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, answers)
    return float(model.score(test, truth))
