"""Randomness that nobody can replay.

A guarantee of differential privacy is a statement about noise an adversary cannot
predict. A published seed, a saved generator state or a forked process that repeats its
parent's noise each turn the mechanism into a deterministic function of the data, and
epsilon into infinity. So every step gets a new 256-bit key from the operating system,
the key drives AES in counter mode, and nothing is ever stored.

    operating system --32 bytes--> AES-256-CTR --64-bit words--> uniforms --> normals

`torch.manual_seed` in a user's code changes nothing here. The one way to repeat a run
is `unsafe_seed`, which exists for tests, is written into the ledger, and turns every
report on the run into one without a claim.

Normals come from the inverse cumulative distribution in float64, from uniforms of 52
bits: the largest is 8.2 standard deviations, with the right probability.

Edges: reads the operating system's randomness.
Source: NIST SP 800-38A (counter mode); Holohan & Braghin 2021, arXiv:2107.10138 (why
floating-point noise needs care).
"""

import hashlib
import os

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from scipy.special import ndtri

from privplan import checks
from privplan.errors import ParameterError, StepFailedError

KEY_BYTES = 32
_WORDS_AT_ONCE = 1 << 20


class SecureStream:
    """A stream of random words under one fresh key; used for one step, then dropped.

    The process that made a stream is the only one that can use it: a fork would
    otherwise repeat its parent's noise.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ParameterError(
                f"the key has {len(key)} bytes, but it must have {KEY_BYTES}",
                hint="take streams from RandomSource.stream()",
            )
        cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16)))
        self._keystream = cipher.encryptor()
        self._process = os.getpid()

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return `count` uniform 64-bit words.

        Raises:
            ParameterError: Called in a forked child.
        """
        if os.getpid() != self._process:
            raise ParameterError(
                "a random stream was used in a forked process",
                hint="draw noise and batches in the training process only",
            )
        return np.frombuffer(self._keystream.update(bytes(8 * count)), dtype=np.uint64)

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """Return `count` uniforms strictly inside (0, 1)."""
        return open_uniforms(self.words(count))

    def normals(self, count: int) -> NDArray[np.float64]:
        """Return `count` independent standard normals, float64."""
        pieces = [
            ndtri(self.uniforms(min(_WORDS_AT_ONCE, count - start)))
            for start in range(0, count, _WORDS_AT_ONCE)
        ]
        return np.concatenate(pieces) if pieces else np.empty(0)

    def below(self, rate: float, count: int) -> NDArray[np.bool_]:
        """Return `count` independent coins that are true with probability `rate`.

        The probability is exact to 2^-64.

        Raises:
            ParameterError: `rate` is outside (0, 1], or NaN.
        """
        checks.rate(rate=rate)
        if rate >= 1:
            return np.ones(count, dtype=np.bool_)
        threshold = np.uint64(int(rate * 2.0**64))
        return self.words(count) < threshold


def open_uniforms(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 64-bit words to uniforms strictly inside (0, 1).

    The grid is (k + 1/2) 2^-52: 53 bits would round the largest value up to 1, whose
    normal is infinite.

    Example:
        >>> bool(open_uniforms(np.array([2**64 - 1], dtype=np.uint64))[0] < 1)
        True
    """
    grid = (words >> np.uint64(12)).astype(np.float64)
    return np.asarray((grid + 0.5) * 2.0**-52)


def generator_from(key: bytes) -> torch.Generator:
    """Return the torch generator that a key stands for."""
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)


class RandomSource:
    """Where the streams of a run come from.

    Attributes:
        unsafe_seed: None in every real run.
    """

    def __init__(self, *, unsafe_seed: int | None = None) -> None:
        self.unsafe_seed = unsafe_seed
        self._drawn = 0

    def stream(self) -> SecureStream:
        """Return a stream under a key that was never used before.

        With `unsafe_seed` the keys are a public sequence; the noise is then worthless.

        Raises:
            StepFailedError: The operating system gives no randomness.
        """
        return SecureStream(self.key())

    def generator(self) -> torch.Generator:
        """Return a torch generator for draws that privacy does not rest on.

        Noise levels, image noise of the diffusion loss and label dropout only choose
        which function of a record is clipped; the clip bounds it whatever they are.
        """
        return generator_from(self.key())

    def key(self) -> bytes:
        """Return 32 fresh bytes, for one stream or generator and nothing else."""
        if self.unsafe_seed is None:
            return _fresh_key()
        self._drawn += 1
        return hashlib.sha256(f"{self.unsafe_seed}/{self._drawn}".encode()).digest()


def _fresh_key() -> bytes:
    try:
        return os.urandom(KEY_BYTES)
    except (OSError, NotImplementedError) as error:
        raise StepFailedError(
            "the operating system gives no randomness, so no noise can be drawn",
            hint="mend its source of randomness, then go on with --resume; what was "
            "begun stays spent",
        ) from error
