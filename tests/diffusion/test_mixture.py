"""The mixture: what synthetic images may and may not do to a private step."""

import dataclasses

import pytest
import torch

from diffusion import trainer
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.data import PrivateImages
from diffusion.denoisers import loss_of
from diffusion.mixture import synthetic_gradient
from diffusion.parts import new_learned, start_phase, trained_at
from diffusion.pools import Pool, SyntheticPool
from diffusion.randomness import RandomSource
from diffusion.trainer import private_step
from diffusion.watching import RunOptions

pytestmark = pytest.mark.usefixtures("flown_once")

RECORDS = 24


class Loud(Pool):
    """A pool an adversary would choose: huge images, one after the other."""

    def __init__(self, size):
        self.size, self.steps = size, []

    def batch(self, step):
        self.steps.append(step)
        labels = torch.arange(self.size) % 10
        return 1e3 * torch.ones(self.size, 1, 8, 8) * (labels - 4.5)[
            :, None, None, None
        ], labels

    def pieces(self):
        yield self.batch(0)


class Bench:
    """One private step of the mixture plan, on a few records, without its noise."""

    def __init__(self, plan, monkeypatch):
        self.plan, self.patch = plan, monkeypatch
        *_, self.phase = plan.phases
        self.seen = {}
        monkeypatch.setattr(trainer, "noisy_sum", self._keep)
        monkeypatch.setattr(trainer, "rows_at", rows_of_each_record)

    def _keep(self, total, **_):
        total = [t.detach() for t in total]
        self.seen["sum"] = torch.cat([t.flatten() for t in total])
        return total

    def step(self, images, *, pool=None, rate=1.0):
        """Return the un-noised private sum and the gradient the optimiser gets."""
        learned = new_learned(self.plan, RunOptions())
        start_phase(learned, self.plan, self.phase)
        learner, beside = learned.learner, None
        loss = loss_of(self.plan, trained_at(self.plan, self.phase))
        if pool is not None:
            beside = synthetic_gradient(
                pool,
                loss,
                length=self.phase.synthetic_weight * self.phase.max_grad_norm,
                random=RandomSource(unsafe_seed=3),
                device=torch.device("cpu"),
            )
        mechanism = mechanism_of(self.phase, beside)
        learner.optimiser.step = lambda: self.seen.update(
            gradient=torch.cat(
                [p.grad.flatten().clone() for p in learner.network.parameters()]
            )
        )
        private_step(
            learner,
            images,
            mechanism=dataclasses.replace(mechanism, sample_rate=rate),
            loss=loss,
            performance=performance_of(learner, RunOptions()),
            random=RandomSource(unsafe_seed=1),
            spend=lambda: None,
        )
        return self.seen["sum"], self.seen["gradient"]


def rows_of_each_record(images, labels, *, showing, **_):
    """Draw noise that depends on the record alone, so that neighbours share it."""
    noise_multiplicity = showing.noise_multiplicity
    noise = torch.stack(
        [
            torch.randn(
                noise_multiplicity,
                *image.shape,
                generator=torch.Generator().manual_seed(int(1e3 * image.abs().sum())),
            )
            for image in images
        ]
    ) if len(images) else images.new_zeros(0, noise_multiplicity, 1, 8, 8)  # fmt: skip
    clean = images.repeat(noise_multiplicity, 1, 1, 1)
    noisy = clean + 0.7 * noise.transpose(0, 1).flatten(0, 1)
    return (
        clean,
        noisy,
        torch.full((len(clean),), 0.7),
        labels.repeat(noise_multiplicity),
    )


@pytest.fixture
def bench(kinds, monkeypatch):
    return Bench(kinds["mixture"], monkeypatch)


def without(images, index):
    keep = torch.arange(len(images.labels)) != index
    return PrivateImages(images.images[keep], images.labels[keep], 10)


@pytest.fixture
def few(digits):
    return PrivateImages(digits.images[:RECORDS], digits.labels[:RECORDS], 10)


@pytest.mark.parametrize("pool", [None, Loud(96), Loud(1)], ids=["none", "96", "1"])
def test_one_record_moves_the_private_sum_by_at_most_c_whatever_the_images_drawn(
    bench, few, pool
):
    """Synthetic images in the sum, or filling up the batch, would make it 2 C.

    1e-5: the sum over records is float32.
    """
    whole, _ = bench.step(few, pool=pool)
    limit = bench.phase.max_grad_norm
    moved = [
        float((whole - bench.step(without(few, i), pool=pool)[0]).norm())
        for i in (0, 7, RECORDS - 1)
    ]
    assert max(moved) <= limit * (1 + 1e-5)
    assert min(moved) > 0.1 * limit


def test_the_private_sum_does_not_know_of_synthetic_images(bench, few):
    plain, _ = bench.step(few)
    for pool in (Loud(96), Loud(3)):
        assert torch.equal(bench.step(few, pool=pool)[0], plain)


def test_the_synthetic_gradient_joins_after_the_division_with_its_own_length(
    bench, few
):
    """weight * C, not over the batch size, and the same beside an empty batch.

    2e-5: float32 gradients, whose difference is taken.
    """
    weight, limit = bench.phase.synthetic_weight, bench.phase.max_grad_norm
    added = []
    for images, rate in ((few, 1.0), (without(few, 3), 1.0), (few, 1e-12)):
        plain = bench.step(images, rate=rate)[1]
        mixed = bench.step(images, rate=rate, pool=Loud(96))[1]
        added.append(mixed - plain)
    for one in added:
        assert float(one.norm()) == pytest.approx(weight * limit, rel=2e-5)
        torch.testing.assert_close(one, added[0], rtol=0, atol=2e-5 * limit)


def test_the_divisor_is_the_plans_and_counts_no_synthetic_image(bench, few):
    total, gradient = bench.step(few)
    expected = total / bench.phase.expected_batch_size
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-6, atol=1e-12)


def test_the_synthetic_batch_is_that_of_the_step_whoever_was_drawn(bench, few):
    """A size that follows the private batch would tell how many were drawn."""
    for images, rate in ((few, 1.0), (few, 1e-12)):
        pool = Loud(96)
        bench.step(images, rate=rate, pool=pool)
        assert pool.steps == [0]


def test_the_pool_gives_batches_of_the_size_the_plan_says(kinds):
    plan = kinds["mixture"]
    phase = plan.phases[0]
    pictures, labels = SyntheticPool(plan.data, phase).batch(0)
    assert len(pictures) == len(labels) == phase.batch_size
    assert int(labels.max()) < plan.data.classes


def test_a_synthetic_gradient_without_direction_is_nothing(bench, few):
    """0 / 0 would end the run, or worse, go on with NaN."""

    class Broken(Loud):
        def batch(self, step):
            pictures, labels = super().batch(step)
            return pictures * float("nan"), labels

    plain = bench.step(few)[1]
    assert torch.equal(bench.step(few, pool=Broken(8))[1], plain)
