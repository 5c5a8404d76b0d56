"""Where the trainer's random numbers come from: generators keyed by seed, purpose and place.

Nothing is a stream that must be saved: the generator of gradient step 700 is the same in a run that was resumed at
step 500, so training continues bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a generator is for. Never renumber: the values are part of recorded experiments."""

    INITIALIZATION = 1
    REPLAY = 2
    MINIBATCHES = 3


def generator(seed: int, stream: Stream, *place: int) -> np.random.Generator:
    """The NumPy generator of a place (a gradient step, an update and epoch) in a stream of the run's seed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(stream), *place])))


@contextmanager
def seeded_initialization(seed: int) -> Iterator[None]:
    """Inside, torch initializes parameters from `seed`; the caller's random state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, Stream.INITIALIZATION).integers(2**62)))
        yield
