import itertools

import numpy as np
import pytest
import torch

from diffusion.data import PrivateImages, PublicImages
from diffusion.evaluation.copies import chance_nearer, copies, copies_locally
from diffusion.local import Local
from privplan.errors import DataError


def images(count, seed, kind=PublicImages):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 4, 4), generator=generator)
    return kind(pixels.to(torch.uint8), torch.arange(count) % 3, 3)


def joined(*sets):
    return PublicImages(
        torch.cat([s.images for s in sets]), torch.cat([s.labels for s in sets]), 3
    )


def test_copies_are_counted_and_fresh_images_are_not():
    train, unseen, fresh = images(60, 1), images(40, 2), images(30, 3)
    stolen = PublicImages(train.images[:7], train.labels[:7], 3)
    found = copies(joined(fresh, stolen), train, unseen)
    assert (found.samples, found.exact, found.suspicious) == (37, 7, 7)
    assert found.suspicious_unseen == 0
    assert copies(fresh, train, unseen).exact == 0


def test_a_copy_with_a_little_noise_is_suspicious_though_not_exact():
    train, unseen = images(60, 1), images(40, 2)
    near = (train.images[:9].int() + 1).clamp(max=255).to(torch.uint8)
    found = copies(PublicImages(near, train.labels[:9], 3), train, unseen)
    assert found.exact == 0
    assert found.suspicious == 9
    assert found.share_closer > 0.4  # 40 of 60 compared: a copy is met 2 times of 3


def test_samples_that_copy_nothing_are_as_often_nearer_to_either_set():
    """Although one set is four times as large; a plain count would say 0.8."""
    found = copies(images(400, 3), images(200, 1), images(50, 2))
    # 400 samples of one unseen set: the standard error is about 0.04
    assert found.share_closer == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    ("nearer", "every", "chosen"),
    [(0, 5, 2), (1, 5, 2), (2, 6, 3), (4, 5, 2), (5, 5, 2)],
)
def test_the_chance_is_that_of_trying_every_choice(nearer, every, chosen):
    tried = list(itertools.combinations(range(every), chosen))
    share = np.mean([any(one < nearer for one in choice) for choice in tried])
    assert chance_nearer(nearer, every, chosen) == pytest.approx(share, abs=1e-9)


def test_what_is_said_of_private_records_is_local():
    private = images(20, 1, PrivateImages)
    found = copies_locally(images(5, 2), private, images(10, 3))
    assert isinstance(found, Local)
    same = copies(images(5, 2), images(20, 1), images(10, 3))
    assert found.show_to_the_data_holder() == same


def test_other_shapes_and_single_images_are_refused():
    wide = PublicImages(
        torch.zeros(5, 1, 4, 5, dtype=torch.uint8), torch.zeros(5).long(), 3
    )
    with pytest.raises(DataError, match="differ in shape"):
        copies(wide, images(5, 1), images(5, 2))
    with pytest.raises(DataError, match="at least two"):
        copies(images(5, 1), images(5, 2), images(1, 3))
