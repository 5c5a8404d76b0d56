"""Compiled versions of `offload.draws`: the same place in an experiment gives the same number, bit for bit.

One loop computes the uniforms of all tasks of a slot. The compiler vectorizes a loop that contains nothing but Philox:
it costs a tenth of computing the uniforms one by one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from offload.draws import Purpose
from simulator.compiling import compiled

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_SCALE = 2.0**-53
_BELOW_ONE = 1.0 - 2.0**-53
_TRANSMISSION, _EXECUTION = np.uint64(Purpose.TRANSMISSION_FAILURE), np.uint64(Purpose.EXECUTION_FAILURE)


@njit(inline="always")
def uniform(seed, purpose, episode, slot, source, destination, index):
    """`offload.draws.uniform` for one place."""
    c0, c1 = np.uint64(episode), np.uint64(slot)
    c2, c3 = (np.uint64(source) << np.uint64(16)) | np.uint64(destination), np.uint64(index)
    k0, k1 = np.uint64(seed), np.uint64(purpose)
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    mantissa = (c0 << np.uint64(21)) | (c1 >> np.uint64(11))
    return min((np.float64(mantissa) + 0.5) * _SCALE, _BELOW_ONE)


@compiled
def fill_failure_uniforms(seed, episode, slot, destination, transmission, execution):
    """Fill `transmission` and `execution` (N,) with the uniforms of slot `slot`'s tasks; `destination` is (N,)."""
    for i in range(len(destination)):
        transmission[i] = uniform(seed, _TRANSMISSION, episode, slot, i, destination[i], 0)
    for i in range(len(destination)):
        execution[i] = uniform(seed, _EXECUTION, episode, slot, i, destination[i], 0)
