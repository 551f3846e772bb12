"""A unit of several records weighs what one record weighs elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion import trainer as trainer_room
from diffusion.blueprint import mechanism_of, performance_of
from diffusion.data import PrivateImages, load_private
from diffusion.denoisers import loss_of
from diffusion.parts import SHARED, new_learned
from diffusion.queries import noisy_answer
from diffusion.randomness import RandomSource
from diffusion.readers.units import grouped, kept_records
from diffusion.record_rows import record_seeds, rows_at
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan.budget import PrivacyUnit
from privplan.errors import PolicyError
from privplan.stages import Source
from tests.diffusion import large_sets as make

# a float64 sum of float32 gradients: what rounding may add to a length of C
SLACK = 1 + 1e-5
DRAWS = 4


@pytest.fixture
def summed(small_plan, monkeypatch):
    """Return the clipped sum of a step in which everybody takes part, and C."""

    def run(images, *, seed=3, bound=1e-3):
        learner = new_learned(small_plan, RunOptions()).parts[SHARED]
        phase = small_plan.private_phases[0]
        mechanism = mechanism_of(phase)
        mechanism = replace(
            mechanism,
            sample_rate=1.0,
            noise_multiplicity=DRAWS,
            clipping=replace(mechanism.clipping, max_grad_norm=bound),
        )
        seen = []

        def capture(total, **_):
            seen.extend(part.detach().clone() for part in total)
            return [torch.zeros_like(part) for part in total]

        monkeypatch.setattr(trainer_room, "noisy_sum", capture)
        learner.optimiser.step = lambda: None
        private_step(
            learner,
            images,
            mechanism=mechanism,
            loss=loss_of(small_plan, small_plan.intervals(Source.PRIVATE)),
            performance=performance_of(learner, RunOptions(physical_batch_size=2)),
            random=RandomSource(unsafe_seed=seed),
            spend=lambda: None,
        )
        return torch.cat([part.flatten() for part in seen])

    return run


def patients(digits, numbers, *, max_records):
    """The first digits, as records of the patients with these numbers."""
    count = len(numbers)
    units = None
    if max_records is not None:
        units = grouped(np.array(numbers), column="patient", max_records=max_records)
    return PrivateImages(digits.images[:count], digits.labels[:count], 10, units)


def test_two_records_of_one_patient_move_the_sum_by_at_most_c(digits, summed):
    """Clipped one by one they would move it by twice C against noise made for C."""
    with_pair = summed(patients(digits, [0, 1, 2, 2], max_records=2))
    without = summed(patients(digits, [0, 1], max_records=2))
    moved = float((with_pair - without).norm())
    # every gradient here is longer than C, so a unit moves the sum by C, not by less
    assert 0.99e-3 <= moved <= 1e-3 * SLACK

    alone = summed(patients(digits, [0, 1, 2, 3], max_records=None))
    neither = summed(patients(digits, [0, 1], max_records=None))
    assert float((alone - neither).norm()) > 1.2e-3


def test_the_sum_is_that_of_plain_autograd_over_what_each_unit_shows(
    small_plan, digits, summed
):
    """The oracle: one mean loss per unit, differentiated, clipped by hand, added up."""
    numbers, seed, bound = [0, 0, 0, 1, 2, 2], 5, 0.05
    images = patients(digits, numbers, max_records=3)
    found = summed(images, seed=seed, bound=bound)

    learner = new_learned(small_plan, RunOptions()).parts[SHARED]
    loss = loss_of(small_plan, small_plan.intervals(Source.PRIVATE))
    random = RandomSource(unsafe_seed=seed)
    random.stream()  # the step draws its batch first
    everybody = torch.arange(3)
    seeds = record_seeds(random.stream(), everybody, records=3)
    expected = torch.zeros_like(found)
    for unit in range(3):
        shown = images.shown(
            everybody[unit : unit + 1], seeds=seeds[unit : unit + 1], draws=DRAWS
        )
        own = {place for place, number in enumerate(numbers) if number == unit}
        assert set(shown.tolist()) == own
        rows = rows_at(
            *images.batch(shown),
            seeds=seeds[unit : unit + 1],
            showing=loss.showing(DRAWS),
        )
        mean = loss.row_loss(learner.network, rows).mean()
        gradient = torch.autograd.grad(mean, list(learner.network.parameters()))
        flat = torch.cat([part.flatten() for part in gradient]).double()
        expected += flat * min(1.0, bound / float(flat.norm()))
    # float32 gradients, computed for all units at once or one by one
    assert (found - expected).abs().max() <= 2e-4 * expected.abs().max()


@pytest.mark.parametrize("extra", [1, 5])
def test_a_patient_with_more_records_than_allowed_moves_the_sum_by_c(
    tmp_path, digits, summed, extra
):
    """Whoever hands in many records must not weigh more, nor push out another's."""
    count, most = 4 + 2 + extra, 2
    contents = [make.png(image) for image in digits.images[:count, 0].numpy()]
    names = ["a", "b", "b", "c"] + ["greedy"] * (most + extra)
    wanted = {"unit": PrivacyUnit(name="patient", max_records=most)}
    sets = []
    for name, number in (("all", count), ("others", 4)):
        make.files(
            tmp_path / name,
            contents[:number],
            digits.labels[:number].tolist(),
            names[:number],
        )
        sets.append(load_private(str(tmp_path / name), **wanted))
    everybody, others = sets
    assert (everybody.contributors, others.contributors) == (4, 3)
    assert len(everybody.labels) == len(others.labels) + most
    assert torch.equal(everybody.images[:4], others.images)
    moved = float((summed(everybody) - summed(others)).norm())
    assert 0.99e-3 <= moved <= 1e-3 * SLACK


def test_which_records_a_unit_keeps_depends_on_its_own_records_alone():
    """A rule over all records would let one patient decide what another contributes."""
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    numbers, labels = rng.integers(0, 9, 60), np.zeros(60, dtype=np.int64)
    kept = set(kept_records(numbers, digests, labels, max_records=3).tolist())
    for unit in range(9):
        own = np.flatnonzero(numbers == unit)
        alone = kept_records(
            np.zeros(len(own), dtype=np.int64), digests[own], labels[own], max_records=3
        )
        by_hand = sorted(own, key=lambda i: digests[i].tobytes())[:3]
        assert set(own[alone].tolist()) == kept & set(own.tolist()) == set(by_hand)


def test_every_record_of_a_unit_is_shown_as_often_as_the_others(digits):
    """A record that is never drawn would be paid for and not learned from."""
    images = patients(digits, [0, 0, 0], max_records=3)
    one = torch.tensor([0])
    shown = [images.shown(one, seeds=[s], draws=2) for s in range(600)]
    counts = torch.bincount(torch.cat(shown), minlength=3)
    # 1200 draws, a third each; 5 standard deviations of a binomial are under 85
    assert (counts - 400).abs().max() < 85


def test_a_query_refuses_units_of_several_records(small, digits):
    """It adds up records, so such a unit would move it by more than its noise hides."""
    plan = small("coarse=gaussian,context=private,cleaning=private")
    phase = plan.phases[0]
    images = patients(digits, [0, 0, 1], max_records=2)
    with pytest.raises(PolicyError, match="a unit may have several"):
        noisy_answer(plan, phase, images, random=RandomSource(), spend=pytest.fail)
