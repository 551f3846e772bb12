"""Four classifiers, trained on one set of images and tested on another.

    logistic regression    linear, on pixels
    svm                    radial kernel, on pixels
    mlp                    one hidden layer, on pixels
    cnn                    diffusion.evaluation.convolutional

Nothing is chosen on the images they are tested on: settings are constants, and the
CNN's epoch is chosen on a tenth of what it is trained on. Seeds are public constants.

Source: the protocol (train on samples, test on real images) of Dockhorn et al. 2023,
arXiv:2210.09929, section 5; scikit-learn for the first three.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from diffusion.evaluation import convolutional
from diffusion.readers.image_set import ImageSet
from privplan.errors import DataError

_SEED = 0
_SVM_IMAGES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """Shares of test images whose class was found, 0 to 1.

    Attributes:
        logistic_regression: Linear, on pixels.
        svm: Radial kernel, on pixels; trained on the first 10,000 images at most.
        mlp: One hidden layer of 100, on pixels.
        cnn: Three convolutions.
    """

    logistic_regression: float
    svm: float
    mlp: float
    cnn: float


def accuracies(train: ImageSet, test: ImageSet) -> Accuracies:
    """Train four classifiers on one set and test them on another.

    Args:
        train: Images with labels; samples, or real images for a ceiling.
        test: Real images that took no part in making `train`.

    Raises:
        DataError: The sets differ in shape or classes, or there is one class only.
    """
    check_alike(train, test)
    if int(train.labels.min()) == int(train.labels.max()):
        raise DataError(
            "images of a single class cannot train a classifier",
            hint="draw samples of at least two classes",
        )
    images, labels = everything(train)
    shown, truth = everything(test)
    found = {
        kind: _score(kind, (images, labels), (shown, truth))
        for kind in ("logistic_regression", "svm", "mlp")
    }
    network = convolutional.fit(
        images,
        labels,
        classes=train.classes,
        training=convolutional.Training(seed=_SEED),
    )
    return Accuracies(**found, cnn=convolutional.accuracy(network, shown, truth))


def check_alike(one: ImageSet, other: ImageSet) -> None:
    """Refuse to compare images of different shape.

    Raises:
        DataError: They differ in size, channels or number of classes.
    """
    a, b = one.shape, other.shape
    if (a.channels, a.height, a.width, a.classes) != (
        b.channels,
        b.height,
        b.width,
        b.classes,
    ):
        raise DataError(
            "the samples and the held-out images differ in shape or number of classes",
            hint="evaluate on images of the size, colour and classes the plan declares",
        )


def everything(
    images: ImageSet,
) -> tuple[Float32[Tensor, "rows channels height width"], Int64[Tensor, " rows"]]:
    """Return all images of a set, in [-1, 1], with their labels."""
    return images.batch(torch.arange(len(images.labels)))


def _score(
    kind: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> float:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    model = {
        "logistic_regression": lambda: LogisticRegression(C=0.1, max_iter=200),
        "svm": SVC,
        "mlp": lambda: MLPClassifier((100,), max_iter=60, random_state=_SEED),
    }[kind]()
    most = _SVM_IMAGES if kind == "svm" else len(train[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_pixels(train[0][:most]), train[1][:most].numpy())
    return float(model.score(_pixels(test[0]), test[1].numpy()))


def _pixels(images: Tensor) -> np.ndarray:
    return images.flatten(1).double().numpy()
