"""Pictures for a notebook: public images only, in the order given."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.data import PublicImages
from diffusion.pictures import picture, save_grid
from diffusion.sampling import Samples
from privplan.errors import ParameterError, PolicyError


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture
def images():
    levels = torch.arange(12, dtype=torch.uint8)[:, None, None, None] * 20
    pixels = levels.expand(12, 1, 28, 28).contiguous()
    return PublicImages(pixels, torch.arange(12) % 10, 10)


def test_images_stand_row_by_row_and_those_beyond_are_left_out(images):
    shown = opened(picture(images, rows=2, columns=5)._repr_png_())
    assert shown.shape == (2 * 30 + 2, 5 * 30 + 2)
    middles = shown[16::30, 16::30]
    assert middles.flatten().tolist() == [20 * place for place in range(10)]


def test_a_private_image_is_never_shown(digits):
    """What a notebook shows it keeps, and whoever gets the notebook has it too."""
    with pytest.raises(PolicyError, match="only public images") as refusal:
        picture(digits)
    assert "load_public" in refusal.value.hint


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"columns": -1}])
def test_a_grid_of_no_rows_is_refused(images, wrong):
    with pytest.raises(ParameterError):
        picture(images, **wrong)


def test_samples_show_what_is_written_to_the_file(images, tmp_path):
    drawn = Samples(images=images.images, labels=images.labels)
    save_grid(images.images.numpy(), tmp_path / "grid.png", columns=10)
    assert drawn._repr_png_() == (tmp_path / "grid.png").read_bytes()
    assert repr(drawn) == "Samples(12 images)"
