"""What a plan and a run on latents refuse, and what they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion import latents, previews, run
from diffusion.audit.one_run import OneRun, in_pixels
from diffusion.data import PrivateImages, data_digest
from diffusion.readers.units import Units
from diffusion.watching import RunOptions
from privplan import autoencoder
from privplan.errors import ParameterError, PolicyError, StepFailedError
from privplan.plan_phases import Wishes
from privplan.planner import PlanRequest, TrainingWishes, make_plan
from tests.diffusion.test_latents import IMAGES, folder, plan_for, private, space

__all__ = ["folder", "space"]  # fixtures


class Wall:
    def __init__(self):
        self.hung = []

    def hang(self, images, *, phase, done, seconds):
        assert seconds > 0
        self.hung.append((phase, done, images))


def asked(space, *, training=None, data=None, **request):
    found = plan_for(space)
    shape = replace(
        PlanRequest(target_epsilon=5.0).data,
        embedded=None, records=40, classes=2, channels=4,
        height=found.data.height, width=found.data.width, **(data or {}),
    )  # fmt: skip
    wishes = TrainingWishes(
        latent=autoencoder.latent_of(space.document, IMAGES), **(training or {})
    )
    return PlanRequest(
        target_epsilon=5.0, target_delta=1e-3, data=shape, training=wishes,
        wishes=Wishes(steps=2, sample_rate=0.25), **request,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"training": {"flip": True}}, "not mirrored"),
        ({"training": {"shift": 1}}, "not mirrored"),
        ({"training": {"pretraining": "synthetic"}}, "phase 'synthetic' is about"),
        (
            {"stages": "coarse=synthetic,context=private,cleaning=private"},
            "phase 'synthetic' is about",
        ),
        (
            {"stages": "coarse=gaussian,context=private,cleaning=private"},
            "phase 'gaussian' is about",
        ),
    ],
    ids=lambda x: str(x)[:40],
)
def test_the_planner_refuses_to_treat_latents_as_images(space, wrong, said):
    """Else the run would, or a plan would be written that nobody can read."""
    with pytest.raises(ParameterError, match=said) as refusal:
        make_plan(asked(space, **wrong))
    assert "--" in refusal.value.hint


def test_the_planner_refuses_the_shape_of_images_for_latents(space):
    """A library that forgets to declare latents would plan for another network."""
    right = asked(space)
    assert make_plan(right).training.latent is not None
    for side in ("height", "width"):
        longer = replace(right.data, **{side: getattr(right.data, side) * 3})
        with pytest.raises(ParameterError, match="over 2, 4, 8 or 16"):
            make_plan(replace(right, data=longer))


def test_previews_of_a_run_on_latents_are_images(space, tmp_path):
    wall = Wall()
    options = RunOptions(autoencoder=space, gallery=wall)
    assert run.train(
        plan_for(space), private(), tmp_path / "run", options=options
    ).finished
    assert [done for _, done, _ in wall.hung] == [1, 2]
    for _, _, images in wall.hung:
        assert images.shape == (previews.COUNT, 1, IMAGES.height, IMAGES.width)
        assert images.dtype == torch.uint8


def test_images_of_another_shape_are_refused_before_anything_is_encoded(
    space, tmp_path
):
    """A network's own error would be a traceback, with sizes in it."""
    images, where = private(), tmp_path / "run"
    seen = []
    watched = replace(space, encode=seen.append)
    options = RunOptions(autoencoder=watched)
    for pixels in (images.images.repeat(1, 3, 1, 1), images.images[:, :, 2:]):
        other = PrivateImages(pixels, images.labels, images.classes)
        with pytest.raises(PolicyError, match="do not have the shape"):
            run.train(plan_for(space), other, where, options=options)
    fewer = PrivateImages(images.images[1:], images.labels[1:], images.classes)
    with pytest.raises(PolicyError, match="number of records"):
        run.train(plan_for(space), fewer, where, options=options)
    assert not seen
    assert not where.exists()


def test_what_an_encoder_says_of_private_images_is_withheld(space, tmp_path):
    """Memory that runs out tells how many records there are."""

    def failing(_):
        raise RuntimeError("tried to allocate 40 records")

    options = RunOptions(autoencoder=replace(space, encode=failing))
    with pytest.raises(StepFailedError, match="withheld") as refusal:
        run.train(plan_for(space), private(), tmp_path / "run", options=options)
    assert "40" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__
    assert not (tmp_path / "run").exists()


def test_latents_are_not_taken_for_images_to_encode(space, tmp_path):
    encoded = latents.encode_private(private(), space)
    with pytest.raises(ParameterError, match="encodes the images"):
        run.train(
            plan_for(space), encoded, tmp_path / "run",
            options=RunOptions(autoencoder=space),
        )  # fmt: skip


def test_latents_belong_to_the_units_of_their_images(space):
    """Else a step would sample records where the plan is charged for patients."""
    images = private()
    units = Units(
        column="patient", max_records=4,
        starts=np.arange(0, 41, 4), members=np.arange(40),
    )  # fmt: skip
    grouped = replace(images, units=units)
    found = latents.encode_private(grouped, space)
    assert found.units is units
    assert found.contributors == grouped.contributors == 10
    assert data_digest(found) == data_digest(grouped)


def test_canaries_of_a_plan_on_latents_are_latents(space):
    """An audit that cannot make its canaries would say nothing of such a plan."""
    setting = OneRun(canaries=8, guesses=4, steps=2)
    assert in_pixels(plan_for(space), setting, RunOptions()) is not None
