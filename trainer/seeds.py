"""Makes the trainer's random generators, keyed by seed, purpose and place.

No generator state is saved. The generator of gradient step 700 is the same in a run that was resumed at step 500, so
training continues bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purposes of generators. Never change the values: recorded experiments depend on them."""

    INITIALIZATION = 1
    REPLAY = 2
    MINIBATCHES = 3
    CANDIDATES = 4


def generator(seed: int, stream: Stream, *place: int) -> np.random.Generator:
    """The NumPy generator of a place (a gradient step, or an update and epoch) in a stream of the run's seed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(stream), *place])))


@contextmanager
def seeded_initialization(seed: int) -> Iterator[None]:
    """Make torch initialize parameters from `seed`; restore the caller's random state afterwards."""
    import torch  # here, so that reading settings and plans does not need it

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, Stream.INITIALIZATION).integers(2**62)))
        yield
