"""Do samples lie closer to the training images than to images nobody trained on?

For each sample: its distance to the nearest training image against its distance to the
nearest unseen one. A generator that learned the distribution and not the images is as
often nearer to the one as to the other.

    exact         samples equal to a training image, pixel by pixel
    suspicious    samples less than half as far from a training image as from any
                  unseen one
    share_closer  chance that the nearest training image is nearer, had as many training
                  images been compared as unseen ones; 1/2 without copying

`suspicious_unseen` is the same count for real images that nobody trained on, so it
shows how often the test fires without cause.

It finds copies. It does not show that there is no leak; epsilon bounds that.

Units: distances are Euclidean over bytes of pixels, and exact.
Source: the ratio of distances after Yoon et al. 2023, "Diffusion probabilistic models
generalize when they fail to memorize"; equal sets by counting, our own.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import gammaln

from diffusion.evaluation.classifiers import check_alike
from diffusion.evaluation.distances import squared_distances
from diffusion.local import Local
from diffusion.readers.image_set import ImageSet, PrivateImages, PublicImages
from privplan.errors import DataError

_RATIO = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Counts of one comparison; see the module.

    Attributes:
        samples: How many samples were looked at.
        exact: How many equal a training image.
        suspicious: How many fail the ratio test.
        unseen: How many unseen real images there are.
        suspicious_unseen: How many of those fail it.
        share_closer: Between 0 and 1; 0.5 without copying.
    """

    samples: int
    exact: int
    suspicious: int
    unseen: int
    suspicious_unseen: int
    share_closer: float


def copies(samples: PublicImages, train: PublicImages, unseen: PublicImages) -> Copies:
    """Look for copies of public training images.

    Args:
        samples: Drawn images.
        train: What was trained on.
        unseen: At least two images of the same kind that were not.

    Raises:
        DataError: The images differ in shape, or a set is too small.
    """
    return _copies(samples, train, unseen)


def copies_locally(
    samples: PublicImages, train: PrivateImages, unseen: ImageSet
) -> Local[Copies]:
    """Look for copies of private records; the result cannot be exported.

    Raises:
        DataError: The images differ in shape, or a set is too small.
    """
    return Local(_copies(samples, train, unseen))


def chance_nearer(nearer: int, all_of_them: int, chosen: int) -> float:
    """Return the chance that some of the nearer images are among the chosen ones.

    1 - C(n - r, m) / C(n, m), with r nearer images of n and m chosen; with fewer than
    m of them to choose from, all are chosen.

    Args:
        nearer: r.
        all_of_them: n.
        chosen: m.

    Example:
        >>> chance_nearer(1, 4, 2), chance_nearer(0, 4, 2), chance_nearer(3, 4, 2)
        (0.5, 0.0, 1.0)
    """
    chosen = min(chosen, all_of_them)
    if nearer > all_of_them - chosen:
        return 1.0
    rest = all_of_them - nearer
    log_none = (
        gammaln(rest + 1)
        - gammaln(rest - chosen + 1)
        - gammaln(all_of_them + 1)
        + gammaln(all_of_them - chosen + 1)
    )
    return round(float(-np.expm1(log_none)), 12)


def _copies(samples: ImageSet, train: ImageSet, unseen: ImageSet) -> Copies:
    check_alike(samples, train)
    check_alike(samples, unseen)
    if len(train.labels) < 2 or len(unseen.labels) < 2:
        raise DataError(
            "looking for copies needs at least two images on either side",
            hint="give a larger held-out set",
        )
    drawn, seen, other = _bytes(samples), _bytes(train), _bytes(unseen)
    to_other = _nearest(drawn, other)
    to_seen = _nearest(drawn, seen)
    closer = [
        chance_nearer(int(count), len(seen), len(other))
        for count in _count_nearer(drawn, seen, to_other)
    ]
    real_to_other, real_to_seen = _nearest_other(other), _nearest(other, seen)
    return Copies(
        samples=len(drawn),
        exact=int((to_seen == 0).sum()),
        suspicious=_suspicious(to_seen, to_other),
        unseen=len(other),
        suspicious_unseen=_suspicious(real_to_seen, real_to_other),
        share_closer=float(np.mean(closer)),
    )


def _bytes(images: ImageSet) -> Float64[np.ndarray, "rows values"]:
    pixels: Float64[np.ndarray, "rows values"] = (
        images.images.flatten(1).double().numpy()
    )
    return pixels


def _nearest(
    points: Float64[np.ndarray, "rows values"],
    others: Float64[np.ndarray, "others values"],
) -> Float64[np.ndarray, " rows"]:
    found = [part.min(axis=1) for part in squared_distances(points, others)]
    return np.concatenate(found)


def _nearest_other(
    points: Float64[np.ndarray, "rows values"],
) -> Float64[np.ndarray, " rows"]:
    # each point is nearest to itself; the next one is another
    found = [np.partition(part, 1)[:, 1] for part in squared_distances(points, points)]
    return np.concatenate(found)


def _count_nearer(
    points: Float64[np.ndarray, "rows values"],
    others: Float64[np.ndarray, "others values"],
    than: Float64[np.ndarray, " rows"],
) -> Float64[np.ndarray, " rows"]:
    counts, start = [], 0
    for part in squared_distances(points, others):
        limit = than[start : start + len(part), None]
        counts.append((part < limit).sum(axis=1).astype(np.float64))
        start += len(part)
    return np.concatenate(counts)


def _suspicious(
    to_seen: Float64[np.ndarray, " rows"], to_other: Float64[np.ndarray, " rows"]
) -> int:
    # squared distances; an exact copy counts even where an unseen image equals it too
    flagged = (to_seen < _RATIO**2 * to_other) | (to_seen == 0)
    return int(flagged.sum())
