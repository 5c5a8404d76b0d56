"""Opens an episode: writes its row and its tasks. It accepts records while its status is `open`."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.leases import Lease, fenced
from middleware.database.runs import Run
from middleware.database.schema import episodes, runs, tasks
from offload.episodes import EpisodePlan, EpisodeStatus
from offload.tasks import Trace


def open_episode(
    db: Database,
    run: Run,
    plan: EpisodePlan,
    trace: Trace,
    revision: int,
    uid: str,
    *,
    lease: Lease | None = None,
) -> int:
    """Write the episode's row and its tasks. Returns its number within the run (1, 2, …).

    uid: 32 random hexadecimal digits from the caller. A repeated call with the same uid returns the number of the
        existing episode. So the caller may repeat a call whose answer was lost.
    lease: the caller's lease; None if the caller is the run's only writer
    Raises LeaseLost, and writes nothing, if another process controls the run now. Raises ValueError for a trace that
    does not match the run's network or slots.
    """
    _require_fit(run, trace)
    with fenced(db, lease) as connection:
        # The lock gives two concurrent openings different numbers.
        connection.execute(sa.select(runs.c.id).where(runs.c.id == run.number).with_for_update())
        there = connection.execute(
            sa.select(episodes.c.episode).where(episodes.c.run == run.number, episodes.c.uid == uid)
        ).scalar()
        if there is not None:
            return int(there)
        last = connection.execute(
            sa.select(sa.func.max(episodes.c.episode)).where(episodes.c.run == run.number)
        ).scalar()
        number = int(last or 0) + 1
        connection.execute(sa.insert(episodes).values(**_episode_row(run, number, uid, plan, revision)))
        if rows := _task_rows(run, number, trace):
            connection.execute(sa.insert(tasks), rows)
    return number


def _require_fit(run: Run, trace: Trace) -> None:
    planned = run.settings.time
    if trace.slots > planned.slots or trace.nodes != run.settings.network.nodes or trace.slot_s != planned.slot_s:
        raise ValueError(
            f"the trace has {trace.slots} slots of {trace.slot_s:g} s for {trace.nodes} nodes; run '{run.name}' has "
            f"{planned.slots} slots of {planned.slot_s:g} s and {run.settings.network.nodes} nodes"
        )


def _episode_row(run: Run, number: int, uid: str, plan: EpisodePlan, revision: int) -> dict[str, Any]:
    return {
        "run": run.number,
        "episode": number,
        "uid": uid,
        **plan.to_json(),
        "revision": revision,
        "status": EpisodeStatus.OPEN,
        "down": {},
        "late_slots": 0,
        "refused_records": 0,
        "opened_at": time.time(),
    }


def _task_rows(run: Run, number: int, trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "run": run.number,
            "episode": number,
            "slot": task.slot,
            "source": task.source,
            "size_bits": task.size_bits,
            "cycles": task.cycles,
            "deadline_s": task.deadline_s,
        }
        for task in trace
    ]
