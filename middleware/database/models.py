"""Records and finds the model versions of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import models
from offload.manifest import ModelManifest


@dataclass(frozen=True)
class ModelRow:
    """A version: its manifest, the phase and method that created it, and the number of steps or updates before it."""

    version: str
    manifest: ModelManifest
    phase: str
    method: str
    number: int
    statistics: Mapping[str, Any]
    created_at: float


def record_model(
    db: Database,
    run: Run,
    manifest: ModelManifest,
    *,
    phase: str,
    method: str,
    number: int,
    statistics: Mapping[str, Any],
) -> None:
    """Record a published version. A version that is published again replaces its row."""
    values = {
        "manifest": manifest.model_dump(mode="json"),
        "phase": phase,
        "method": method,
        "number": number,
        "statistics": dict(statistics),
        "created_at": time.time(),
    }
    here = models.c.run == run.number, models.c.version == manifest.version
    with db.transaction() as connection:
        if not connection.execute(sa.update(models).where(*here).values(values)).rowcount:
            connection.execute(sa.insert(models).values(run=run.number, version=manifest.version, **values))


def find_models(db: Database, run: Run, *, method: str | None = None) -> list[ModelRow]:
    """The run's versions, of one method or of all, by number, then by time."""
    statement = sa.select(models).where(models.c.run == run.number)
    if method is not None:
        statement = statement.where(models.c.method == method)
    with db.reading() as connection:
        rows = connection.execute(statement.order_by(models.c.number, models.c.created_at)).all()
    return [
        ModelRow(
            row.version,
            ModelManifest.model_validate(row.manifest),
            row.phase,
            row.method,
            row.number,
            row.statistics,
            row.created_at,
        )
        for row in rows
    ]
