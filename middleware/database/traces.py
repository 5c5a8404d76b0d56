"""Loads the tasks of an episode, which its opening wrote."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import episodes, nodes, tasks
from offload.tasks import Task, Trace


def load_trace(db: Database, run: Run, episode: int) -> Trace:
    """The tasks of an episode as a trace. Raises LookupError for an unknown episode."""
    with db.reading() as connection:
        n = connection.execute(
            sa.select(sa.func.count()).select_from(nodes).where(nodes.c.run == run.number)
        ).scalar_one()
        row = connection.execute(
            sa.select(episodes.c.trace).where(episodes.c.run == run.number, episodes.c.episode == episode)
        ).one_or_none()
        if row is None:
            raise LookupError(f"run '{run.name}' has no episode {episode}")
        found = read_tasks_of(connection, run, episode)
    time_settings = run.settings.time
    shape = time_settings.slots, n
    has_task = np.zeros(shape, dtype=bool)
    facts = {key: np.zeros(shape) for key in ("size_bits", "cycles", "deadline_s")}
    for task in found:
        has_task[task.slot, task.source] = True
        for key, values in facts.items():
            values[task.slot, task.source] = getattr(task, key)
    return Trace(row.trace, time_settings.slot_s, has_task, **facts)


def read_tasks_of(connection: Connection, run: Run, episode: int) -> list[Task]:
    """The tasks of an episode, by slot and source."""
    columns = tasks.c.slot, tasks.c.source, tasks.c.size_bits, tasks.c.cycles, tasks.c.deadline_s
    chosen = sa.select(*columns).where(tasks.c.run == run.number, tasks.c.episode == episode)
    return [Task(*row) for row in connection.execute(chosen)]
