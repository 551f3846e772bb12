"""Exact samples of the discrete Gaussian, from random bits and whole numbers alone.

    P(x)  proportional to  exp(-x^2 / (2 sigma^2)),   x = ..., -2, -1, 0, 1, 2, ...

Floating-point noise has gaps and low bits that betray what it was added to. Here no
floating-point number occurs: every decision is whether a uniform whole number lies
below another, so the law is exact as long as the random words are uniform.

    a coin of exp(-n/d)     from coins of n/(d k), k = 1, 2, ...     algorithm 1
    a discrete Laplace      from such coins                          algorithm 2
    a discrete Gaussian     the Laplace, kept with a coin            algorithm 3

The steps are those of the source, for whole arrays at once; `sigma` is in steps of the
grid and a whole number, so nothing exceeds 63 bits.

Units: whole steps of a grid.
Source: Canonne, Kamath & Steinke 2020, arXiv:2004.00010, section 5.
"""

import numpy as np
from numpy.typing import NDArray

from diffusion.randomness import SecureStream
from privplan import checks
from privplan.errors import ParameterError

MAX_SIGMA = 1 << 21
_MOST = np.uint64(2**64 - 1)

Whole = NDArray[np.int64]


def discrete_gaussian(stream: SecureStream, *, sigma: int, count: int) -> Whole:
    """Draw independent samples of the discrete Gaussian around zero.

    Args:
        stream: Fresh randomness.
        sigma: Parameter of the law, in steps; 1 to 2^21.
        count: How many; 0 gives none.

    Raises:
        ParameterError: `sigma` is outside its range.

    Example:
        >>> from diffusion.randomness import RandomSource
        >>> drawn = discrete_gaussian(RandomSource().stream(), sigma=1000, count=500)
        >>> drawn.shape, drawn.dtype, bool(abs(drawn).max() < 10_000)
        ((500,), dtype('int64'), True)
    """
    checks.count(sigma=sigma)
    if not sigma <= MAX_SIGMA:
        raise ParameterError(
            f"sigma is {sigma:,} steps, but it must be at most {MAX_SIGMA:,}",
            hint="use a coarser grid",
        )
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        wanted = 2 * (count - len(found)) + 16
        drawn = _laplace(stream, sigma, wanted)
        off = np.abs(drawn) - sigma
        kept = _exp_coins(stream, off * off, np.full(len(drawn), 2 * sigma * sigma))
        found = np.concatenate([found, drawn[kept]])
    return found[:count]


def _laplace(stream: SecureStream, scale: int, count: int) -> Whole:
    """Draw at most `count` samples of P(x) proportional to exp(-|x| / scale)."""
    rest = _below(stream, np.full(count, scale))
    rest = rest[_unit_exp_coins(stream, rest, np.full(count, scale))]
    whole, going = np.zeros(len(rest), dtype=np.int64), np.arange(len(rest))
    one = np.ones(len(rest), dtype=np.int64)
    while len(going):
        going = going[_unit_exp_coins(stream, one[going], one[going])]
        whole[going] += 1
    size = rest + scale * whole
    negative = (stream.words(len(size)) & np.uint64(1)).astype(bool)
    twice_zero = negative & (size == 0)  # else zero would be twice as likely
    signed: Whole = np.where(negative, -size, size)[~twice_zero]
    return signed


def _exp_coins(stream: SecureStream, n: Whole, d: Whole) -> NDArray[np.bool_]:
    """Flip coins of probability exp(-n / d), for any n >= 0."""
    heads = _unit_exp_coins(stream, n % d, d)
    left = np.where(heads, n // d, 0)
    going = np.flatnonzero(left)
    while len(going):
        one = np.ones(len(going), dtype=np.int64)
        again = _unit_exp_coins(stream, one, one)
        heads[going[~again]] = False
        going = going[again]
        left[going] -= 1
        going = going[left[going] > 0]
    return heads


def _unit_exp_coins(stream: SecureStream, n: Whole, d: Whole) -> NDArray[np.bool_]:
    """Flip coins of probability exp(-n / d), for 0 <= n <= d.

    Coins of n/(d k) are flipped for k = 1, 2, ... until one fails; the k at which it
    fails is odd with probability 1 - n/d + (n/d)^2/2! - ... = exp(-n/d).
    """
    odd = np.zeros(len(n), dtype=np.bool_)
    going, k = np.arange(len(n)), 1
    while len(going):
        hit = _below(stream, d[going] * k) < n[going]
        odd[going[~hit]] = k % 2 == 1
        going, k = going[hit], k + 1
    return odd


def _below(stream: SecureStream, bounds: Whole) -> Whole:
    """Draw uniform whole numbers in [0, bound), one for each bound, without bias."""
    wide = bounds.astype(np.uint64)
    surplus = (_MOST % wide + np.uint64(1)) % wide  # 2^64 modulo the bound
    found = np.empty(len(wide), dtype=np.uint64)
    going = np.arange(len(wide))
    while len(going):
        words = stream.words(len(going))
        fair = words <= _MOST - surplus[going]
        found[going[fair]] = words[fair] % wide[going[fair]]
        going = going[~fair]
    return found.astype(np.int64)
