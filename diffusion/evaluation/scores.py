"""What samples are worth: classifiers trained on them, and distances.

    train on samples, test on real     accuracy of four classifiers
    distances                          Frechet, kernel, precision and recall, on named
                                       features, and Frechet over pooled pixels

The same function scores what samples must be held against: the baseline that needs no
diffusion, and real training images as a ceiling.

The held-out images are public or private *by type*. Against a public test set the
scores are plain numbers and may go into a report. Against private records each score
is `Local` and no exporter takes it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from diffusion.data import ImageSet, PublicImages
from diffusion.evaluation.classifiers import Accuracies, accuracies, check_alike
from diffusion.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from diffusion.evaluation.features import Extractor, extractor
from diffusion.local import Local
from privplan.tables import Table

DEFAULT_FEATURES = "encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How close two sets of images are, on one kind of features.

    Attributes:
        features: Name of the features, with a digest of their weights.
        frechet: Distance; smaller is closer.
        kernel: Unbiased squared MMD; smaller is closer, about 0 for equal sets.
        precision: Share of samples that lie where real images do.
        recall: Share of real images that lie where samples do.
    """

    features: str
    frechet: float
    kernel: float
    precision: float
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Results of one evaluation.

    Attributes:
        accuracy: Of classifiers trained on the samples.
        closeness: To the held-out images.
        frechet_pooled_pixels: The Frechet distance over pixels pooled to 8 x 8.
        samples: How many samples were used.
        tested_on: How many held-out images were used.
    """

    accuracy: Accuracies
    closeness: Closeness
    frechet_pooled_pixels: float
    samples: int
    tested_on: int

    def numbers(self) -> dict[str, float]:
        """Return every number by a name that says on which features it rests."""
        close = self.closeness
        found = asdict(self.accuracy)
        for name in ("frechet", "kernel", "precision", "recall"):
            found[f"{name} {close.features}"] = getattr(close, name)
        found["frechet pooled-pixels"] = self.frechet_pooled_pixels
        found |= {"samples": self.samples, "tested on": self.tested_on}
        return {name: float(value) for name, value in found.items()}


def side_by_side(found: Mapping[str, Scores]) -> Table:
    """Return scores as a table: one column for each set of images.

    Args:
        found: Scores by the name that stands above the column; at least one.
    """
    numbers = [scores.numbers() for scores in found.values()]
    return Table(
        caption="Against public held-out images",
        titles=("score", *found),
        rows=tuple(
            (name.replace("_", " "), *(f"{one[name]:.4g}" for one in numbers))
            for name in numbers[0]
        ),
    )


def evaluate(
    samples: PublicImages,
    held_out: PublicImages,
    features: Extractor | None = None,
) -> Scores:
    """Score samples against public held-out images.

    Args:
        samples: Drawn images with their labels.
        held_out: Real images that no training saw, and that are public.
        features: Default the encoder for this shape of image.

    Raises:
        DataError: The two sets differ in shape, or one is too small to compare.
    """
    return _scores(samples, held_out, features)


def evaluate_locally(
    samples: ImageSet,
    held_out: ImageSet,
    features: Extractor | None = None,
) -> Local[Scores]:
    """Score with a private set on either side; the result cannot be exported.

    Args:
        samples: Drawn images, or private training images for a ceiling.
        held_out: Real images that no training saw.
        features: Default the encoder for this shape of image.

    Raises:
        DataError: The two sets differ in shape, or one is too small to compare.
    """
    return Local(_scores(samples, held_out, features))


def closeness(samples: ImageSet, held_out: ImageSet, features: Extractor) -> Closeness:
    """Measure every distance on one kind of features.

    Raises:
        DataError: One of the sets is too small to compare.
    """
    a, b = features.of(samples), features.of(held_out)
    precision, recall = precision_recall(a, b)
    return Closeness(
        features=features.label,
        frechet=frechet_distance(a, b),
        kernel=kernel_distance(a, b),
        precision=precision,
        recall=recall,
    )


def _scores(
    samples: ImageSet, held_out: ImageSet, features: Extractor | None
) -> Scores:
    check_alike(samples, held_out)
    chosen = features or extractor(DEFAULT_FEATURES, held_out.shape)
    pooled = extractor("pixels", held_out.shape)
    return Scores(
        accuracy=accuracies(samples, held_out),
        closeness=closeness(samples, held_out, chosen),
        frechet_pooled_pixels=frechet_distance(pooled.of(samples), pooled.of(held_out)),
        samples=len(samples.labels),
        tested_on=len(held_out.labels),
    )
