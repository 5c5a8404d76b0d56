"""Reads the records of chosen episodes as NumPy columns, for the evaluation.

Each function runs one query per episode over a range of the primary key. A field of `TaskColumns` or
`DecisionColumns` has the database column of the same name, with that column's type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from middleware.database.conservation import SAME_TASK
from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import decisions, outcomes, tasks
from offload.state import FloatArray, IntArray

NOWHERE: Final = -1
"""The destination of a task whose destination was not recorded."""

_KINDS: Final[dict[type, Any]] = {int: np.int64, float: np.float64, str: np.str_, bool: np.bool_}
_NOTHING: Final[dict[type, Any]] = {int: NOWHERE, str: ""}
"""The values that replace NULL, by type."""


@dataclass(frozen=True, eq=False)
class TaskColumns:
    """Tasks with their outcomes, one entry per task in each column.

    Durations are model seconds, 0 for stages that the task did not reach.

    destination: `NOWHERE` if it is unknown
    transfer: "" for local tasks
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
    """Decision records, including slots without a task, where the action is N."""

    slot: IntArray
    node: IntArray
    action: IntArray
    decision_s: FloatArray
    probes: IntArray
    execution_queue_length: IntArray
    sending_queue_length: IntArray
    receiving_queue_length: IntArray


def read_tasks(db: Database, run: Run, numbers: Iterable[int]) -> TaskColumns:
    """The tasks and outcomes of these episodes."""
    chosen, kinds = _chosen(TaskColumns, outcomes, tasks)
    query = (
        sa.select(*chosen)
        .select_from(outcomes.join(tasks, SAME_TASK))
        .where(outcomes.c.run == run.number, outcomes.c.episode == sa.bindparam("number"))
    )
    return TaskColumns(*_columns(db, query, numbers, kinds))


def read_decisions(db: Database, run: Run, numbers: Iterable[int]) -> DecisionColumns:
    """The decision records of these episodes, without the observation-only tick."""
    chosen, kinds = _chosen(DecisionColumns, decisions)
    query = sa.select(*chosen).where(
        decisions.c.run == run.number,
        decisions.c.episode == sa.bindparam("number"),
        decisions.c.slot < run.settings.time.slots,
    )
    return DecisionColumns(*_columns(db, query, numbers, kinds))


def _chosen(columns: type, *tables: sa.Table) -> tuple[list[Any], list[Any]]:
    """For each field of `columns`: the column of that name from the first table that has it, and its NumPy type."""
    found = [next(table.c[field.name] for table in tables if field.name in table.c) for field in fields(columns)]
    types = [column.type.python_type for column in found]
    chosen = [
        sa.func.coalesce(column, _NOTHING[kind]).label(column.name) if column.nullable else column
        for column, kind in zip(found, types, strict=True)
    ]
    return chosen, [_KINDS[kind] for kind in types]


def _columns(db: Database, query: Any, numbers: Iterable[int], kinds: list[Any]) -> list[NDArray[Any]]:
    parts: list[list[NDArray[Any]]] = [[np.empty(0, dtype=kind)] for kind in kinds]
    with db.reading() as connection:
        for number in numbers:
            rows = connection.execute(query, {"number": number}).fetchall()
            if rows:
                for part, values, kind in zip(parts, zip(*rows, strict=True), kinds, strict=True):
                    part.append(np.array(values, dtype=kind))
    return [np.concatenate(part) for part in parts]
