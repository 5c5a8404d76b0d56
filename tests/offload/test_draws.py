"""Tests the random draws: a replayed trace must meet the same failures, or comparisons would not be paired."""

import numpy as np
import pytest

from offload import draws as draws_module
from offload.draws import Draws, Purpose, failure_instant_s, philox4x32, uniform

ALL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, expected):
    assert philox4x32(counter, key) == expected


def test_one_at_a_time_and_all_at_once_are_the_same_numbers():
    random = np.random.default_rng(0)
    episode, slot, index = (random.integers(0, 2**32, 500) for _ in range(3))
    source, destination = (random.integers(0, 2**16, 500) for _ in range(2))
    together = uniform(ALL, Purpose.EXECUTION_FAILURE, episode, slot, source, destination, index)
    for b in range(500):
        place = [int(one[b]) for one in (episode, slot, source, destination, index)]
        assert uniform(ALL, Purpose.EXECUTION_FAILURE, *place) == together[b]


def test_order_and_batches_do_not_matter():
    slot, source = np.arange(60)[:, None], np.arange(20)[None, :]
    grid = uniform(3, Purpose.ARRIVAL, 5, slot, source)
    assert grid.shape == (60, 20)
    np.testing.assert_array_equal(uniform(3, Purpose.ARRIVAL, 5, slot[::-1], source)[::-1], grid)
    np.testing.assert_array_equal(uniform(3, Purpose.ARRIVAL, 5, slot[10:13], source), grid[10:13])


def test_numbers_are_uniform_and_every_part_of_the_key_counts():
    numbers = uniform(1, Purpose.SIZE, 0, np.arange(100_000), 0)
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 160  # 99 degrees of freedom: the 0.9999 quantile is about 160
    base = (1, Purpose.SIZE, 2, 3, 4, 5, 6)
    for part in range(7):
        other = list(base)
        other[part] = Purpose.ARRIVAL if part == 1 else base[part] + 1
        assert uniform(*other) != uniform(*base)


def test_neighbours_are_not_correlated():
    along = uniform(1, Purpose.DECISION, 0, np.arange(50_000), 0)
    across = uniform(1, Purpose.DECISION, 0, np.arange(50_000), 1)
    assert abs(np.corrcoef(along[:-1], along[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(along, across)[0, 1]) < 0.02


def test_not_even_the_largest_number_rounds_to_one(monkeypatch):
    """1.0 would send a task to node N, and let a failure occur at once."""
    monkeypatch.setattr(draws_module, "philox4x32", lambda counter, key: (ALL, ALL, ALL, ALL))
    monkeypatch.setattr(
        draws_module, "_philox_arrays", lambda *parts: (np.full(2, ALL, np.uint64), np.full(2, ALL, np.uint64))
    )
    assert uniform(1, Purpose.SIZE, 0, 0, 0) < 1.0
    assert (uniform(1, Purpose.SIZE, 0, np.arange(2), 0) < 1.0).all()


def test_failures_come_at_their_rate():
    instants = failure_instant_s(1, Purpose.EXECUTION_FAILURE, 0, np.arange(40_000), 2, 3, np.full(40_000, 0.4))
    assert np.mean(instants > 1.0) == pytest.approx(np.exp(-0.4), abs=0.01)
    assert instants.mean() == pytest.approx(2.5, rel=0.03)


def test_failure_instants_are_equal_alone_and_in_a_batch():
    together = failure_instant_s(1, Purpose.TRANSMISSION_FAILURE, 7, np.arange(5), 2, 3, np.array([0, 1, 2, 0.5, 1]))
    alone = [failure_instant_s(1, Purpose.TRANSMISSION_FAILURE, 7, t, 2, 3, r) for t, r in enumerate((0, 1, 2, 0.5, 1))]
    np.testing.assert_allclose(together, alone, rtol=1e-15)
    assert np.isinf(together[0])


def test_a_decisions_draws_are_the_same_in_a_batch():
    places = np.array([[4, 1, 0], [4, 1, 1], [9, 30, 7]])
    batch = Draws(11, *places.T)
    for b, place in enumerate(places.tolist()):
        single = Draws.single(11, *place)
        for k in range(3):
            assert single.uniform(k)[0] == batch.uniform(k)[b]
