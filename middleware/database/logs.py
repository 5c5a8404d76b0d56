"""Streams decision and outcome rows as `EpisodeLog`s, one episode at a time.

Each episode takes two queries over a range of the primary key. Memory is bounded by one episode, and no snapshot of
the database stays open while the caller works. The observations of an episode are joined and reinterpreted as one
array, without a Python object per element.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import decisions, nodes, outcomes
from middleware.database.schema import episodes as episode_table
from offload.episodes import EpisodeLog, EpisodePlan, EpisodeStatus, Executions, Verdict
from offload.masks import unpack_masks
from offload.outcomes import Outcome


def read_episode_log(db: Database, run: Run, episode: int) -> EpisodeLog:
    """The log of one closed episode. Raises LookupError if it does not exist, is not closed, or has no decisions."""
    return next(stream_episode_logs(db, run, [episode]))


def stream_episode_logs(db: Database, run: Run, episodes: Sequence[int] | None = None) -> Iterator[EpisodeLog]:
    """The logs of these episodes in the given order (None: all complete ones, by number), one in memory at a time.

    On reaching an episode that does not exist, is not closed, or has no decisions, the iterator raises LookupError.
    """
    with db.reading() as connection:
        n = connection.execute(
            sa.select(sa.func.count()).select_from(nodes).where(nodes.c.run == run.number)
        ).scalar_one()
        if episodes is None:
            complete = episode_table.c.run == run.number, episode_table.c.verdict == Verdict.COMPLETE
            chosen = sa.select(episode_table.c.episode).where(*complete).order_by(episode_table.c.episode)
            episodes = connection.execute(chosen).scalars().all()
    for number in episodes:
        with db.reading() as connection:
            log = _log(connection, run, int(number), n)
        yield log


def _log(connection: Connection, run: Run, episode: int, n: int) -> EpisodeLog:
    row = connection.execute(
        sa.select(episode_table).where(episode_table.c.run == run.number, episode_table.c.episode == episode)
    ).one_or_none()
    if row is None:
        raise LookupError(f"run '{run.name}' has no episode {episode}")
    if row.status != EpisodeStatus.CLOSED:
        raise LookupError(f"episode {episode} of run '{run.name}' is {row.status}; only a closed one has a log")
    rows: Sequence[Any] = connection.execute(
        sa.select(
            decisions.c.slot,
            decisions.c.node,
            decisions.c.action,
            decisions.c.log_probability,
            decisions.c.observation,
            decisions.c.mask,
        ).where(decisions.c.run == run.number, decisions.c.episode == episode)
    ).fetchall()
    if not rows:
        raise LookupError(f"episode {episode} of run '{run.name}' has no decisions")
    slot, node, action, log_probability, observation, mask = zip(*rows, strict=True)
    slots = run.settings.time.slots
    shape = slots + 1, n
    up = np.zeros(shape, dtype=bool)
    up[slot, node] = True
    for down_node, down_slots in row.down.items():
        up[[int(down) for down in down_slots], int(down_node)] = False
    # The rows in which a node counts as down stay zero, even if it recorded something.
    counted = up[slot, node]
    place = np.asarray(slot)[counted], np.asarray(node)[counted]

    def placed(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros((*shape, *values.shape[1:]), dtype=values.dtype)
        whole[place] = values[counted]
        return whole

    observations = np.frombuffer(b"".join(observation), dtype="<f4").reshape(len(rows), -1)
    packed = np.frombuffer(b"".join(mask), dtype=np.uint8).reshape(len(rows), -1)
    ended = _outcomes(connection, run, episode, slots, n)
    return EpisodeLog(
        episode=episode,
        plan=EpisodePlan.of(row),
        observations=placed(observations.astype(np.float32, copy=False)),
        masks=placed(unpack_masks(packed, n + 1)),
        actions=placed(np.asarray(action, dtype=np.int64)),
        # None (a scheduler without a policy) becomes NaN.
        log_probabilities=placed(np.asarray(log_probability, dtype=np.float32)),
        up=up,
        team_reward=ended.team_reward,
        tasks=ended.tasks,
        successes=ended.successes,
        executions=ended.executions,
    )


class _Outcomes(NamedTuple):
    """The outcomes of an episode's tasks. team_reward: (T,)"""

    team_reward: NDArray[np.float64]
    tasks: int
    successes: int
    executions: Executions


def _outcomes(connection: Connection, run: Run, episode: int, slots: int, nodes: int) -> _Outcomes:
    rows: Sequence[Any] = connection.execute(
        sa.select(
            outcomes.c.slot,
            outcomes.c.source,
            outcomes.c.end_slot,
            outcomes.c.outcome,
            outcomes.c.destination,
            outcomes.c.written_by,
            outcomes.c.completion_s,
            outcomes.c.execution_waiting_s,
            outcomes.c.execution_s,
        ).where(outcomes.c.run == run.number, outcomes.c.episode == episode)
    ).fetchall()
    arrival_s, execution_s = np.full((slots, nodes), np.nan), np.zeros((slots, nodes))
    if not rows:
        return _Outcomes(np.zeros(slots), 0, 0, Executions(arrival_s, execution_s))
    slot, source, end_slot, outcome, destination, owner, completed_s, waited_s, executed_s = zip(*rows, strict=True)
    success = np.array([one == Outcome.SUCCESS for one in outcome])
    # The owner at the end wrote the record. A task that failed on its way was still the sender's.
    arrived = np.array(
        [
            j == writer and one != Outcome.TRANSMISSION_FAILURE
            for j, writer, one in zip(destination, owner, outcome, strict=True)
        ]
    )
    place = np.array(slot)[arrived], np.array(source)[arrived]
    begin_s = np.array(slot) * run.settings.time.slot_s
    arrival_s[place] = (begin_s + completed_s - executed_s - np.array(waited_s))[arrived]
    execution_s[place] = np.array(executed_s)[arrived]
    rewards = np.zeros(slots)
    np.add.at(rewards, np.array(end_slot), np.where(success, 1.0, -1.0))
    return _Outcomes(rewards, len(rows), int(success.sum()), Executions(arrival_s, execution_s))
