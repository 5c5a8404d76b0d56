"""Computes random numbers as functions of a key: the same key always gives the same number.

The key is `(seed, purpose, episode, slot, source, destination, index)`. The function is Philox4x32-10 (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011). There is no generator state. So a trace has the same failures
in the twin and on a cluster, in any order, after a restart, and for any batch size.

`uniform` works on arrays that broadcast against each other. For scalars it computes with Python integers, which is ten
times faster than NumPy for one number: an edge node draws one number at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
_SCALE = 2.0**-53
_BELOW_ONE = 1.0 - 2.0**-53
"""The largest double below 1. Without it, rounding would turn the largest 53-bit number into exactly 1."""

MAX_SEED = _LOW
"""Seeds are 32-bit: 0 … 4294967295."""


class Purpose(IntEnum):
    """What a draw is for. The values are part of the recorded experiments: never renumber them."""

    ARRIVAL = 1
    SIZE = 2
    COMPLEXITY = 3
    TRANSMISSION_FAILURE = 4
    EXECUTION_FAILURE = 5
    DECISION = 6
    ANSWER = 7
    ORDER = 8


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Ten rounds of Philox4x32 on Python integers (each below 2**32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def _philox_arrays(
    c0: NDArray[np.uint64], c1: NDArray[np.uint64], c2: NDArray[np.uint64], c3: NDArray[np.uint64], key: tuple[int, int]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    low, shift = np.uint64(_LOW), np.uint64(32)
    m0, m1 = np.uint64(_M0), np.uint64(_M1)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = m0 * c0, m1 * c2
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & low
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1


def uniform(
    seed: int,
    purpose: Purpose,
    episode: Any,
    slot: Any,
    source: Any,
    destination: Any = 0,
    index: Any = 0,
) -> Any:
    """Uniform numbers strictly between 0 and 1, as a function of their key.

    `seed` (0 … 2**32−1) and `purpose` are scalars. The rest are integers or integer arrays that broadcast against
    each other: `episode`, `slot` and `index` below 2**32, `source` and `destination` below 2**16.
    Returns a float for scalars, else a float64 array of the broadcast shape, with 53 random bits each.
    """
    if isinstance(slot, int) and isinstance(source, int) and isinstance(destination, int):
        if isinstance(episode, int) and isinstance(index, int):
            high, more, _, _ = philox4x32((episode, slot, source << 16 | destination, index), (seed, int(purpose)))
            return min(((high << 21 | more >> 11) + 0.5) * _SCALE, _BELOW_ONE)
    parts = [np.asarray(part).astype(np.uint64) for part in (episode, slot, source, destination, index)]
    e, t, s, d, k = np.broadcast_arrays(*parts)
    a, b = _philox_arrays(e, t, (s << np.uint64(16)) | d, k, (seed, int(purpose)))
    mantissa = (a << np.uint64(21)) | (b >> np.uint64(11))
    return np.minimum((mantissa.astype(np.float64) + 0.5) * _SCALE, _BELOW_ONE)


def failure_instant_s(
    seed: int, purpose: Purpose, episode: Any, slot: Any, source: Any, destination: Any, rate: Any
) -> Any:
    """Seconds from the start of a transmission or execution to its first Poisson failure: −ln(u)/rate (eq. 3–5).

    `rate` in failures/s, scalar or array; the result is infinite where the rate is 0. The operation fails if this
    instant lies before its end.
    """
    u = uniform(seed, purpose, episode, slot, source, destination)
    if isinstance(u, float) and not isinstance(rate, np.ndarray):
        return -float(np.log(u)) / rate if rate > 0 else float("inf")
    with np.errstate(divide="ignore"):
        return np.where(np.asarray(rate) > 0, -np.log(u) / np.asarray(rate, dtype=float), np.inf)


@dataclass(frozen=True)
class Draws:
    """The uniform numbers of B decisions: `draws.uniform(k)` has the k-th number of each.

    A scheduler must take all its randomness from here, so that a replay makes the same decisions.
    `episode`, `slot` and `source` have shape (B,).
    """

    seed: int
    episode: NDArray[np.int64]
    slot: NDArray[np.int64]
    source: NDArray[np.int64]

    @classmethod
    def single(cls, seed: int, episode: int, slot: int, source: int) -> Draws:
        """The draws of one decision (B = 1)."""
        return cls(seed, np.array([episode]), np.array([slot]), np.array([source]))

    def take(self, rows: NDArray[np.int64]) -> Draws:
        """The draws of some of the decisions."""
        return Draws(self.seed, self.episode[rows], self.slot[rows], self.source[rows])

    def uniform(self, index: int) -> NDArray[np.float64]:
        """Shape (B,): the `index`-th number of every decision, in (0, 1)."""
        if len(self.slot) == 1:
            place = int(self.episode[0]), int(self.slot[0]), int(self.source[0])
            return np.array([uniform(self.seed, Purpose.DECISION, *place, 0, index)])
        result: NDArray[np.float64] = uniform(
            self.seed, Purpose.DECISION, self.episode, self.slot, self.source, 0, index
        )
        return result

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """Shape (B, count): the numbers 0 … count−1 of every decision. Faster than `uniform` for each."""
        if len(self.slot) == 1:
            return np.array([[self.uniform(index)[0] for index in range(count)]])
        key = self.episode[:, None], self.slot[:, None], self.source[:, None]
        result: NDArray[np.float64] = uniform(self.seed, Purpose.DECISION, *key, 0, np.arange(count))
        return result
