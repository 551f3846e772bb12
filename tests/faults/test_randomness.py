"""Mistakes in the randomness: seeds, stored states, repeated keys, wrong laws."""

import hashlib
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion import checkpoint, privatize, randomness, run, trainer
from diffusion.randomness import RandomSource, SecureStream
from diffusion.watching import RunOptions
from privplan import ledger, report
from privplan.errors import StepFailedError
from privplan.report_schema import Surroundings
from tests.diffusion.test_run import StopAfter
from tests.faults import steps
from tests.faults.catching import fault

AROUND = Surroundings(source_digest="c" * 64, versions={}, platform="somewhere")


def keys_are_never_used_twice():
    """Two runs seeded alike by their user, three steps each: six different keys."""
    words = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        source = RandomSource()
        words += [source.stream().words(4).tobytes() for _ in range(3)]
    assert len(set(words)) == 6


@fault("R1")
def test_noise_from_torchs_generator_is_caught(caught, monkeypatch):
    """A published seed makes the mechanism a function of the data: epsilon infinite."""

    def wrong(_):
        return SecureStream(bytes(torch.randint(0, 256, (32,)).tolist()))

    caught.check(
        keys_are_never_used_twice,
        lambda: monkeypatch.setattr(RandomSource, "stream", wrong),
    )


def nothing_random_is_kept(folder):
    """A checkpoint holds weights, averages and moments, each named for what it is."""
    names = set(load_file(folder / checkpoint.STATE_NAME))
    assert not [n for n in names if any(w in n for w in ("rng", "random", "seed"))]
    assert all(
        t.dtype != torch.uint8
        for t in load_file(folder / checkpoint.STATE_NAME).values()
    )


@fault("R2")
@pytest.mark.slow
@pytest.mark.usefixtures("flown_once")
def test_random_state_in_a_checkpoint_is_caught(caught, small_plan, digits, tmp_path):
    """With one record changed, two iterates from one state differ by its gradient."""
    folder = tmp_path / "run"
    run.train(small_plan, digits, folder, watcher=StopAfter(1))
    path = folder / checkpoint.STATE_NAME

    def put_in():
        tensors = load_file(path)
        tensors["torch_rng_state"] = torch.get_rng_state()
        save_file(tensors, path)

    caught.check(lambda: nothing_random_is_kept(folder), put_in, "no random state kept")


@fault("R3")
def test_one_key_for_two_steps_is_caught(caught, monkeypatch):
    fixed = hashlib.sha256(b"session").digest()
    caught.check(
        keys_are_never_used_twice,
        lambda: monkeypatch.setattr(
            RandomSource, "stream", lambda _: SecureStream(fixed)
        ),
    )


@fault("R4")
@pytest.mark.slow
@pytest.mark.usefixtures("flown_once")
def test_a_seeded_run_claims_nothing(caught, small_plan, digits, tmp_path):
    folder = tmp_path / "run"
    run.train(
        small_plan,
        digits,
        folder,
        options=RunOptions(unsafe_seed=3),
        watcher=StopAfter(1),
    )
    content = ledger.read(folder / "ledger.sqlite")
    caught.verdict(report.build(small_plan, content, AROUND), "seed")


@fault("R5")
@pytest.mark.slow
def test_a_system_without_randomness_stops_the_run(
    caught, small_plan, digits, tmp_path, monkeypatch
):
    """What was begun stays counted; nothing is drawn from somewhere else."""

    class Dry:
        getpid = os.getpid

        @staticmethod
        def urandom(count):
            raise OSError("no entropy")

    monkeypatch.setattr(randomness, "os", Dry)
    folder = tmp_path / "run"
    caught.refusal(StepFailedError, lambda: run.train(small_plan, digits, folder))
    assert not (folder / checkpoint.MODEL_NAME).exists()


@fault("R6")
@pytest.mark.slow
def test_noise_used_again_is_caught(caught, small_plan, monkeypatch):
    """The difference of two steps would be free of noise."""
    step, kept = steps.Step(small_plan), []
    right = trainer.noisy_sum

    def wrong(total, **named):
        if not kept:
            kept.append(right([torch.zeros_like(t) for t in total], **named))
        return [t + n for t, n in zip(total, kept[0], strict=True)]

    caught.check(
        lambda: steps.noise_is_as_planned(step),
        lambda: monkeypatch.setattr(trainer, "noisy_sum", wrong),
        "steps do not repeat noise",
    )


def tails_are_reachable():
    """The rarest words are as rare as they should be, and beyond six sigma."""
    top = np.array([2**64 - 1, 0, 2**63], dtype=np.uint64)
    stream = SecureStream(bytes(32))
    stream.words = lambda _: top
    high, low, middle = stream.normals(3)
    assert high > 6
    assert low < -6
    assert np.isfinite([high, low]).all()
    assert abs(middle) < 1e-12


@fault("R7")
@pytest.mark.slow
def test_noise_of_another_law_is_caught(caught, small_plan, monkeypatch):
    """Same variance, other law: uniform noise, or a Gaussian cut at four sigma."""
    step = steps.Step(small_plan)
    with monkeypatch.context() as patch:
        caught.check(
            lambda: steps.noise_is_as_planned(step),
            lambda: patch.setattr(
                SecureStream,
                "normals",
                lambda self, n: (self.uniforms(n) - 0.5) * 12**0.5,
            ),
            "noise is as planned",
        )
    right = SecureStream.normals
    caught.check(
        tails_are_reachable,
        lambda: monkeypatch.setattr(
            SecureStream, "normals", lambda self, n: np.clip(right(self, n), -4, 4)
        ),
    )


@fault("R8")
def test_outputs_off_the_grid_are_caught(caught, monkeypatch):
    """The last bits of `sum + noise` tell two sums apart, whatever the noise."""
    caught.check(
        lambda: steps.lies_on_the_grid(privatize.noisy_sum),
        lambda: monkeypatch.setattr(privatize, "grid_step", lambda _: 1e-150),
        "outputs lie on the grid",
    )
