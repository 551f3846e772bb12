"""Audits on the code that trains: honest code passes, faults are found."""

import pytest
import torch

from diffusion import laws, trainer
from diffusion.audit import conformance, one_run, replay
from diffusion.audit.one_run import OneRun
from diffusion.canaries import carry_out
from diffusion.neighbours import pairs
from diffusion.per_example import Clipping, engine
from diffusion.randomness import RandomSource
from diffusion.releases import Release
from diffusion.replay import replay as replay_one
from diffusion.step_parts import Mechanism
from diffusion.watching import RunOptions
from privplan import one_run as bounds
from privplan.errors import ParameterError
from privplan.one_run import Guesses
from privplan.tradeoff import curve

REAL = trainer.noisy_sum


def scaled(factor):
    def noisy(total, *, noise_multiplier, **named):
        return REAL(total, noise_multiplier=factor * noise_multiplier, **named)

    return noisy


def failing(found):
    return {one.name for one in found if not one.holds}


def test_conformance_passes_honest_steps_and_sees_two_per_cent_less_noise(
    small_plan, monkeypatch
):
    """The promise: noise x 0.98 at 1e5 coordinates, found by its chi-square."""
    options = RunOptions()
    honest = conformance.audit(small_plan, options, coordinates=100_000)
    assert failing(honest) == set()
    assert {"noise", "share", "rate", "pairs", "repeats", "batch sizes"} <= {
        one.name for one in honest
    }
    monkeypatch.setattr(trainer, "noisy_sum", scaled(0.98))
    wrong = conformance.audit(small_plan, options, coordinates=100_000)
    assert "noise" in failing(wrong)


def steps_of(sampler=None, monkeypatch=None):
    if sampler is not None:
        monkeypatch.setattr(trainer, "poisson_batch", sampler)
    mechanism = Mechanism(
        sample_rate=0.1, noise_multiplier=2.0, noise_multiplicity=1,
        clipping=Clipping(max_grad_norm=0.5), expected_batch_size=20.0,
    )  # fmt: skip
    found = carry_out(
        mechanism, engine("folded"), steps=40, members=torch.arange(200), width=200,
        random=RandomSource(),
    )  # fmt: skip
    return failing(
        laws.of_steps(found, noise_multiplier=2.0, sample_rate=0.1, false_alarm=1e-9)
    )


def batches_of_twenty(stream, *, records, sample_rate):
    return torch.randperm(records)[:20].sort().values


def all_or_none(stream, *, records, sample_rate):
    everyone = bool(stream.below(sample_rate, 1)[0])
    return torch.arange(records if everyone else 0)


def the_same_in_turn(stream, *, records, sample_rate):
    return torch.arange(20)


def ten_per_cent_more(stream, *, records, sample_rate):
    chosen = stream.below(1.5 * sample_rate, records)
    return torch.from_numpy(chosen.nonzero()[0])


