import os

import numpy as np
import pytest
import torch
from scipy import stats

from diffusion.randomness import RandomSource, SecureStream, open_uniforms
from privplan.errors import ParameterError


def test_seeding_torch_and_numpy_changes_nothing():
    """A user's `torch.manual_seed(0)` must not make the noise predictable."""
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        source = RandomSource()
        drawn.append((source.stream().normals(4), source.generator().initial_seed()))
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    assert drawn[0][1] != drawn[1][1]


def test_no_two_streams_of_a_run_are_alike():
    source = RandomSource()
    firsts = {int(source.stream().words(1)[0]) for _ in range(100)}
    assert len(firsts) == 100


def test_an_unsafe_seed_repeats_and_nothing_else_does():
    first, again = (RandomSource(unsafe_seed=3) for _ in range(2))
    assert np.array_equal(first.stream().normals(8), again.stream().normals(8))
    assert not np.array_equal(first.stream().normals(8), first.stream().normals(8))


def test_a_stream_cannot_be_used_in_a_forked_child():
    """A fork copies the key: parent and child would draw the same noise."""
    stream = RandomSource().stream()
    child = os.fork()
    if child == 0:
        try:
            stream.words(1)
        except ParameterError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_words_are_the_keystream_of_aes_in_counter_mode():
    """NIST SP 800-38A has no zero-counter vector; AES-256 of a zero block does."""
    known = bytes.fromhex("dc95c078a2408989ad48a21492842087")
    assert SecureStream(bytes(32)).words(2).tobytes() == known


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ParameterError, match="must have 32"):
        SecureStream(b"short")


def test_the_extreme_words_give_finite_normals():
    """A uniform that rounds to 1 would give infinite noise, and NaN weights."""
    ends = open_uniforms(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert 0 < ends[0] < ends[1] < 1
    assert np.isfinite(stats.norm.ppf(ends)).all()
    assert stats.norm.ppf(ends[1]) == pytest.approx(8.2, abs=0.1)


def test_normals_are_normal():
    """Kolmogorov-Smirnov at 2e5 draws; fails by chance once in a million runs."""
    drawn = RandomSource().stream().normals(200_000)
    assert stats.kstest(drawn, "norm").pvalue > 1e-6


def test_normals_of_two_steps_do_not_repeat_each_other():
    source = RandomSource()
    a, b = (source.stream().normals(100_000) for _ in range(2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(100_000)


def test_asking_for_no_normals_gives_none():
    assert RandomSource().stream().normals(0).shape == (0,)


@pytest.mark.parametrize("rate", [1e-3, 0.2, 0.5])
def test_a_coin_of_rate_q_falls_with_rate_q(rate):
    """A rate wrong by 1 % changes epsilon; the band is six standard deviations."""
    count = 400_000
    mean = RandomSource().stream().below(rate, count).mean()
    assert abs(mean - rate) < 6 * np.sqrt(rate * (1 - rate) / count)


def test_a_rate_outside_its_range_is_refused():
    for rate in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ParameterError, match="rate"):
            RandomSource().stream().below(rate, 3)
