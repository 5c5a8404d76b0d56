"""Records and finds the events that failure injection on Kubernetes caused in edge-node pods."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import pod_events


@dataclass(frozen=True)
class PodEvent:
    """One event. episode, slot: those that were running; None between episodes"""

    node: int
    pod: str
    event: str
    detail: str
    episode: int | None
    slot: int | None
    happened_at: float


def record_pod_event(
    db: Database, run: Run, node: int, pod: str, event: str, detail: str, episode: int | None, slot: int | None
) -> None:
    """Write an event that happened now."""
    with db.transaction() as connection:
        connection.execute(
            sa.insert(pod_events).values(
                run=run.number,
                node=node,
                pod=pod,
                event=event,
                detail=detail,
                episode=episode,
                slot=slot,
                happened_at=time.time(),
            )
        )


def find_pod_events(db: Database, run: Run) -> list[PodEvent]:
    """All events of a run, oldest first."""
    columns = [pod_events.c[name] for name in PodEvent.__dataclass_fields__]
    with db.reading() as connection:
        rows = connection.execute(
            sa.select(*columns).where(pod_events.c.run == run.number).order_by(pod_events.c.id)
        ).all()
    return [PodEvent(*row) for row in rows]