@pytest.mark.parametrize(
    ("sampler", "found"),
    [
        (batches_of_twenty, "batch sizes"),
        (all_or_none, "pairs"),
        (the_same_in_turn, "repeats"),
        (ten_per_cent_more, "rate"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_a_sampler_that_is_not_poisson_is_found(sampler, found, monkeypatch):
    """Each keeps the rate or the law of sizes and breaks another part of the law."""
    assert found in steps_of(sampler, monkeypatch)


def test_honest_canaries_keep_every_law():
    assert steps_of() == set()


def test_replay_passes_every_release_of_a_plan_with_queries_and_a_prior(small):
    assert failing(replay.audit(small("best"), RunOptions(engine="folded"))) == set()


def asking(function, *, hostile=False):
    return Release(
        name="sum", noise_multiplier=1.0, ask=function, length=64, hostile=hostile
    )


def noise(random):
    return torch.from_numpy(random.stream().normals(64).copy())


def clipped(images):
    rows = images.batch(torch.arange(len(images.labels)))[0].double().flatten(1)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1.0)


def share(images):
    return clipped(images).sum(0)


def mean(images, random):
    return share(images) / len(images.labels) * 10 + noise(random)


def noise_that_follows_the_count(images, random):
    return share(images) + len(images.labels) * noise(random)


def unclipped(images, random):
    rows = images.batch(torch.arange(len(images.labels)))[0].double().flatten(1)
    return 10 * rows.sum(0) + noise(random)


def streams_by_record(images, random):
    for _ in range(len(images.labels)):
        random.stream()
    return share(images)


def remembers(images, random, seen=[0]):  # noqa: B006 - hidden state is the fault
    seen[0] += 1
    return share(images) + seen[0]


def honest(images, random):
    return share(images) + noise(random)


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (mean, {"identical", "blank"}),
        (noise_that_follows_the_count, {"ordinary"}),
        (unclipped, {"huge"}),
        (streams_by_record, {"streams"}),
        (remembers, {"frozen"}),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_replay_finds_what_a_release_must_not_do(small_plan, function, wrong):
    found = failing(replay_one(asking(function), pairs(small_plan.data)))
    assert found & {f"sum: {name}" for name in wrong}


def test_replay_passes_an_honest_sum(small_plan):
    found = replay_one(asking(honest), pairs(small_plan.data))
    assert failing(found) == set()


def correct_guesses(setting):
    noise = setting.noise_multiplier()
    return one_run.guesses_in_gradients(setting, noise, RunOptions(engine="folded"))


def test_a_clean_run_stays_below_its_claim_and_its_ceiling():
    """A small one: its ceiling is low, and it must say so."""
    small = OneRun(canaries=300, guesses=30, steps=2, sample_rate=0.5)
    found = one_run.in_gradients(small, RunOptions(engine="folded"))
    assert found.epsilon_lower <= found.claimed_epsilon <= 1.0
    assert found.epsilon_lower <= found.ceiling < 2.5
    assert found.curve_epsilon_lower <= found.curve_ceiling


def test_a_quarter_of_the_noise_is_caught_by_both_bounds(monkeypatch):
    """Two thousand canaries, two hundred guesses, epsilon 1."""
    setting = OneRun()
    event = setting.event(setting.noise_multiplier())
    monkeypatch.setattr(trainer, "noisy_sum", scaled(0.25))
    leaky = correct_guesses(setting)
    assert bounds.epsilon_lower(leaky, delta=1e-5, significance=0.05) > 1.0
    claim = curve(event, bounds.asked_rates(leaky, 0.05), tolerance=1e-4)
    assert bounds.refutes(leaky, claim, significance=0.05)


@pytest.mark.statistical
def test_two_hundred_clean_runs_stay_below_the_claim_and_leaky_ones_do_not(
    monkeypatch,
):
    """By theory at most 5 % of clean runs may be above; 200 x 0.05 + 4 sd is 22."""
    setting = OneRun()
    event = setting.event(setting.noise_multiplier())
    rates = bounds.asked_rates(Guesses(canaries=2000, guesses=200, correct=0), 0.05)
    claim = curve(event, rates, tolerance=1e-4)

    def above(found):
        lower = bounds.epsilon_lower(found, delta=1e-5, significance=0.05)
        return lower > 1.0, bounds.refutes(found, claim, significance=0.05)

    clean = [above(correct_guesses(setting)) for _ in range(200)]
    assert sum(plain for plain, _ in clean) == 0
    assert sum(curved for _, curved in clean) <= 22
    monkeypatch.setattr(trainer, "noisy_sum", scaled(0.25))
    leaky = [above(correct_guesses(setting)) for _ in range(50)]
    assert sum(plain for plain, _ in leaky) >= 48
    assert sum(curved for _, curved in leaky) >= 48


def test_canaries_in_pixels_go_through_the_plans_own_network(small_plan):
    """Forty of them can show next to nothing; that is what their ceiling says."""
    setting = OneRun(canaries=40, guesses=20, steps=2, sample_rate=0.5)
    found = one_run.in_pixels(small_plan, setting, RunOptions())
    assert found.space == "pixels"
    assert found.epsilon_lower <= found.ceiling < 2.0
    assert not found.epsilon_lower > found.claimed_epsilon


def test_a_plan_without_private_steps_has_no_canaries_in_pixels(kinds):
    assert one_run.in_pixels(kinds["untrained"], OneRun(), RunOptions()) is None


@pytest.mark.parametrize(
    "wrong", [{"guesses": 3}, {"guesses": 4000}, {"canaries": 0}, {"epsilon": -1.0}]
)
def test_settings_that_cannot_be_carried_out_are_refused(wrong):
    with pytest.raises(ParameterError):
        OneRun(**wrong)
