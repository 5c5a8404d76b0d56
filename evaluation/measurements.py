"""The records of chosen episodes as columns: what the evaluation reads from the database.

Two queries per episode, each a range of the primary key; what is kept are NumPy columns, not rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from middleware.database import Database, Run
from middleware.database.schema import decisions, episodes, outcomes, tasks
from offload.episodes import EpisodeStatus

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
NOWHERE = -1
"""The destination of a task of which nobody knows where it went."""

_SAME_TASK = sa.and_(
    tasks.c.run == outcomes.c.run,
    tasks.c.episode == outcomes.c.episode,
    tasks.c.slot == outcomes.c.slot,
    tasks.c.source == outcomes.c.source,
)


@dataclass(frozen=True, eq=False)
class TaskColumns:
    """Tasks with their fates; every column has one entry per task. Durations are model seconds, 0 where not reached.

    destination: `NOWHERE` when nobody knows; outcome, transfer: texts, transfer is "" for local tasks
    """

    slot: IntArray
    source: IntArray
    destination: IntArray
    size_bits: FloatArray
    cycles: FloatArray
    outcome: NDArray[np.str_]
    transfer: NDArray[np.str_]
    skew_s: FloatArray
    transmission_waiting_s: FloatArray
    transmission_s: FloatArray
    handover_s: FloatArray
    execution_waiting_s: FloatArray
    execution_s: FloatArray
    completion_s: FloatArray
    late: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class DecisionColumns:
    """Decision records, those of slots without a task included: their action is N."""

    slot: IntArray
    node: IntArray
    action: IntArray
    decision_s: FloatArray
    probes: IntArray
    execution_queue_length: IntArray
    sending_queue_length: IntArray
    receiving_queue_length: IntArray


@dataclass(frozen=True)
class Fates:
    """The conservation law's numbers over all closed episodes of a run."""

    episodes: int
    tasks: int
    outcomes: int
    matched: int
    refused_records: int

    @property
    def conserved(self) -> bool:
        """Whether every task has exactly one outcome, and every outcome a task."""
        return self.tasks == self.outcomes == self.matched


def read_tasks(db: Database, run: Run, numbers: Iterable[int]) -> TaskColumns:
    """The tasks and outcomes of these episodes."""
    columns = (
        outcomes.c.slot,
        outcomes.c.source,
        sa.func.coalesce(outcomes.c.destination, NOWHERE).label("destination"),
        tasks.c.size_bits,
        tasks.c.cycles,
        outcomes.c.outcome,
        sa.func.coalesce(outcomes.c.transfer, "").label("transfer"),
        outcomes.c.skew_s,
        outcomes.c.transmission_waiting_s,
        outcomes.c.transmission_s,
        outcomes.c.handover_s,
        outcomes.c.execution_waiting_s,
        outcomes.c.execution_s,
        outcomes.c.completion_s,
        outcomes.c.late,
    )
    kinds = (np.int64, np.int64, np.int64, float, float, np.str_, np.str_, *[float] * 7, np.bool_)
    query = (
        sa.select(*columns)
        .select_from(outcomes.join(tasks, _SAME_TASK))
        .where(outcomes.c.run == run.number, outcomes.c.episode == sa.bindparam("number"))
    )
    return TaskColumns(*_columns(db, query, numbers, kinds))


def read_decisions(db: Database, run: Run, numbers: Iterable[int]) -> DecisionColumns:
    """The decision records of these episodes, without the observation-only tick."""
    columns = (
        decisions.c.slot,
        decisions.c.node,
        decisions.c.action,
        decisions.c.decision_s,
        decisions.c.probes,
        decisions.c.execution_queue_length,
        decisions.c.sending_queue_length,
        decisions.c.receiving_queue_length,
    )
    kinds = (np.int64, np.int64, np.int64, float, *[np.int64] * 4)
    query = sa.select(*columns).where(
        decisions.c.run == run.number,
        decisions.c.episode == sa.bindparam("number"),
        decisions.c.slot < run.settings.time.slots,
    )
    return DecisionColumns(*_columns(db, query, numbers, kinds))


def count_fates(db: Database, run: Run) -> Fates:
    """Count tasks and outcomes of all closed episodes."""
    here = episodes.c.run == run.number, episodes.c.status == EpisodeStatus.CLOSED
    closed = sa.select(episodes.c.episode).where(*here)

    def count(table: Any, key: sa.Table) -> Any:
        chosen = sa.select(sa.func.count()).select_from(table)
        return chosen.where(key.c.run == run.number, key.c.episode.in_(closed))

    with db.reading() as connection:
        number, refused = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(episodes.c.refused_records), 0)).where(*here)
        ).one()
        generated = connection.execute(count(tasks, tasks)).scalar_one()
        ended = connection.execute(count(outcomes, outcomes)).scalar_one()
        matched = connection.execute(count(tasks.join(outcomes, _SAME_TASK), tasks)).scalar_one()
    return Fates(int(number), int(generated), int(ended), int(matched), int(refused))


def _columns(db: Database, query: Any, numbers: Iterable[int], kinds: tuple[Any, ...]) -> list[NDArray[Any]]:
    parts: list[list[NDArray[Any]]] = [[np.empty(0, dtype=kind)] for kind in kinds]
    with db.reading() as connection:
        for number in numbers:
            rows = connection.execute(query, {"number": number}).fetchall()
            if rows:
                for part, values, kind in zip(parts, zip(*rows, strict=True), kinds, strict=True):
                    part.append(np.array(values, dtype=kind))
    return [np.concatenate(part) for part in parts]
