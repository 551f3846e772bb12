import pytest
import torch

from diffusion import run
from diffusion import trainer as trainer_room
from diffusion.data import PublicImages, load_public, public_digest
from diffusion.pools import PublicPool, resized
from privplan.errors import DataError, ParameterError, PolicyError
from privplan.planner import PublicData

pytestmark = pytest.mark.usefixtures("flown_once")


def named(images):
    return PublicData(name="some", digest=public_digest(images), declared_by="me")


def pool(plan, phase, images):
    return PublicPool(plan.data, phase, images, seed=plan.training.network.seed)


@pytest.fixture(scope="module")
def letters():
    """Public images of another size, with three classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 1, 12, 10), generator=generator)
    return PublicImages(pixels.to(torch.uint8), torch.arange(60) % 3, 3)


@pytest.fixture(scope="module")
def plan(small, letters):
    return small("coarse=public,context=private,cleaning=public", public=named(letters))


def test_a_run_learns_from_the_public_images_its_plan_names(
    plan, letters, digits, tmp_path
):
    assert run.train(plan, digits, tmp_path / "run", public=letters).finished


def test_a_public_phase_reads_no_record_and_costs_nothing(
    small, letters, digits, tmp_path, monkeypatch
):
    free = small("coarse=public,context=public,cleaning=public", public=named(letters))
    monkeypatch.setattr(trainer_room, "poisson_batch", None)
    assert run.train(free, digits, tmp_path / "run", public=letters).finished
    assert free.accounting.epsilon_upper == 0


def test_other_public_images_than_named_are_refused(plan, letters, digits, tmp_path):
    """Images that nobody declared public could be anyone's, also these records."""
    changed = letters.images.clone()
    changed[0, 0, 0, 0] ^= 1
    other = PublicImages(changed, letters.labels, 3)
    with pytest.raises(PolicyError, match="not the public images"):
        run.train(plan, digits, tmp_path / "run", public=other)
    with pytest.raises(ParameterError, match="must be named"):
        run.train(plan, digits, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_public_images_without_a_use_are_refused(kinds, letters, digits, tmp_path):
    with pytest.raises(ParameterError, match="no phase of this plan"):
        run.train(kinds["gated"], digits, tmp_path / "run", public=letters)


def test_public_labels_are_used_only_where_they_mean_as_many_classes(plan, letters):
    (phase,) = (p for p in plan.phases if p.name == "public")
    clusters = pool(plan, phase, letters)
    assert int(clusters.batch(0)[1].max()) > 2
    ten = load_public("digits", split="test")
    own = pool(plan, phase, ten)
    pictures, labels = own.batch(5)
    where = [int((ten.batch(torch.arange(360))[0] == p).flatten(1).all(1).nonzero()[0])
             for p in pictures]  # fmt: skip
    assert labels.tolist() == ten.labels[where].tolist()


def test_public_images_of_another_kind_are_refused(plan, letters):
    (phase,) = (p for p in plan.phases if p.name == "public")
    colour = PublicImages(letters.images.repeat(1, 3, 1, 1), letters.labels, 3)
    with pytest.raises(DataError, match="colour channels"):
        pool(plan, phase, colour)
    few = PublicImages(letters.images[:4], letters.labels[:4], 3)
    with pytest.raises(DataError, match="cannot fill"):
        pool(plan, phase, few)


def test_resizing_keeps_the_mean_and_the_labels(letters):
    """Antialiased: each pixel weighs the same. 3: rounding and borders, of 255."""
    half = resized(letters, height=6, width=5)
    assert half.images.shape == (60, 1, 6, 5)
    assert torch.equal(half.labels, letters.labels)
    before, after = (s.images.float().mean(dim=(1, 2, 3)) for s in (letters, half))
    assert float((before - after).abs().mean()) < 3
    assert resized(half, height=6, width=5) is half
