"""A record's fields, its line on a node's disk and its table's columns are the same: what is recorded arrives."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from recorded_episodes import opened, uid_of
from small_records import decision_record, outcome_record

from edgenode.segments import content_of, line_of
from middleware.database import Database, Run, deliver_records
from middleware.database.record_checks import parsed_record
from middleware.database.schema import decisions, metadata, outcomes
from offload.outcomes import Outcome
from offload.records import CONTROLLER, EPISODE_UID, RECORDS, OutcomeRecord, Record, fields_of
from offload.tasks import Task

DECISION_LINE = (
    '{"table":"decisions","episode":EPISODE,"episode_uid":"UID","slot":0,"node":1,"observation":"base64:AACAPwAAAD8=",'
    '"mask":"base64:gA==","action":3,"model":"v1","failed":false,"log_probability":0.0,"scores":null,"revision":2,'
    '"skew_s":0.001,"decision_s":0.0,"probes":0,"execution_queue_length":2,"sending_queue_length":1,'
    '"receiving_queue_length":0,"execution_backlog_s":0.25}\n'
)
OUTCOME_LINE = (
    '{"table":"outcomes","episode":EPISODE,"episode_uid":"UID","slot":SLOT,"source":SOURCE,"destination":2,'
    '"outcome":"dropped","skew_s":0.001,"decision_s":0.002,"transmission_waiting_s":0.0,"transmission_s":0.05,'
    '"handover_s":0.001,"execution_waiting_s":0.1,"execution_s":0.0,"completion_s":0.9,"end_slot":4,"late":false,"transfer":"emulated",'
    '"written_by":2}\n'
)
"""As nodes of the first version have written them."""


@pytest.mark.parametrize("record", [decision_record(), outcome_record(transfer="payload")], ids=list(RECORDS))
def test_what_is_written_to_the_disk_is_what_is_read(record: Record) -> None:
    content = content_of(line_of(record.content()))
    assert content == record.content()
    again = parsed_record(content, 1)
    assert again == record and [type(value) for value in vars(again).values()] == [
        type(value) for value in vars(record).values()
    ]


def test_lines_of_the_first_version_are_written_as_they_were_and_delivered(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    task = next(iter(trace))
    names = {"EPISODE": str(episode), "UID": uid_of(episode), "SLOT": str(task.slot), "SOURCE": str(task.source)}
    lines = []
    for line in (DECISION_LINE, OUTCOME_LINE):
        for name, value in names.items():
            line = line.replace(name, value)
        lines.append(line.encode())
    contents = [content_of(line) or {} for line in lines]
    assert [line_of(parsed_record(content, run.number).content()) for content in contents] == lines
    assert deliver_records(db, run.number, contents) == []
    with db.reading() as connection:
        for table, content in zip((decisions, outcomes), contents, strict=True):
            (row,) = connection.execute(sa.select(table)).mappings()
            assert row == {"run": run.number} | {
                key: content[key] for key in content if key not in ("table", EPISODE_UID)
            }


@pytest.mark.parametrize("kind", RECORDS.values(), ids=list(RECORDS))
def test_the_columns_are_the_fields(db: Database, kind: type[Record]) -> None:
    """In the database that the migrations make: a field without a migration is found here."""
    fields = [field for field in fields_of(kind) if field.name != EPISODE_UID]
    with db.reading() as connection:
        columns = sa.inspect(connection).get_columns(kind.table)
    assert {one["name"]: one["nullable"] for one in columns} == {
        "run": False,
        **{one.name: one.is_optional for one in fields},
    }
    assert [column.name for column in metadata.tables[kind.table].columns] == ["run", *(one.name for one in fields)]
    assert [column.name for column in metadata.tables[kind.table].primary_key] == ["run", *kind.key]


def test_a_lost_task_ends_at_its_deadline_nowhere() -> None:
    lost = OutcomeRecord.lost(Task(3, 1, 1e6, 1e9, 0.5), episode=4, episode_uid="u", slot_s=0.1, slots=50)
    assert (lost.slot, lost.source, lost.destination, lost.outcome) == (3, 1, None, Outcome.LOST)
    assert (lost.completion_s, lost.end_slot, lost.written_by) == (0.5, 8, CONTROLLER)
