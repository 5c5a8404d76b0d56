"""Tests that logs become the right transitions, and that the replay buffer returns its contents unchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offload.episodes import EpisodeLog, EpisodePlan
from offload.scheduler_choice import SchedulerChoice
from trainer.replay import ReplayBuffer
from trainer.tiny_world import NODES, OBSERVATION, SLOTS, buffer_of, play
from trainer.transitions import RewardStatistics, transitions_of


def hand_made() -> EpisodeLog:
    """T = 3, N = 2. Node 0 has tasks in slots 0 and 2, node 1 in slot 0. Node 1 is down in slot 2, and up at tick 3."""
    no_task = [False, False, True]
    some = [True, True, False]
    return EpisodeLog(
        episode=4,
        plan=EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc")),
        observations=np.arange(8, dtype=np.float32).reshape(4, 2, 1),
        masks=np.array([[some, some], [no_task, no_task], [some, [False] * 3], [no_task, no_task]]),
        actions=np.array([[1, 1], [2, 2], [0, 0], [2, 2]]),
        log_probabilities=np.full((4, 2), np.nan, np.float32),
        up=np.array([[True, True], [True, True], [True, False], [True, True]]),
        team_reward=np.array([0.0, 2.0, -2.0]),
        tasks=4,
        successes=2,
    )


def test_transitions_of_a_hand_made_log() -> None:
    transitions = transitions_of(hand_made())
    assert transitions.slots == 3
    assert transitions.observations[:, :, 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert transitions.next_observations[:, :, 0].tolist() == [[2, 3], [4, 5], [6, 7]]
    assert transitions.actions.tolist() == [[1, 1], [2, 2], [0, 0]]  # slots without a task are transitions too
    assert transitions.rewards.tolist() == [0.0, 2.0, -2.0]  # the lost task of slot 2 counts for the team
    # node 1: slot 1 has no next observation, slot 2 none of its own; slot 2's bootstrap of node 0 is tick 3
    assert transitions.valid.tolist() == [[True, True], [True, False], [True, False]]
    assert transitions.next_masks[2, 0].tolist() == [False, False, True]


def test_an_action_that_its_own_mask_forbids_is_refused_by_place() -> None:
    log = hand_made()
    masks = log.masks.copy()
    masks[0, 1] = [True, False, False]
    with pytest.raises(ValueError, match="episode 4, slot 0, node 1: action 1 is not legal"):
        transitions_of(replace(log, masks=masks))


def test_reward_statistics() -> None:
    statistics = RewardStatistics.of([np.array([1.0, 3.0]), np.array([5.0])])
    assert statistics.mean == 3.0
    assert statistics.std == pytest.approx(np.sqrt(8 / 3))
    assert statistics.normalize(np.array([3.0])).tolist() == [0.0]
    assert RewardStatistics.of([np.array([2.0, 2.0])]).std == 1.0


def numbered(number: int, slots: int = 4) -> EpisodeLog:
    """An episode whose observations and rewards show their origin: 100·episode + slot."""
    log = play(None, number)
    marks = 100 * number + np.arange(slots + 1, dtype=np.float32)
    observations = np.broadcast_to(marks[:, None, None], (slots + 1, NODES, OBSERVATION)).copy()
    cut = {name: getattr(log, name)[: slots + 1] for name in ("masks", "actions", "log_probabilities", "up")}
    return replace(log, observations=observations, team_reward=marks[:-1].astype(float), **cut)


def drawn(buffer: ReplayBuffer) -> set[tuple[int, int]]:
    sample = buffer.sample(np.random.default_rng(0), 500)
    assert (sample.observations[:, 0, 0] == sample.rewards).all()
    return {(int(a), int(b)) for a, b in zip(sample.rewards, sample.next_observations[:, 0, 0], strict=True)}


def test_replay_draws_each_slot_with_its_own_successor() -> None:
    buffer = buffer_of(10, *(numbered(k) for k in (1, 2)))
    assert len(buffer) == 8
    assert drawn(buffer) == {(k * 100 + t, k * 100 + t + 1) for k in (1, 2) for t in range(4)}


def test_the_newest_slots_stay_when_the_ring_is_full() -> None:
    buffer = buffer_of(8, *(numbered(k) for k in (1, 2, 3)))
    # 8 ticks: all 5 of episode 3, and the last 3 of episode 2
    assert drawn(buffer) == {(202, 203), (203, 204), *((300 + t, 301 + t) for t in range(4))}


def test_an_episode_longer_than_the_ring_keeps_its_end() -> None:
    buffer = buffer_of(3, numbered(1))
    assert drawn(buffer) == {(102, 103), (103, 104)}


def test_slots_in_which_all_rows_are_invalid_are_never_drawn() -> None:
    log = numbered(1)
    up = log.up.copy()
    up[2] = False
    buffer = buffer_of(5, replace(log, up=up))
    assert drawn(buffer) == {(100, 101), (103, 104)}
    assert buffer.reward_statistics().mean == pytest.approx((100 + 103) / 2)


def test_an_empty_buffer_says_so() -> None:
    with pytest.raises(ValueError, match="empty"):
        ReplayBuffer(5, NODES, OBSERVATION).sample(np.random.default_rng(0), 1)
    with pytest.raises(ValueError, match="at least 2"):
        ReplayBuffer(1, NODES, OBSERVATION)


def test_a_saved_buffer_draws_the_same_and_belongs_to_its_episodes(tmp_path: Path) -> None:
    from middleware.storage import open_storage

    storage = open_storage(f"file:{tmp_path}", None)
    capacity = 2 * (SLOTS + 1) + 7
    buffer = buffer_of(capacity, *(play(None, k) for k in (1, 2, 3)))
    buffer.save(storage, "buffers/r/offline", [1, 2, 3])
    loaded = ReplayBuffer(capacity, NODES, OBSERVATION)
    assert not loaded.load(storage, "buffers/r/offline", [1, 2])
    assert not loaded.load(storage, "buffers/r/other", [1, 2, 3])
    assert len(loaded) == 0
    assert loaded.load(storage, "buffers/r/offline", [1, 2, 3])
    one, other = (each.sample(np.random.default_rng(5), 50) for each in (buffer, loaded))
    for name in ("observations", "masks", "actions", "rewards", "next_observations", "next_masks", "valid"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert loaded.reward_statistics() == buffer.reward_statistics()
