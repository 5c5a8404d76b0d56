"""Decision and outcome rows as `EpisodeLog`s: one query each per episode, so memory is bounded by one episode.

The columns of all rows of an episode are joined and reinterpreted at once: no Python object per element.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import decisions, episodes, nodes, outcomes
from offload.episodes import EpisodeLog, EpisodePlan
from offload.masks import unpack_masks
from offload.outcomes import Outcome

_FEEDBACK = sa.case((outcomes.c.outcome == Outcome.SUCCESS.value, 1), else_=-1)
_SUCCESS = sa.case((outcomes.c.outcome == Outcome.SUCCESS.value, 1), else_=0)


def read_episode_log(db: Database, run: Run, episode: int) -> EpisodeLog:
    """The log of one closed episode. Raises LookupError when it does not exist or has no decisions."""
    return next(stream_episode_logs(db, run, [episode]))


def stream_episode_logs(db: Database, run: Run, episodes_: Sequence[int]) -> Iterator[EpisodeLog]:
    """The logs of closed episodes, in the given order, one in memory at a time."""
    with db.reading() as connection:
        n = connection.execute(
            sa.select(sa.func.count()).select_from(nodes).where(nodes.c.run == run.number)
        ).scalar_one()
    for number in episodes_:
        # A connection per episode: a reader that is slow must not hold a snapshot of the database open for hours.
        with db.reading() as connection:
            log = _log(connection, run, int(number), n)
        yield log


def _log(connection: Connection, run: Run, episode: int, n: int) -> EpisodeLog:
    row = connection.execute(
        sa.select(episodes).where(episodes.c.run == run.number, episodes.c.episode == episode)
    ).one_or_none()
    if row is None:
        raise LookupError(f"run '{run.name}' has no episode {episode}")
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
    place = np.asarray(slot), np.asarray(node)
    shape = slots + 1, n

    def placed(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros((*shape, *values.shape[1:]), dtype=values.dtype)
        whole[place] = values
        return whole

    observations = np.frombuffer(b"".join(observation), dtype="<f4").reshape(len(rows), -1)
    packed = np.frombuffer(b"".join(mask), dtype=np.uint8).reshape(len(rows), -1)
    up = np.zeros(shape, dtype=bool)
    up[place] = True
    for down_node, down_slots in row.down.items():
        up[[int(down) for down in down_slots], int(down_node)] = False
    plan = EpisodePlan(row.phase, row.method, row.trace, row.scheduler, parameters=row.parameters, model=row.model)
    rewards, generated, successes = _rewards(connection, run, episode, slots)
    return EpisodeLog(
        episode=episode,
        plan=plan,
        observations=placed(observations.astype(np.float32, copy=False)),
        masks=placed(unpack_masks(packed, n + 1)),
        actions=placed(np.asarray(action, dtype=np.int64)),
        # None becomes NaN: schedulers without a policy.
        log_probabilities=placed(np.asarray(log_probability, dtype=np.float32)),
        up=up,
        team_reward=rewards,
        tasks=generated,
        successes=successes,
    )


def _rewards(connection: Connection, run: Run, episode: int, slots: int) -> tuple[NDArray[np.float64], int, int]:
    """The team reward of every slot, the number of tasks, and of successes."""
    rewards = np.zeros(slots)
    generated = successes = 0
    for end, feedback, count, succeeded in connection.execute(
        sa.select(outcomes.c.end_slot, sa.func.sum(_FEEDBACK), sa.func.count(), sa.func.sum(_SUCCESS))
        .where(outcomes.c.run == run.number, outcomes.c.episode == episode)
        .group_by(outcomes.c.end_slot)
    ):
        rewards[end] = float(feedback)
        generated += int(count)
        successes += int(succeeded)
    return rewards, generated, successes
