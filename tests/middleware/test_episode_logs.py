"""Tests that an episode's log has every recorded value in its place, and nothing of nodes that were down."""

from __future__ import annotations

import numpy as np
import pytest
from recorded_episodes import NODES, OBSERVATION, SLOTS, decision, decisions_of, opened, outcome, outcomes_of

from middleware.database import (
    Database,
    Run,
    close_episode,
    read_episode_log,
    stream_episode_logs,
    write_records,
)
from offload.scheduler_choice import SchedulerChoice


def _play(db: Database, run: Run, number: int = 0, down: dict[int, list[int]] | None = None) -> int:
    episode, trace = opened(db, run, number)
    write_records(db, run.number, decisions_of(trace, episode) + outcomes_of(run, trace, episode))
    close_episode(db, run, episode, down=down or {}, late_slots=0, mixed=None)
    return episode


def test_every_recorded_value_is_in_its_place(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    write_records(db, run.number, decisions_of(trace, episode, log_probability=-0.5)[::-1])
    close_episode(db, run, episode, down={}, late_slots=0, mixed=None)
    log = read_episode_log(db, run, episode)
    has_task = np.vstack([trace.has_task, np.zeros((1, NODES), bool)])
    slot, node = np.indices((SLOTS + 1, NODES))
    assert log.observations.dtype == np.float32
    assert log.observations.shape == (SLOTS + 1, NODES, OBSERVATION)
    assert np.array_equal(log.observations[..., 0], slot)
    assert np.array_equal(log.observations[..., 1], node)
    assert np.array_equal(log.masks[..., :NODES], np.repeat(has_task[..., None], NODES, -1))
    assert np.array_equal(log.masks[..., NODES], ~has_task)
    assert np.array_equal(log.actions, np.where(has_task, node, NODES))
    assert (log.log_probabilities == -0.5).all()
    assert log.up.all()
    assert log.episode == episode
    assert log.plan.scheduler == SchedulerChoice("ratc")


def test_the_team_reward_counts_every_outcome_in_the_slot_in_which_it_comes(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    tasks = list(trace)
    kinds = ["success", "dropped", "execution_failure", "transmission_failure"]
    # Slots last 0.1 s: these end in their own slot, in the next one, and (at the limit) in the last. One stays lost.
    lengths = [0.05, 0.1, 3.0]
    expected = np.zeros(SLOTS)
    records = []
    for number, task in enumerate(tasks[:-1]):
        kind, length = kinds[number % 4], lengths[number % 3]
        records.append(outcome(run, episode, task.slot, task.source, kind, length))
        expected[min(task.slot + (0, 1, SLOTS)[number % 3], SLOTS - 1)] += 1 if kind == "success" else -1
    expected[SLOTS - 1] -= 1
    write_records(db, run.number, decisions_of(trace, episode) + records)
    close_episode(db, run, episode, down={}, late_slots=0, mixed=None)
    log = read_episode_log(db, run, episode)
    assert np.array_equal(log.team_reward, expected)
    assert log.tasks == len(tasks) > 6
    assert log.successes == sum(record.outcome == "success" for record in records)


def test_a_scheduler_without_a_policy_has_no_log_probabilities(db: Database, run: Run) -> None:
    assert np.isnan(read_episode_log(db, run, _play(db, run)).log_probabilities).all()


def test_rows_of_a_down_node_are_zeros(db: Database, run: Run) -> None:
    episode, _ = opened(db, run)
    down = {1: [2, 3], 0: [SLOTS]}
    present = [(slot, node) for slot in range(SLOTS + 1) for node in range(NODES) if (slot, node) != (3, 1)]
    write_records(db, run.number, [decision(episode, slot, node) for slot, node in present])
    summary = close_episode(db, run, episode, down=down, late_slots=0, mixed=None)
    assert summary.verdict == "complete"
    log = read_episode_log(db, run, episode)
    assert [tuple(place) for place in np.argwhere(~log.up)] == [(2, 1), (3, 1), (SLOTS, 0)]
    for values in (log.observations, log.masks, log.actions, log.log_probabilities):
        assert not values[~log.up].any()
    assert (log.observations[log.up][:, 3] == 1).all()


def test_streaming_keeps_the_order_that_was_asked_for(db: Database, run: Run) -> None:
    episodes = [_play(db, run, number) for number in range(3)]
    order = [episodes[2], episodes[0]]
    streamed = list(stream_episode_logs(db, run, order))
    assert [log.episode for log in streamed] == order
    for log in streamed:
        assert np.array_equal(log.observations, read_episode_log(db, run, log.episode).observations)


def test_without_a_choice_all_complete_episodes_are_streamed(db: Database, run: Run) -> None:
    complete = [_play(db, run, number) for number in range(2)]
    mixed, _ = opened(db, run, 2)
    close_episode(db, run, mixed, down={}, late_slots=0, mixed="changed")
    opened(db, run, 3)
    assert [log.episode for log in stream_episode_logs(db, run)] == complete


def test_the_database_is_free_between_two_episodes(db: Database, run: Run) -> None:
    """A trainer that works on an episode for minutes must not block the nodes' writes."""
    stream = stream_episode_logs(db, run, [_play(db, run, number) for number in range(2)])
    next(stream)
    assert db.engine.pool.checkedout() == 0
    third = _play(db, run, 2)
    assert next(stream).episode == third - 1


def test_an_episode_without_a_log_is_said(db: Database, run: Run) -> None:
    with pytest.raises(LookupError, match="no episode 9"):
        read_episode_log(db, run, 9)
    episode, _ = opened(db, run)
    with pytest.raises(LookupError, match=f"episode {episode} of run 'small' is open"):
        read_episode_log(db, run, episode)
    close_episode(db, run, episode, down={}, late_slots=0, mixed=None)
    with pytest.raises(LookupError, match="has no decisions"):
        read_episode_log(db, run, episode)
